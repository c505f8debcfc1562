// What the report's page shows of a clustering.

#include "report_clusters.hpp"

#include <ATen/ATen.h>

#include "report_data.hpp"
#include "vpd/base/error.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/safetensors.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// [[groups, bits a position], …] from all apart to all together.
Json curve_of(const fs::path& file, double positions, std::size_t points) {
  const at::Tensor total = SafetensorsFile(file).load("total");
  VPD_CHECK(total.scalar_type() == at::kDouble && total.dim() == 1 && total.numel() > 0, DataError,
            "{}: expected float64 numbers under \"total\", found others; run `vpd cluster` again",
            file.string());
  const auto* bits = total.const_data_ptr<double>();
  const auto merges = static_cast<std::size_t>(total.numel()) - 1;
  const std::size_t stride = std::max<std::size_t>(1, merges / points);
  Json curve = Json::array();
  for (std::size_t m = 0; m <= merges; ++m)
    if (m % stride == 0 || m == merges) curve.push_back({m, rounded(bits[m] / positions, 5)});
  return curve;
}

}  // namespace

Json clusters_of(const RunDirectory& run, std::int64_t step) {
  const fs::path place = results_path(run, step) / "clusters";
  std::error_code error;
  if (!fs::is_directory(place, error)) return {};
  const Json about = read_about(place);
  if (const fs::path checkpoint = run.checkpoint_path(step); fs::is_directory(checkpoint, error))
    check_weights(place, about, weight_hashes(checkpoint), checkpoint);
  const fs::path file = place / "clusters.json";
  Json clusters = Json::parse(read_text(file), nullptr, /*allow_exceptions=*/false);
  VPD_CHECK(clusters.is_object() && clusters.contains("clusters") && clusters.contains("loose"), DataError,
            "{}: expected an object with clusters, found none; run `vpd cluster` again", file.string());
  for (const char* list : {"clusters", "loose"})
    for (Json& one : clusters[list])
      for (const char* figure : {"cohesion", "within_density", "stability"})
        if (one[figure].is_number()) one[figure] = rounded(one[figure].get<double>(), 3);
  clusters["curve"] =
      curve_of(place / "merges.safetensors", clusters.value("positions", 1.0), /*points=*/400);
  clusters["settings"] = about.value("settings", Json::object());
  return clusters;
}

}  // namespace vpd
