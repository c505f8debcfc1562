#include "provenance.hpp"

#include <algorithm>
#include <chrono>
#include <ctime>

#include <ATen/detail/CUDAHooksInterface.h>
#include <nlohmann/json.hpp>
#include <torch/version.h>

#include "vpd/base/error.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/version.hpp"
#include "vpd/config/value.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/sha256.hpp"
#include "vpd/io/token_shard.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

/// Null where there is no such file.
Json read(const fs::path& path) {
  if (!fs::exists(path)) return {};
  Json json = Json::parse(read_text(path), nullptr, /*allow_exceptions=*/false);
  VPD_CHECK(json.is_object(), DataError,
            "{}: expected a JSON object, found none; move the file away to resume without comparing inputs",
            path.string());
  return json;
}

std::string hash_of(const fs::path& file, const Observer& observer) {
  if (observer.status) observer.status(fmt::format("reading {} for its hash", file.string()));
  return sha256_of_file(file, observer.stop);
}

bool may_change(const std::string& difference) {
  for (const char* place : {"output.", "evaluation.every:", "evaluation.slow_every:"}) {
    if (difference.starts_with(place)) return true;
  }
  return false;
}

}  // namespace

std::vector<fs::path> input_files(const RunConfig& config) {
  std::vector<fs::path> files;
  const fs::path& target = std::visit([](const auto& t) -> const fs::path& { return t.path; }, config.target);
  for (const auto& entry : fs::directory_iterator(target)) {
    const std::string name = entry.path().filename();
    const bool description = entry.path().stem() == "model_config" || name == "config.json" ||
                             name.ends_with(".safetensors.index.json");
    if (entry.is_regular_file() && (description || name.ends_with(".safetensors")))
      files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const DataSource* source : {&config.data.train, &config.data.eval}) {
    const auto* tokens = std::get_if<TokensData>(source);
    if (!tokens) continue;  // rows that are made, not read
    for (const TokenShard& shard : open_token_shards(tokens->path)) {
      if (std::find(files.begin(), files.end(), shard.path()) == files.end()) files.push_back(shard.path());
    }
  }
  return files;
}

std::vector<HashedFile> hash_inputs(const RunConfig& config, const fs::path& config_file,
                                    const Observer& observer) {
  std::vector<fs::path> files = input_files(config);
  files.insert(files.begin(), config_file);
  if (const auto& start = config.initialize_from) {
    for (const char* name : {components_file, causal_importance_file}) files.push_back(*start / name);
  }
  std::vector<HashedFile> hashed;
  for (const fs::path& file : files) hashed.push_back({file, hash_of(file, observer)});
  return hashed;
}

void write_provenance(const fs::path& path, const Provenance& provenance) {
  Json json = {{"version", version()},
               {"git_revision", git_revision()},
               {"command_line", provenance.command_line},
               {"start_time", utc_now()},
               {"seed", provenance.config->seed},
               {"device", describe_device(provenance.numerics.device)},
               {"matrix_products", provenance.numerics.compute == at::kBFloat16 ? "bf16" : "fp32"},
               {"processes", provenance.processes},
               {"lanes", provenance.lanes},
               {"threads_per_lane", provenance.threads_per_lane},
               {"libraries", {{"torch", TORCH_VERSION}}}};
  if (provenance.numerics.device.is_cuda())
    json["libraries"]["cuda"] = at::detail::getCUDAHooks().versionCUDART();
  for (const HashedFile& input : provenance.inputs) json["inputs"][input.path.string()] = input.sha256;
  json["configuration"] = Json::parse(to_json(*provenance.config));
  write_atomically(path, json_text(json, 2) + "\n");
}

void check_inputs(const fs::path& path, const std::vector<fs::path>& inputs, const Observer& observer) {
  const Json json = read(path);
  if (!json.contains("inputs")) return;
  for (const fs::path& input : inputs) {
    const auto recorded = json["inputs"].find(input.string());
    VPD_CHECK(recorded != json["inputs"].end(), DataError,
              "{}: expected the files that the run began with, found one that was not among them; move it "
              "away or start a new run",
              input.string());
    const std::string found = hash_of(input, observer);
    VPD_CHECK(*recorded == found, DataError,
              "{}: expected the file that the run began with, found one that was changed since (SHA-256 {} "
              "instead of {}); put the old "
              "one back or start a new run",
              input.string(), found.substr(0, 12), json_text(*recorded).substr(1, 12));
  }
}

std::vector<std::string> forbidden_differences(const fs::path& path, const RunConfig& stored,
                                               const RunConfig& now) {
  const Json json = read(path);
  const std::string before =
      json.contains("configuration") ? json_text(json["configuration"]) : to_json(stored);
  std::vector<std::string> lines = config::differences(config::parse_json(before, path.string()),
                                                       config::parse_json(to_json(now), "the configuration"));
  std::erase_if(lines, may_change);
  return lines;
}

std::optional<std::string> recorded_device(const fs::path& path) {
  const Json json = read(path);
  if (!json.contains("device") || !json["device"].is_string()) return std::nullopt;
  return json["device"].get<std::string>();
}

}  // namespace vpd
