#pragma once

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>

#include <sys/mount.h>
#include <unistd.h>

#include "vpd/base/error.hpp"

// What the tests of files share: a directory that goes away, a disk that is soon full, and the text of an
// error.

namespace vpd::testing {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "vpd_io_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make a temporary directory");
    path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

// A file system of 64 KiB. Mounting needs root; mounted() says whether it worked.
class SmallDisk {
 public:
  SmallDisk() : mounted_(::mount("tmpfs", directory_.path().c_str(), "tmpfs", 0, "size=64k") == 0) {}
  ~SmallDisk() {
    if (mounted_) ::umount2(directory_.path().c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool mounted() const { return mounted_; }
  const std::filesystem::path& path() const { return directory_.path(); }

 private:
  TemporaryDirectory directory_;
  bool mounted_;
};

// Root may write everywhere; while this lives, a test that runs as root is nobody, to whom the directories of
// root are forbidden.
class Unprivileged {
 public:
  Unprivileged() : was_root_(::geteuid() == 0) {
    if (was_root_ && ::seteuid(65534) != 0) throw std::runtime_error("cannot become nobody");
  }
  ~Unprivileged() {
    if (was_root_ && ::seteuid(0) != 0) std::abort();
  }
  Unprivileged(const Unprivileged&) = delete;
  Unprivileged& operator=(const Unprivileged&) = delete;

 private:
  bool was_root_;
};

inline std::size_t count_entries(const std::filesystem::path& directory) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    count += entry.exists() || entry.is_symlink();
  return count;
}

// The message of the `Exception` that `action` throws; empty when it throws none, so that a test for a part
// of the message fails. Any other exception passes through.
template <typename Exception = DataError>
std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Exception& error) {
    return error.what();
  }
  return "";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace vpd::testing

// `action` throws DataError (or the exception given) and its text holds `part`.
#define EXPECT_ERROR_AS(Exception, part, ...)                                                    \
  do {                                                                                           \
    const std::string text_of_error = ::vpd::testing::error_of<Exception>([&] { __VA_ARGS__; }); \
    EXPECT_TRUE(!text_of_error.empty() && ::vpd::testing::contains(text_of_error, part))         \
        << "expected '" << (part) << "' in the error '" << text_of_error << "'";                 \
  } while (false)
#define EXPECT_DATA_ERROR(part, ...) EXPECT_ERROR_AS(::vpd::DataError, part, __VA_ARGS__)
