#include "vpd/io/files.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vpd/base/error.hpp"

namespace vpd {

namespace fs = std::filesystem;

namespace {

const char* cure_of(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "; free some space there or choose another place";
    case EACCES:
    case EPERM:
    case EROFS:
      return "; check the permissions or choose another place";
    case ENOENT:
      return "; check the path";
    case EMFILE:
      return "; raise the limit of open files (ulimit -n)";
    default:
      return "";
  }
}

[[noreturn]] void fail(const fs::path& path, std::string_view action, int error) {
  throw DataError(fmt::format("{}: cannot {}: {}{}", path.string(), action,
                              std::generic_category().message(error), cure_of(error)));
}

/// Whether an error of fsync() says that the file system has no such thing, rather than that data may be
/// lost.
bool has_no_flushing(int error) {
  return error == EINVAL || error == ENOSYS || error == EOPNOTSUPP || error == EPERM || error == EACCES ||
         error == EBADF || error == EROFS;
}

void flush(int descriptor, const fs::path& path) {
  if (::fsync(descriptor) != 0 && !has_no_flushing(errno)) fail(path, "flush the file to the disk", errno);
}

void flush_file(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(path, "open to flush it to the disk", errno);
  try {
    flush(descriptor, path);
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  ::close(descriptor);
}

/// Makes a new name survive a power failure. Many file systems cannot flush a directory and say so with
/// errors of every kind; what the directory names is whole all the same, and nothing more could be done.
void flush_directory(const fs::path& path) noexcept {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY);
  if (descriptor < 0) return;
  static_cast<void>(::fsync(descriptor));
  ::close(descriptor);
}

fs::path directory_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

// Hidden, so that no glob takes it for data; with the process id and a number, so that neither two processes
// nor two threads share one.
fs::path beside(const fs::path& path) {
  static std::atomic<unsigned> made{0};
  return directory_of(path) / fmt::format(".tmp-{}.{}.{}", path.filename().string(), ::getpid(), made++);
}

/// Where a symbolic link leads, whether there is something or not.
fs::path behind_links(fs::path path) {
  constexpr int most = 40;  // as many as the system follows
  std::error_code error;
  for (int i = 0; i < most && fs::is_symlink(path, error); ++i) {
    const fs::path target = fs::read_symlink(path, error);
    if (error) break;
    path = target.is_absolute() ? target : directory_of(path) / target;
  }
  return path;
}

int open_for_reading(const fs::path& path, struct stat& status) {
  // Without waiting, which a pipe would make it do, for somebody to write into it.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) fail(path, "open the file", errno);
  if (::fstat(descriptor, &status) != 0) {
    const int error = errno;
    ::close(descriptor);
    fail(path, "read the file's size", error);
  }
  if (!S_ISREG(status.st_mode)) {
    ::close(descriptor);
    throw DataError(fmt::format("{}: expected a regular file, found {}", path.string(),
                                S_ISDIR(status.st_mode) ? "a directory" : "something else"));
  }
  return descriptor;
}

}  // namespace

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  struct stat status {};
  // Asked of the name as it was given: links of /proc lead to what has no name of its own.
  if (::stat(path_.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor_ < 0) fail(path_, "open it to write", errno);
    return;
  }
  path_ = behind_links(std::move(path_));
  temporary_ = beside(path_);
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail(path_, "create the file", errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, std::size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::write(descriptor_, next, size);
    if (written < 0) {
      if (errno == EINTR) continue;
      fail(path_, "write the file", errno);
    }
    next += written;
    size -= static_cast<std::size_t>(written);
  }
}

void AtomicFile::commit() {
  const bool stands = temporary_.empty();  // a pipe or a device, which there is nothing to flush to
  if (!stands) flush(descriptor_, path_);
  // Some file systems report a full disk only here.
  if (::close(std::exchange(descriptor_, -1)) != 0) fail(path_, "close the file", errno);
  if (stands) return;
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_, "rename the finished file", errno);
  temporary_.clear();
  flush_directory(directory_of(path_));
}

InputFile::InputFile(fs::path path) : path_(std::move(path)) {
  struct stat status {};
  descriptor_ = open_for_reading(path_, status);
  size_ = status.st_size;
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

void InputFile::read(std::int64_t offset, void* data, std::size_t size) const {
  char* next = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t got = ::pread(descriptor_, next, size, offset);
    if (got < 0) {
      if (errno == EINTR) continue;
      fail(path_, "read the file", errno);
    }
    VPD_CHECK(got > 0, DataError, "{}: expected {} more bytes at offset {}, found the end of the file",
              path_.string(), size, offset);
    next += got;
    offset += got;
    size -= static_cast<std::size_t>(got);
  }
}

MappedFile::MappedFile(fs::path path) : path_(std::move(path)) {
  struct stat status {};
  const int descriptor = open_for_reading(path_, status);
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size > 0) {
    void* address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
    const int error = errno;
    ::close(descriptor);
    if (address == MAP_FAILED) fail(path_, "map the file into memory", error);
    bytes_ = {static_cast<const std::byte*>(address), size};
  } else {
    ::close(descriptor);
  }
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

std::string read_text(const fs::path& path) {
  const InputFile file(path);
  std::string content(static_cast<std::size_t>(file.size()), '\0');
  file.read(0, content.data(), content.size());
  return content;
}

void write_atomically(const fs::path& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content.data(), content.size());
  file.commit();
}

void replace_symlink(const fs::path& link, const fs::path& target) {
  const fs::path temporary = beside(link);
  ::unlink(temporary.c_str());
  if (::symlink(target.c_str(), temporary.c_str()) != 0) fail(link, "create the link", errno);
  if (::rename(temporary.c_str(), link.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary.c_str());
    fail(link, "move the link", error);
  }
  flush_directory(directory_of(link));
}

void publish_file(const fs::path& temporary, const fs::path& destination) {
  flush_file(temporary);
  if (::rename(temporary.c_str(), destination.c_str()) != 0)
    fail(destination, "rename the finished file", errno);
  flush_directory(directory_of(destination));
}

void publish_directory(const fs::path& temporary, const fs::path& destination) {
  try {
    for (const auto& entry : fs::recursive_directory_iterator(temporary)) {
      if (entry.is_symlink()) continue;
      if (entry.is_directory()) {
        flush_directory(entry.path());
      } else {
        flush_file(entry.path());
      }
    }
    flush_directory(temporary);
    if (::rename(temporary.c_str(), destination.c_str()) != 0) {
      if (errno != EEXIST && errno != ENOTEMPTY) fail(destination, "rename the finished directory", errno);
      if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, destination.c_str(), RENAME_EXCHANGE) == 0) {
        fs::remove_all(temporary);
      } else {
        // A file system without exchange: the old directory steps aside first.
        const fs::path aside = beside(destination);
        fs::rename(destination, aside);
        fs::rename(temporary, destination);
        fs::remove_all(aside);
      }
    }
  } catch (const fs::filesystem_error& error) {
    fail(destination, "publish the finished directory", error.code().value());
  }
  flush_directory(directory_of(destination));
}

}  // namespace vpd
