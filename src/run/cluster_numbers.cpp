#include "cluster_numbers.hpp"

#include "vpd/base/error.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"

namespace vpd {

std::optional<std::map<std::string, std::int64_t>> cluster_numbers(const OpenedRun& run,
                                                                   const nlohmann::ordered_json* weights) {
  namespace fs = std::filesystem;
  const fs::path directory = results_path(run.directory, run.checkpoint.step) / "clusters",
                 path = directory / "clusters.json";
  std::error_code error;
  if (!fs::exists(path, error)) return std::nullopt;
  check_weights(directory, read_about(directory), weights ? *weights : weight_hashes(run.checkpoint.path),
                run.checkpoint.path);
  const nlohmann::json file = nlohmann::json::parse(read_text(path), nullptr, /*allow_exceptions=*/false);
  std::map<std::string, std::int64_t> numbers;
  try {
    std::int64_t number = 0;
    for (const auto& cluster : file.at("clusters")) {
      for (const auto& key : cluster.at("members")) numbers.emplace(key.get<std::string>(), number);
      ++number;
    }
  } catch (const nlohmann::json::exception&) {
    throw DataError(fmt::format(
        "{}: expected an object with \"clusters\", each with the keys of its \"members\", found something "
        "else; run `vpd cluster` again",
        path.string()));
  }
  return numbers;
}

}  // namespace vpd
