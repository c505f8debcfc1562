#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vpd/io/safetensors.hpp"

// The layout of a target's directory: model_config.{yaml,yml,json} beside one .safetensors file.

namespace vpd {

/// The model_config of a directory, where it has one.
std::optional<std::filesystem::path> model_config_in(const std::filesystem::path& directory);

/// The two files of a directory. DataError where either is missing, or where there is more than one file of
/// weights.
std::filesystem::path find_model_config(const std::filesystem::path& directory);
std::filesystem::path find_weights(const std::filesystem::path& directory);

/// Every tensor of `specs`, float32 on the CPU. A tensor that is not among them becomes a warning that names
/// `family`. DataError where one is missing, has another shape or is not finite.
NamedTensors read_weights(const SafetensorsFile& file, const std::vector<TensorSpec>& specs,
                          std::string_view family, std::vector<std::string>& warnings);

/// DataError unless the file's header lists every tensor of `specs` with its shape.
void check_headers(const SafetensorsFile& file, const std::vector<TensorSpec>& specs);

/// Writes model_config.json and model.safetensors into `directory`, making it.
void write_checkpoint(const std::filesystem::path& directory, const std::string& model_config,
                      const NamedTensors& weights);

}  // namespace vpd
