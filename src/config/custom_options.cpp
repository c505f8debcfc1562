#include "vpd/config/custom_options.hpp"

#include <vector>

#include <spdlog/fmt/fmt.h>

#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/config/reflection.hpp"

namespace vpd {

CustomOptions::CustomOptions(std::map<std::string, config::Scalar> options, std::string place)
    : options_(std::move(options)), place_(std::move(place)) {}

const config::Scalar* CustomOptions::find(const std::string& key, bool required, const char* expected) {
  asked_.insert(key);
  const auto found = options_.find(key);
  if (found != options_.end()) return &found->second;
  VPD_CHECK(!required, ConfigError, "{}.{}: expected {}, found no such key", place_, key, expected);
  return nullptr;
}

void CustomOptions::refuse(const std::string& key, const char* expected, const config::Scalar& found) const {
  throw ConfigError(fmt::format("{}.{}: expected {}, found {}", place_, key, expected,
                                config::describe_found(config::value_of(found))));
}

double CustomOptions::number(const std::string& key, std::optional<double> otherwise) {
  const config::Scalar* found = find(key, !otherwise, "a number");
  if (!found) return *otherwise;
  if (const auto* real = std::get_if<double>(&found->data)) return *real;
  if (const auto* whole = std::get_if<std::int64_t>(&found->data)) return static_cast<double>(*whole);
  refuse(key, "a number", *found);
}

std::int64_t CustomOptions::whole_number(const std::string& key, std::optional<std::int64_t> otherwise) {
  const config::Scalar* found = find(key, !otherwise, "a whole number");
  if (!found) return *otherwise;
  if (const auto* whole = std::get_if<std::int64_t>(&found->data)) return *whole;
  refuse(key, "a whole number", *found);
}

std::string CustomOptions::text(const std::string& key, const std::optional<std::string>& otherwise) {
  const config::Scalar* found = find(key, !otherwise, "text");
  if (!found) return *otherwise;
  if (const auto* words = std::get_if<std::string>(&found->data)) return *words;
  refuse(key, "text", *found);
}

bool CustomOptions::flag(const std::string& key, std::optional<bool> otherwise) {
  const config::Scalar* found = find(key, !otherwise, "true or false");
  if (!found) return *otherwise;
  if (const auto* value = std::get_if<bool>(&found->data)) return *value;
  refuse(key, "true or false", *found);
}

void CustomOptions::refuse_the_rest() const {
  const std::vector<std::string> known(asked_.begin(), asked_.end());
  for (const auto& [key, value] : options_) {
    if (asked_.contains(key)) continue;
    throw ConfigError(known.empty()
                          ? fmt::format("{}.{}: expected no options, found \"{}\"", place_, key, key)
                          : fmt::format("{}.{}: expected a known option ({}), found \"{}\"{}", place_, key,
                                        join_words(known), key, nearest_hint(key, known)));
  }
}

}  // namespace vpd
