#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace vpd {

/// The run that a command edits the target of, and how it is opened: what the options of edit, intervene and
/// audit begin with. Weights are opened in float32 unless `overrides` says otherwise.
struct RunToEdit {
  std::filesystem::path run{};
  std::optional<std::int64_t> checkpoint{};  ///< nothing: the latest
  std::vector<std::string> overrides{};      ///< "key=value" of the configuration
  std::optional<std::string> device{};
  int threads = 0;
  std::optional<std::filesystem::path> tokenizer{};  ///< nothing: the one beside target or tokens
};

}  // namespace vpd
