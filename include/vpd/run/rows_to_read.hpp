#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace vpd {

/// Which rows a command looks at that sums over data.
struct RowsToRead {
  std::optional<std::filesystem::path> tokens{};  ///< in place of the run's held-out rows
  std::string split = "eval";                     ///< or "train"
  std::int64_t positions = 200'000;               ///< at most
};

}  // namespace vpd
