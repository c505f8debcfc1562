#include "provenance.hpp"

#include <ATen/detail/CUDAHooksInterface.h>
#include <nlohmann/json.hpp>
#include <torch/version.h>

#include "vpd/base/error.hpp"
#include "vpd/base/host.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/version.hpp"
#include "vpd/config/value.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

bool may_change(const std::string& difference, bool inputs_known) {
  for (const char* place : {"output.", "evaluation.every:", "evaluation.slow_every:", "evaluation.final:"}) {
    if (difference.starts_with(place)) return true;
  }
  if (!inputs_known) return false;
  for (const char* place : {"target.path:", "data.train.path:", "data.eval.path:", "initialize_from:"}) {
    if (difference.starts_with(place)) return true;
  }
  return false;
}

}  // namespace

Json read_provenance(const fs::path& path) {
  if (!fs::exists(path)) return {};
  Json json = Json::parse(read_text(path), nullptr, /*allow_exceptions=*/false);
  VPD_CHECK(json.is_object(), DataError,
            "{}: expected a JSON object, found none; move the file away to resume without comparing inputs",
            path.string());
  return json;
}

void write_provenance(const fs::path& path, const Provenance& provenance) {
  Json json = {{"version", version()},
               {"git_revision", git_revision()},
               {"command_line", provenance.command_line},
               {"start_time", utc_now()},
               {"host", host_name()},
               {"job", batch_job() ? Json(*batch_job()) : Json()},
               {"seed", provenance.config->seed},
               {"device", describe_device(provenance.numerics.device)},
               {"matrix_products", provenance.numerics.compute == at::kBFloat16 ? "bf16" : "fp32"},
               {"processes", provenance.processes},
               {"lanes", provenance.lanes},
               {"threads_per_lane", provenance.threads_per_lane},
               {"libraries", {{"torch", TORCH_VERSION}}}};
  if (provenance.numerics.device.is_cuda())
    json["libraries"]["cuda"] = at::detail::getCUDAHooks().versionCUDART();
  json["inputs"][name_in_json(provenance.config_file.path)] = provenance.config_file.sha256;
  for (const HashedRole& role : provenance.inputs) {
    json["reads"][role.name] = Json::array();
    for (const HashedFile& file : role.files) {
      json["inputs"][name_in_json(file.path)] = file.sha256;
      json["reads"][role.name].push_back(name_in_json(file.path));
    }
  }
  json["configuration"] = Json::parse(to_json(*provenance.config));
  write_atomically(path, json_text(json, 2) + "\n");
}

std::vector<std::string> forbidden_differences(const fs::path& path, const RunConfig& stored,
                                               const RunConfig& now) {
  const Json json = read_provenance(path);
  const std::string before =
      json.contains("configuration") ? json_text(json["configuration"]) : to_json(stored);
  std::vector<std::string> lines = config::differences(config::parse_json(before, path.string()),
                                                       config::parse_json(to_json(now), "the configuration"));
  const bool inputs_known = knows_inputs(path);
  std::erase_if(lines, [&](const std::string& line) { return may_change(line, inputs_known); });
  return lines;
}

std::optional<std::string> recorded_device(const fs::path& path) {
  const Json json = read_provenance(path);
  if (!json.contains("device") || !json["device"].is_string()) return std::nullopt;
  return json["device"].get<std::string>();
}

}  // namespace vpd
