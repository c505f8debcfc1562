#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "vpd/base/stop.hpp"

// What was found out about a large file by reading all of it is kept for the next program: reading gigabytes
// again at each start would cost a minute. A file counts as the same while its path, inode, size and times of
// change are.
//
// Kept in $XDG_CACHE_HOME/vpd (or ~/.cache/vpd), a small file each; nothing is lost with them. Where that
// cannot be written, or with VPD_NO_CACHE set, files are read each time.

namespace vpd {

/// The smallest and the largest number in a file of tokens.
struct TokenRange {
  std::int64_t smallest = 0, largest = 0;
};

struct KnownFile {
  std::optional<std::string> sha256;
  std::optional<TokenRange> tokens;
};

/// What is known of a file as it is now; nothing where it was changed since, or never read.
KnownFile known_file(const std::filesystem::path& path);

/// Calls `read` and keeps what it says about the file at `path`, unless the file changed meanwhile or so
/// shortly before that its times could not tell. What was known of it besides stays.
KnownFile read_and_remember(const std::filesystem::path& path, const std::function<KnownFile()>& read);

/// The SHA-256 of a file, from what is known or else by reading it. Throws DataError where it cannot be read,
/// and Interrupted once `stop` says so.
std::string known_sha256(const std::filesystem::path& path, const StopAsked& stop = {});

}  // namespace vpd
