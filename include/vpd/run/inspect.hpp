#pragma once

#include <filesystem>
#include <string>

#include "vpd/base/observer.hpp"

namespace vpd {

/// What lies at a path, for people and as a JSON object with the key "kind".
struct Inspection {
  std::string kind;  ///< "run", "checkpoint", "target", "tokens", "safetensors" or "tokenizer"
  std::string text;
  std::string json;
};

/// Looks into a run directory, a checkpoint directory, a target directory, a token file (or a directory or
/// shell pattern of them), a .safetensors file or a tokenizer.json. Reads every token and every tensor of a
/// .safetensors file, one at a time. A tokenizer.json beside token files shows their first tokens as text.
/// Throws DataError where the path is none of these or is itself broken; what else cannot be listed, a file
/// beside it or a part of it, is a warning after all that can. The observer is told of what takes long.
Inspection inspect(const std::filesystem::path& path, const Observer& observer = {});

}  // namespace vpd
