#pragma once

// One function for each kind of thing that inspect() knows.

#include <filesystem>
#include <string>

#include "vpd/config/value.hpp"

namespace vpd {

struct Findings {
  std::string kind;
  std::string title;  ///< the kind in a few words
  std::string text;   ///< tables, each line ended
  config::Value data{config::Value::Map{}};
};

Findings inspect_run(const std::filesystem::path& directory);
Findings inspect_checkpoint(const std::filesystem::path& directory);
Findings inspect_target(const std::filesystem::path& directory);
Findings inspect_huggingface(const std::filesystem::path& directory);
Findings inspect_tokens(const std::filesystem::path& path);
Findings inspect_safetensors(const std::filesystem::path& file);
Findings inspect_tokenizer(const std::filesystem::path& file);

}  // namespace vpd
