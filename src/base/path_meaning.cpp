#include "vpd/base/path_meaning.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <fnmatch.h>
#include <sys/stat.h>

#include "vpd/base/error.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

/// 0 where there is something, through links; else the system's number of the reason.
int look(const fs::path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? 0 : errno;
}

bool is_pattern(const std::string& part) { return part.find_first_of("*?[") != std::string::npos; }

/// Names that match, in a directory of which the empty path is the working directory.
std::vector<std::string> matching_names(const fs::path& directory, const std::string& pattern,
                                        std::error_code& error) {
  std::vector<std::string> names;
  fs::directory_iterator entry(directory.empty() ? fs::path(".") : directory, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (::fnmatch(pattern.c_str(), name.c_str(), FNM_PERIOD) == 0) names.push_back(name);
  }
  return names;
}

std::string no_permission(const fs::path& directory) {
  return fmt::format("no permission to look into {}: check who may read that directory",
                     directory.empty() ? "the working directory" : directory.string());
}

/// Follows the parts of a path from directory to directory.
class Walk {
 public:
  explicit Walk(const fs::path& path) : parts_(path.begin(), path.end()) {}

  PathMeaning meaning() {
    go({}, 0);
    std::sort(meaning_.paths.begin(), meaning_.paths.end());
    if (!meaning_.paths.empty()) meaning_.obstacle.reset();
    return std::move(meaning_);
  }

 private:
  void go(const fs::path& here, std::size_t part) {
    if (part == parts_.size()) {
      meaning_.paths.push_back(here);
      return;
    }
    const fs::path literal = here / parts_[part];
    if (look(literal) == 0) return go(literal, part + 1);
    const std::string pattern = parts_[part].string();
    meaning_.is_pattern |= is_pattern(pattern);
    if (pattern.find_first_of("*?[\\") == std::string::npos) return note(literal);
    std::error_code error;
    const std::vector<std::string> names = matching_names(here, pattern, error);
    if (error == std::errc::permission_denied && !meaning_.obstacle) meaning_.obstacle = no_permission(here);
    for (const std::string& name : names) {
      // The last part may be a link that leads to nothing: whoever opens it says so.
      if (part + 1 == parts_.size() || look(here / name) == 0) {
        go(here / name, part + 1);
      } else {
        note(here / name);
      }
    }
  }

  /// What stands in the way of a path. Of the many that a pattern tries, only those nobody may look at count.
  void note(const fs::path& path) {
    if (meaning_.is_pattern && look(path) != EACCES) return;
    if (!meaning_.obstacle) meaning_.obstacle = obstacle(path);
  }

  std::vector<fs::path> parts_;
  PathMeaning meaning_;
};

}  // namespace

std::vector<fs::path> visible_entries(const fs::path& directory) {
  std::vector<fs::path> entries;
  std::error_code error;
  fs::directory_iterator entry(directory, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (!entry->path().filename().string().starts_with(".")) entries.push_back(entry->path());
  }
  VPD_CHECK(!error, DataError, "{}: cannot list the directory: {}{}", directory.string(), error.message(),
            error == std::errc::permission_denied ? "; check who may read it" : "");
  std::sort(entries.begin(), entries.end());
  return entries;
}

std::optional<std::string> obstacle(const fs::path& path) {
  const int error = look(path);
  if (error == 0) return std::nullopt;
  // The part at which the way ends: the first that cannot be looked at.
  fs::path before, reached;
  for (const fs::path& part : path) {
    reached = before / part;
    if (look(reached) != 0) break;
    before = reached;
  }
  std::error_code ignored;
  switch (error) {
    case EACCES:
      return no_permission(before);
    case ENOTDIR:
      return fmt::format("a file at {}, where a directory has to be", before.string());
    case ENOENT:
      if (!fs::is_symlink(reached, ignored)) return std::nullopt;
      return fmt::format("a link at {} that leads to nothing ({})", reached.string(),
                         fs::read_symlink(reached, ignored).string());
    default:
      return fmt::format("something at {} that cannot be looked at: {}", reached.string(),
                         std::generic_category().message(error));
  }
}

PathMeaning meaning_of(const fs::path& path) {
  if (look(path) == 0) return {.paths = {path}, .is_pattern = false, .obstacle = std::nullopt};
  return Walk(path).meaning();
}

}  // namespace vpd
