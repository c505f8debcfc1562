#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "vpd/io/safetensors.hpp"
#include "vpd/target/huggingface_config.hpp"
#include "vpd/target/target.hpp"

// Checkpoints in Hugging Face's own layout: config.json beside model.safetensors, or beside shards and
// model.safetensors.index.json (docs/targets.md). Weights on disk may be float32, float16 or bfloat16.

namespace vpd {

/// Whether the directory has a config.json, which is what tells this layout from the others.
bool is_huggingface(const std::filesystem::path& directory);

struct HuggingFaceCheckpoint {
  HuggingFaceConfig config;
  NamedTensors weights;  ///< as the target takes them (gpt2_weights(), llama_weights()): float32 on the CPU
  std::vector<std::filesystem::path> weight_files;  ///< and the index, if there is one
};

/// Throws DataError where the configuration is not one that this program can compute with, where a file or
/// a weight is missing, or where a weight has another shape or is not finite. `warnings` as in load_target().
HuggingFaceCheckpoint read_huggingface(const std::filesystem::path& directory,
                                       std::vector<std::string>& warnings);

/// The configuration alone, from config.json and the headers of the files: DataError as read_huggingface()
/// but for what stands in the weights themselves.
HuggingFaceConfig describe_huggingface(const std::filesystem::path& directory,
                                       std::vector<std::string>& warnings);
/// From config.json alone: a head that is tied there may be one of its own in the weights, which nobody
/// reads.
HuggingFaceConfig describe_without_weights(const std::filesystem::path& directory,
                                           std::vector<std::string>& warnings);

Architecture architecture_of(const HuggingFaceConfig& config);
std::unique_ptr<Target> make_target(const HuggingFaceCheckpoint& checkpoint, const Numerics& numerics);

}  // namespace vpd
