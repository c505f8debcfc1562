#include <system_error>

#include <fcntl.h>
#include <spdlog/fmt/fmt.h>
#include <unistd.h>
#include <vpd/base/found.hpp>

namespace vpd {
namespace {

namespace fs = std::filesystem;

// The directory on the way to `path` that may not be entered; `path` itself where it is none of these.
fs::path locked_directory(const fs::path& path) {
  fs::path way;
  for (const fs::path& part : fs::absolute(path).lexically_normal()) {
    way /= part;
    std::error_code error;
    if (!fs::is_directory(way, error) || error) continue;
    if (::faccessat(AT_FDCWD, way.c_str(), X_OK, AT_EACCESS) != 0) return way;
  }
  return path;
}

}  // namespace

std::string found_instead(const fs::path& path, std::string nothing) {
  std::error_code error, ignored;
  const fs::file_status status = fs::status(path, error);
  if (error == std::errc::permission_denied) {
    return fmt::format("that {} may not be entered ({}): ask for the right to, or run as a user who has it",
                       locked_directory(path).string(), error.message());
  }
  // What is absent, or lies below a file, is no error of the system's.
  if (status.type() == fs::file_type::none)
    return fmt::format("that {} cannot be looked at ({})", path.string(), error.message());
  if (status.type() == fs::file_type::not_found && fs::is_symlink(path, ignored))
    return fmt::format("a link to {}, where nothing is", fs::read_symlink(path, ignored).string());
  return nothing;
}

}  // namespace vpd
