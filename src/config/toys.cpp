#include "vpd/config/toys.hpp"

#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/config/reflection.hpp"

namespace vpd {

std::optional<config::Complaint> InductionConfig::validate() const {
  if (d_model % n_heads == 0) return std::nullopt;
  return config::Complaint{
      "n_heads", fmt::format("expected a divisor of d_model, which is {}, found {}", d_model, n_heads)};
}

namespace {

constexpr const char* type_key = "model_type";

template <class Config>
Config parse(config::Value file, const std::string& name, std::vector<std::string>& warnings) {
  VPD_CHECK(file.map(), DataError, "{}: expected the keys of a model, found {}", name,
            config::describe_found(file));
  const config::Value* found = file.find(type_key);
  VPD_CHECK(found && found->text() && *found->text() == Config::model_type, DataError,
            "{}: {}: expected {}, found {}; name the target's type as its checkpoint has it", name, type_key,
            Config::model_type, found ? config::describe_found(*found) : "no such key");
  const config::Type type = config::type_of<Config>();
  std::vector<std::string> known;
  for (const config::Member& member : type.members) known.emplace_back(member.field.key);
  std::erase_if(*file.map(), [&](const config::Entry& entry) {
    if (std::find(known.begin(), known.end(), entry.key) != known.end()) return false;
    if (entry.key != type_key) {
      const auto likely = nearest(entry.key, known);
      warnings.push_back(
          fmt::format("{}: unknown key \"{}\" ignored{}", entry.value.origin, entry.key,
                      likely ? fmt::format(" (the nearest known one is \"{}\")", *likely) : ""));
    }
    return true;
  });
  return config::from_value<Config>(std::move(file), type, {});
}

}  // namespace

template <class Config>
Config read_toy_config(const std::filesystem::path& path, std::vector<std::string>& warnings) {
  try {
    return parse<Config>(config::read_file(path), path.string(), warnings);
  } catch (const ConfigError& error) {
    throw DataError(error.what());  // a target is data to the run that names it
  }
}

template <class Config>
std::string toy_config_json(const Config& model) {
  config::Value value = config::value_of(model);
  value.map()->insert(value.map()->begin(), {type_key, config::Value(std::string(Config::model_type))});
  return config::to_json(value);
}

template TmsConfig read_toy_config(const std::filesystem::path&, std::vector<std::string>&);
template ResidualMlpConfig read_toy_config(const std::filesystem::path&, std::vector<std::string>&);
template InductionConfig read_toy_config(const std::filesystem::path&, std::vector<std::string>&);
template std::string toy_config_json(const TmsConfig&);
template std::string toy_config_json(const ResidualMlpConfig&);
template std::string toy_config_json(const InductionConfig&);

}  // namespace vpd
