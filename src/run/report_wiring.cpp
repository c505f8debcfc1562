// What the report's page shows of attributions and of interactions.

#include "report_wiring.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <ATen/ATen.h>

#include "json_object.hpp"
#include "report_data.hpp"
#include "vpd/base/error.hpp"
#include "vpd/interpretation/results.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::size_t ends_each = 8;       // of a subcomponent, of each kind on each side
constexpr std::size_t picture_rows = 240;  // of a table of interactions
constexpr std::size_t pairs_shown = 60;    // likewise

/// "." for 0, else one of 36 levels, six for each power of ten from 1e-4 on.
char level_of(double strength) {
  if (!(strength > 0.0)) return '.';
  const double level = std::clamp(std::floor(6.0 * (std::log10(strength) + 4.0)), 0.0, 35.0);
  return "0123456789abcdefghijklmnopqrstuvwxyz"[static_cast<std::size_t>(level)];
}

/// The rows (or columns) with the largest sums, in the order in which they stand.
std::vector<std::int64_t> largest(const at::Tensor& sums) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(sums.numel()));
  std::iota(all.begin(), all.end(), 0);
  if (all.size() <= picture_rows) return all;
  const auto* value = sums.const_data_ptr<float>();
  std::partial_sort(all.begin(), all.begin() + picture_rows, all.end(), [&](std::int64_t a, std::int64_t b) {
    return std::pair(-value[a], a) < std::pair(-value[b], b);
  });
  all.resize(picture_rows);
  std::sort(all.begin(), all.end());
  return all;
}

Json picture_of(const SafetensorsFile& file, bool square) {
  const std::string prefix = square ? "" : "gated_";
  const at::Tensor strength = file.load(prefix + "strength"), own = file.load("subcomponent"),
                   other = file.load(prefix + "subcomponent"), row_sum = file.load(prefix + "row_sum"),
                   column_sum = file.load(prefix + "column_sum");
  const std::vector<std::int64_t> rows = largest(square ? row_sum + column_sum : row_sum),
                                  columns = square ? rows : largest(column_sum);
  Json row_columns = Json::array(), column_columns = Json::array(), cells = Json::array();
  for (const std::int64_t j : columns) column_columns.push_back(other.const_data_ptr<std::int32_t>()[j]);
  for (const std::int64_t i : rows) {
    row_columns.push_back(own.const_data_ptr<std::int32_t>()[i]);
    std::string line;
    for (const std::int64_t j : columns)
      line += level_of(static_cast<double>(strength.const_data_ptr<float>()[i * strength.size(1) + j]));
    cells.push_back(line);
  }
  return {{"rows", row_columns},
          {"columns", column_columns},
          {"cells", cells},
          {"left", own.numel() - static_cast<std::int64_t>(rows.size())}};
}

}  // namespace

ReportWiring::ReportWiring(const OpenedEvidence& opened) {
  const fs::path all = results_path(opened.directory, opened.checkpoint.step) / "attributions";
  std::vector<fs::path> results;
  std::error_code error;
  for (fs::directory_iterator i(all, error), end; !error && i != end; i.increment(error))
    if (fs::exists(i->path() / "edges.safetensors")) results.push_back(i->path());
  if (results.empty()) return;
  std::sort(results.begin(), results.end());
  const auto rule = [](const fs::path& path) { return read_about(path).value("rule", std::string()); };
  const auto complete = std::find_if(results.begin(), results.end(),
                                     [&](const fs::path& path) { return rule(path) == "complete"; });
  const fs::path chosen = complete == results.end() ? results.front() : *complete;
  const Json about = read_about(chosen);
  check_weights(chosen, about, opened.evidence.about()["weights"], opened.checkpoint.path);
  rule_ = about.value("rule", "published");
  caveat_ = about.value("caveat", "");
  total_C_ = opened.evidence.sites().total_C();
  const SafetensorsFile file(chosen / "edges.safetensors");
  const at::Tensor source = file.load("source"), target = file.load("target"),
                   normalised = file.load("normalised");
  for (std::int64_t k = 0; k < source.numel(); ++k) {
    const std::int64_t from = source.const_data_ptr<std::int32_t>()[k],
                       to = target.const_data_ptr<std::int32_t>()[k];
    const auto value = static_cast<double>(normalised.const_data_ptr<float>()[k]);
    (from < total_C_ ? into_ : tokens_into_)[to].push_back({from, value});
    if (from < total_C_) out_of_[from].push_back({to, value});
  }
  for (Ends* ends : {&into_, &tokens_into_, &out_of_}) {
    for (auto& [column, list] : *ends) {
      std::stable_sort(list.begin(), list.end(), [](const End& a, const End& b) {
        return std::abs(a.normalised) > std::abs(b.normalised);
      });
      list.resize(std::min(list.size(), ends_each));
    }
  }
}

Json ReportWiring::about() const { return {{"rule", rule_}, {"caveat", caveat_}, {"columns", total_C_}}; }

Json report_interactions(const fs::path& results) {
  const fs::path directory = results / "interactions";
  std::error_code error;
  if (!fs::exists(directory / "interactions.json", error)) return {};
  Json json = json_object(directory / "interactions.json", "; run vpd interactions again");
  for (Json& table : json["tables"]) {
    const SafetensorsFile file(directory / (table["site"].get<std::string>() + ".safetensors"));
    table["map"] = picture_of(file, table["site"] == table["columns"]);
    Json& strongest = table["strongest"];
    if (strongest.size() > pairs_shown)
      strongest.erase(strongest.begin() + static_cast<std::ptrdiff_t>(pairs_shown), strongest.end());
  }
  return json;
}

}  // namespace vpd
