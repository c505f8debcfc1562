#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

// Files that are either whole or absent. Everything here throws DataError with the path, the system's reason
// and, where there is one, the cure.

namespace vpd {

// The whole file as bytes.
std::string read_text(const std::filesystem::path& path);

// Replaces `path` by `content` in one step: a reader, or a run that was killed, sees the old file or the new
// one. A symbolic link stays one, and what it points to is replaced. What is no regular file, a pipe or a
// device, is written to as it stands.
void write_atomically(const std::filesystem::path& path, std::string_view content);

// The same for content that is produced piece by piece. Until commit() the bytes lie beside `path` under a
// temporary name; without commit() the destructor removes them.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t size);
  // Flushes to the disk and renames.
  void commit();

 private:
  std::filesystem::path path_;       // not a symbolic link
  std::filesystem::path temporary_;  // empty where `path_` is written to as it stands
  int descriptor_ = -1;
};

// A file opened for reading at any offset. It keeps showing the same bytes when `path` is replaced by a
// rename.
class InputFile {
 public:
  explicit InputFile(std::filesystem::path path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;

  const std::filesystem::path& path() const { return path_; }
  std::int64_t size() const { return size_; }
  // Exactly `size` bytes from `offset`; fewer in the file is an error.
  void read(std::int64_t offset, void* data, std::size_t size) const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;
};

// A read-only memory map of a whole file. An empty file gives an empty span.
class MappedFile {
 public:
  explicit MappedFile(std::filesystem::path path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

// Makes `link` point to `target` (taken literally, so relative to the link's directory), replacing an older
// link without a moment in which there is none.
void replace_symlink(const std::filesystem::path& link, const std::filesystem::path& target);

// Flushes the file `temporary` to the disk and renames it to `destination`, in place of a file that is
// already there.
void publish_file(const std::filesystem::path& temporary, const std::filesystem::path& destination);

// Flushes every file and directory in `temporary` to the disk and renames it to `destination`. A directory
// that is already there is exchanged for the new one and then removed.
void publish_directory(const std::filesystem::path& temporary, const std::filesystem::path& destination);

}  // namespace vpd
