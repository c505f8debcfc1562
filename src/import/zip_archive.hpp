#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vpd {

struct ZipEntry {
  std::string name;
  std::span<const std::byte> bytes;  // inside the archive, as they lie there
  std::uint32_t crc32 = 0;           // as the archive states it
  std::uint16_t method = 0;          // how they are compressed; 0: not at all
};

// The entries of a zip archive that lies in memory, such as a mapped file, which has to outlive this object.
// Nothing is unpacked: PyTorch stores tensors as they are. ZIP64 is read too.
//
// The constructor throws DataError naming the file, the entry, what was expected and what was found: no
// archive, several disks, an entry that is encrypted, named twice or by a path that leads out of the archive,
// sizes and places that contradict each other, lie outside the file or overlap.
class ZipArchive {
 public:
  // `path` is what messages call the file.
  ZipArchive(std::span<const std::byte> file, std::string path);

  const std::string& path() const { return path_; }
  // In the order of the archive's directory.
  const std::vector<ZipEntry>& entries() const { return entries_; }
  // Null when there is no such entry.
  const ZipEntry* find(std::string_view name) const;
  // Throws DataError where the entry is compressed.
  void check_stored(const ZipEntry& entry) const;
  // The same, and where its bytes do not have the CRC-32 that the archive states. An archive in which every
  // CRC-32 is 0 was written without them (PyTorch can be told so), and passes.
  void check(const ZipEntry& entry) const;

 private:
  std::string path_;
  std::vector<ZipEntry> entries_;
  std::map<std::string, std::size_t, std::less<>> index_;
  bool has_sums_ = false;
};

// CRC-32 of IEEE 802.3, as zip uses it.
std::uint32_t crc32_of(std::span<const std::byte> bytes);

// Whether the bytes begin as a zip archive with an entry does.
bool looks_like_zip(std::span<const std::byte> bytes);

}  // namespace vpd
