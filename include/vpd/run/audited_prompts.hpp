#pragma once

#include <cstdint>
#include <filesystem>

namespace vpd {

/// Examples of a behaviour, and of what is to stay as it is: files that audit and unlearn read.
struct AuditedPrompts {
  std::filesystem::path behaviour{};  ///< JSON lines (read_prompts())
  /// JSON lines; plain text (.txt), one row a line; tokens (.bin, .npy), rows of the run's length; or empty:
  /// held-out rows of the run.
  std::filesystem::path against{};
  std::int64_t rows = 64;  ///< of tokens, at most
};

}  // namespace vpd
