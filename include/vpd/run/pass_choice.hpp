#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace vpd {

/// Of which run a command reads rows, and which of them.
struct PassChoice {
  std::filesystem::path run{};
  std::optional<std::int64_t> checkpoint{};  ///< step; without it the latest
  std::vector<std::string> overrides{};      ///< "key=value" of the configuration
  std::optional<std::string> device{};
  int threads = 0;
  std::optional<std::filesystem::path> tokens{};  ///< in place of the run's held-out rows
  std::string split = "eval";                     ///< or "train"
};

}  // namespace vpd
