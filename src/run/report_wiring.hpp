#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "vpd/run/run_choice.hpp"

namespace vpd {

/// Who usually feeds each subcomponent and whom it feeds, as `vpd attributions` left it: the result whose
/// edges add up where there is one, else the first by name.
class ReportWiring {
 public:
  explicit ReportWiring(const OpenedEvidence& opened);

  explicit operator bool() const { return !rule_.empty(); }
  /// {rule, caveat, columns}: the latter is the number of all subcomponents, from which on ends are tokens.
  nlohmann::ordered_json about() const;

  struct End {
    std::int64_t other = 0;  ///< a column, or a token behind all columns
    double normalised = 0.0;
  };
  /// The strongest, falling; into a column first subcomponents and then tokens.
  std::vector<End> into(std::int64_t column) const {
    std::vector<End> all = of(into_, column);
    for (const End& token : of(tokens_into_, column)) all.push_back(token);
    return all;
  }
  std::vector<End> out_of(std::int64_t column) const { return of(out_of_, column); }
  std::int64_t total_C() const { return total_C_; }

 private:
  using Ends = std::map<std::int64_t, std::vector<End>>;
  static std::vector<End> of(const Ends& ends, std::int64_t column) {
    const auto found = ends.find(column);
    return found == ends.end() ? std::vector<End>() : found->second;
  }

  std::string rule_, caveat_;
  std::int64_t total_C_ = 0;
  Ends into_, tokens_into_, out_of_;
};

/// What `vpd interactions` left, with a picture of each table; null where there is nothing.
nlohmann::ordered_json report_interactions(const std::filesystem::path& results);

}  // namespace vpd
