#include "vpd/target/checkpoint.hpp"

#include <set>
#include <system_error>

#include "vpd/base/error.hpp"
#include "vpd/base/path_meaning.hpp"
#include "vpd/io/files.hpp"

namespace vpd {

namespace fs = std::filesystem;

std::optional<fs::path> model_config_in(const fs::path& directory) {
  for (const char* name : {"model_config.yaml", "model_config.yml", "model_config.json"}) {
    std::error_code error;
    if (fs::is_regular_file(directory / name, error)) return directory / name;
  }
  return std::nullopt;
}

fs::path find_model_config(const fs::path& directory) {
  if (std::optional<fs::path> found = model_config_in(directory)) return *found;
  std::error_code error;
  VPD_CHECK(fs::is_directory(directory, error), DataError,
            "{}: expected a directory with model_config.yaml or .json beside one .safetensors file, found {}",
            directory.string(),
            obstacle(directory).value_or(fs::exists(directory, error) ? "a file" : "nothing of that name"));
  const auto closed = obstacle(directory / "model_config.json");
  VPD_CHECK(!closed, DataError, "{}: expected model_config.yaml or model_config.json in it, found {}",
            directory.string(), *closed);
  throw DataError(fmt::format("{}: expected model_config.yaml or model_config.json, found neither{}",
                              directory.string(),
                              fs::exists(directory / "config.json", error)
                                  ? "; with a config.json, Hugging Face's layout, the target's type is hf"
                                  : ""));
}

fs::path find_weights(const fs::path& directory) {
  std::vector<fs::path> found;
  for (const fs::path& entry : visible_entries(directory)) {
    if (entry.extension() == ".safetensors") found.push_back(entry);
  }
  VPD_CHECK(found.size() == 1, DataError, "{}: expected one .safetensors file, found {}{}",
            directory.string(), found.size(),
            found.empty()
                ? ""
                : fmt::format(" ({}, {} ...)", found[0].filename().string(), found[1].filename().string()));
  return found.front();
}

NamedTensors read_weights(const SafetensorsFile& file, const std::vector<TensorSpec>& specs,
                          std::string_view family, std::vector<std::string>& warnings) {
  NamedTensors weights;
  std::set<std::string> known;
  for (const TensorSpec& spec : specs) {
    weights.emplace_back(spec.name, load_checked(file, spec.name, spec.shape));
    known.insert(spec.name);
  }
  for (const TensorInfo& tensor : file.tensors()) {
    if (known.contains(tensor.name)) continue;
    warnings.push_back(fmt::format("{}: the tensor {} is not part of a {} and was passed over",
                                   file.path().string(), tensor.name, family));
  }
  return weights;
}

void check_headers(const SafetensorsFile& file, const std::vector<TensorSpec>& specs) {
  for (const TensorSpec& spec : specs) check_header(file, spec.name, spec.shape);
}

void write_checkpoint(const fs::path& directory, const std::string& model_config,
                      const NamedTensors& weights) {
  std::error_code error;
  fs::create_directories(directory, error);
  VPD_CHECK(!error, DataError, "{}: cannot make this directory: {}", directory.string(), error.message());
  save_safetensors(directory / "model.safetensors", weights, {{"format", "pt"}});
  write_atomically(directory / "model_config.json", model_config);
}

}  // namespace vpd
