#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

// What a path of a configuration or of the command line stands for, and why it stands for nothing.

namespace vpd {

/// The entries of a directory in the order of their names, without the hidden ones: what begins with a dot is
/// what systems and programs leave for themselves (._x of macOS, .tmp-x of ours). Throws DataError where the
/// directory cannot be listed.
std::vector<std::filesystem::path> visible_entries(const std::filesystem::path& directory);

/// What is there in place of a path, other than nothing at all, to be read after "found": a directory on the
/// way that may not be looked into, a link that leads to nothing. Nothing where the path exists, or where no
/// more can be said than that it does not.
std::optional<std::string> obstacle(const std::filesystem::path& path);

struct PathMeaning {
  std::vector<std::filesystem::path> paths;  ///< that exist, in the order of their names; may be empty
  bool is_pattern = false;                   ///< some part of the path does not exist as it is written
  std::optional<std::string> obstacle;  ///< where `paths` is empty: why, if there is more to say than that
};

/// A path is taken part by part. A part that exists as it is written is meant literally, whatever characters
/// it has; any other with *, ? or [..] is a shell pattern of names, hidden ones only where it begins with a
/// dot itself. So data[1]/train_*.npy lies in data[1] where there is such a directory, and in data1
/// elsewhere.
PathMeaning meaning_of(const std::filesystem::path& path);

}  // namespace vpd
