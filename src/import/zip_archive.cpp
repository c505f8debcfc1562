// Zip as PKWARE's APPNOTE.TXT describes it: the directory at the end of the file is what counts, and each
// local header in front of an entry's bytes has to agree with it.

#include "zip_archive.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"

namespace vpd {
namespace {

static_assert(std::endian::native == std::endian::little, "zip's numbers are read as they lie in memory");

constexpr std::uint32_t kLocalSignature = 0x04034b50;
constexpr std::uint32_t kDirectorySignature = 0x02014b50;
constexpr std::uint32_t kEndSignature = 0x06054b50;
constexpr std::uint32_t kEnd64Signature = 0x06064b50;
constexpr std::uint32_t kLocator64Signature = 0x07064b50;
constexpr std::size_t kLocalSize = 30, kDirectorySize = 46, kEndSize = 22, kEnd64Size = 56, kLocatorSize = 20;
constexpr std::size_t kLargestComment = 0xffff;

// Number of bytes from `offset` that lie in `bytes`, none when it is beyond the end.
std::size_t left_after(std::span<const std::byte> bytes, std::uint64_t offset) {
  return offset > bytes.size() ? 0 : bytes.size() - static_cast<std::size_t>(offset);
}

template <class Number>
Number number_at(std::span<const std::byte> bytes, std::size_t offset) {
  Number number = 0;
  std::memcpy(&number, bytes.data() + offset, sizeof(number));
  return number;
}

std::string_view text_at(std::span<const std::byte> bytes, std::size_t offset, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes.data()) + offset, size};
}

// Where the directory of the archive lies.
struct Directory {
  std::uint64_t entries = 0;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

// An entry as the directory states it.
struct Listed {
  std::string name;
  std::uint16_t flags = 0;
  std::uint16_t method = 0;
  std::uint32_t crc32 = 0;
  std::uint64_t packed_size = 0;
  std::uint64_t size = 0;
  std::uint64_t offset = 0;  // of its local header
};

class Reader {
 public:
  Reader(std::span<const std::byte> file, const std::string& path) : file_(file), path_(path) {}

  std::vector<ZipEntry> entries() {
    const Directory directory = find_directory();
    std::vector<ZipEntry> entries;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> extents;  // [local header, end of the bytes)
    std::uint64_t place = directory.offset;
    for (std::uint64_t i = 0; i < directory.entries; ++i) {
      const Listed listed = read_listed(directory, place);
      const std::span<const std::byte> bytes = locate(listed, directory);
      extents.emplace_back(listed.offset,
                           static_cast<std::uint64_t>(bytes.data() - file_.data()) + bytes.size());
      entries.push_back({listed.name, bytes, listed.crc32, listed.method});
    }
    check(place == directory.offset + directory.size,
          fmt::format("expected a directory of {} bytes for {} entries, found {}", directory.size,
                      directory.entries, place - directory.offset));
    std::sort(extents.begin(), extents.end());
    for (std::size_t i = 1; i < extents.size(); ++i) {
      check(extents[i - 1].second <= extents[i].first,
            fmt::format("expected entries that lie one after another, found two that overlap at byte {}",
                        extents[i].first));
    }
    return entries;
  }

 private:
  void check(bool holds, const std::string& sentence) const {
    VPD_CHECK(holds, DataError, "{}: {}; the file is damaged or truncated, copy it again", path_, sentence);
  }

  Directory find_directory() const {
    const std::size_t end = find_end();
    Directory directory{.entries = number_at<std::uint16_t>(file_, end + 10),
                        .offset = number_at<std::uint32_t>(file_, end + 16),
                        .size = number_at<std::uint32_t>(file_, end + 12)};
    std::uint64_t disks = number_at<std::uint16_t>(file_, end + 4) | number_at<std::uint16_t>(file_, end + 6);
    std::uint64_t here = number_at<std::uint16_t>(file_, end + 8);
    std::uint64_t limit = end;
    if (end >= kLocatorSize && number_at<std::uint32_t>(file_, end - kLocatorSize) == kLocator64Signature) {
      const std::size_t locator = end - kLocatorSize;
      const auto end64 = number_at<std::uint64_t>(file_, locator + 8);
      check(end64 <= locator && locator - end64 >= kEnd64Size &&
                number_at<std::uint32_t>(file_, static_cast<std::size_t>(end64)) == kEnd64Signature,
            fmt::format("expected the ZIP64 end of the archive at byte {}, found something else", end64));
      const auto at = static_cast<std::size_t>(end64);
      disks = number_at<std::uint32_t>(file_, at + 16) | number_at<std::uint32_t>(file_, at + 20);
      here = number_at<std::uint64_t>(file_, at + 24);
      directory = {.entries = number_at<std::uint64_t>(file_, at + 32),
                   .offset = number_at<std::uint64_t>(file_, at + 48),
                   .size = number_at<std::uint64_t>(file_, at + 40)};
      limit = end64;
    }
    VPD_CHECK(disks == 0 && here == directory.entries, DataError,
              "{}: expected a zip archive in one file, found one of several disks; put them together first",
              path_);
    check(directory.offset <= limit && directory.size <= limit - directory.offset,
          fmt::format("expected the archive's directory within the first {} bytes, found it at byte {} with "
                      "{} bytes",
                      limit, directory.offset, directory.size));
    return directory;
  }

  // The end record, found from behind: its comment has to reach the end of the file exactly.
  std::size_t find_end() const {
    if (file_.size() >= kEndSize) {
      const std::size_t last = file_.size() - kEndSize;
      const std::size_t first = last > kLargestComment ? last - kLargestComment : 0;
      for (std::size_t at = last + 1; at-- > first;) {
        if (number_at<std::uint32_t>(file_, at) == kEndSignature &&
            number_at<std::uint16_t>(file_, at + 20) == last - at) {
          return at;
        }
      }
    }
    check(false, "expected a zip archive, found no end of one");
    return 0;
  }

  // Reads the directory's record at `place` and moves `place` behind it.
  Listed read_listed(const Directory& directory, std::uint64_t& place) const {
    const std::uint64_t end = directory.offset + directory.size;
    const auto at = static_cast<std::size_t>(place);
    check(end - place >= kDirectorySize && number_at<std::uint32_t>(file_, at) == kDirectorySignature,
          fmt::format("expected an entry of the archive's directory at byte {}, found something else", at));
    Listed listed{.name = {},
                  .flags = number_at<std::uint16_t>(file_, at + 8),
                  .method = number_at<std::uint16_t>(file_, at + 10),
                  .crc32 = number_at<std::uint32_t>(file_, at + 16),
                  .packed_size = number_at<std::uint32_t>(file_, at + 20),
                  .size = number_at<std::uint32_t>(file_, at + 24),
                  .offset = number_at<std::uint32_t>(file_, at + 42)};
    const std::size_t name_size = number_at<std::uint16_t>(file_, at + 28),
                      extra_size = number_at<std::uint16_t>(file_, at + 30),
                      comment_size = number_at<std::uint16_t>(file_, at + 32);
    const std::uint64_t size = kDirectorySize + name_size + extra_size + comment_size;
    check(end - place >= size, fmt::format("expected {} more bytes of the archive's directory at byte {}, "
                                           "found {}",
                                           size, at, end - place));
    listed.name = text_at(file_, at + kDirectorySize, name_size);
    read_zip64(file_.subspan(at + kDirectorySize + name_size, extra_size), listed);
    place += size;
    return listed;
  }

  // The extra field 1 holds, in this order, those of size, packed size and offset that did not fit 32 bits.
  void read_zip64(std::span<const std::byte> extra, Listed& listed) const {
    std::array<std::uint64_t*, 3> wanted{&listed.size, &listed.packed_size, &listed.offset};
    const auto missing = [](const std::uint64_t* number) { return *number == 0xffffffffU; };
    if (std::none_of(wanted.begin(), wanted.end(), missing)) return;
    const std::string where = fmt::format("entry {}: ", quote_foreign(listed.name));
    for (std::size_t at = 0; left_after(extra, at) >= 4;) {
      const auto id = number_at<std::uint16_t>(extra, at);
      const std::size_t size = number_at<std::uint16_t>(extra, at + 2);
      at += 4;
      check(left_after(extra, at) >= size, where + "expected a whole extra field, found part of one");
      if (id == 1) {
        std::span<const std::byte> field = extra.subspan(at, size);
        for (std::uint64_t* number : wanted) {
          if (!missing(number)) continue;
          check(field.size() >= 8, where + "expected its size and place in the ZIP64 field, found too few");
          *number = number_at<std::uint64_t>(field, 0);
          field = field.subspan(8);
        }
        return;
      }
      at += size;
    }
    check(false, where + "expected a ZIP64 field for a size or place beyond 32 bits, found none");
  }

  // The bytes of an entry, after its local header.
  std::span<const std::byte> locate(const Listed& listed, const Directory& directory) const {
    const std::string name = quote_foreign(listed.name);
    const std::string where = fmt::format("entry {}: ", name);
    check_name(listed.name, name);
    VPD_CHECK((listed.flags & 1U) == 0, DataError,
              "{}: {}expected bytes as they are, found encrypted ones; decrypt the archive first", path_,
              where);
    check(listed.method != 0 || listed.packed_size == listed.size,
          where + fmt::format("expected one size, found {} and {}", listed.size, listed.packed_size));
    const std::uint64_t limit = directory.offset;
    check(listed.offset <= limit && limit - listed.offset >= kLocalSize,
          where + fmt::format("expected it before the directory at byte {}, found it at byte {}", limit,
                              listed.offset));
    const auto at = static_cast<std::size_t>(listed.offset);
    const std::size_t name_size = number_at<std::uint16_t>(file_, at + 26),
                      extra_size = number_at<std::uint16_t>(file_, at + 28);
    const std::uint64_t begin = listed.offset + kLocalSize + name_size + extra_size;
    check(number_at<std::uint32_t>(file_, at) == kLocalSignature && begin <= limit &&
              number_at<std::uint16_t>(file_, at + 8) == listed.method &&
              text_at(file_, at + kLocalSize, name_size) == listed.name,
          where + fmt::format("expected its header at byte {}, found something else", at));
    check(limit - begin >= listed.packed_size,
          where + fmt::format("expected {} bytes from byte {}, found {} before the directory",
                              listed.packed_size, begin, limit - begin));
    return file_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(listed.packed_size));
  }

  // Names are only looked up and never used as paths; one that leads out of the archive was made to deceive
  // a program that does.
  void check_name(const std::string& name, const std::string& for_message) const {
    bool fine = !name.empty() && name.front() != '/' && name.find('\\') == std::string::npos &&
                name.find('\0') == std::string::npos;
    for (std::size_t begin = 0; fine && begin <= name.size();) {
      const std::size_t end = std::min(name.find('/', begin), name.size());
      fine = name.compare(begin, end - begin, "..") != 0;
      begin = end + 1;
    }
    VPD_CHECK(fine, DataError,
              "{}: expected names of entries that stay inside the archive, found {}; do not unpack it, and "
              "take the file from a source that you trust",
              path_, for_message);
  }

  std::span<const std::byte> file_;
  const std::string& path_;
};

// Tables for eight bytes a step ("slicing by 8"): tables[k][b] is the CRC of byte b followed by k zeros.
constexpr auto crc_tables = [] {
  std::array<std::array<std::uint32_t, 256>, 8> tables{};
  for (std::uint32_t b = 0; b < 256; ++b) {
    std::uint32_t crc = b;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ (0xedb88320U & (0U - (crc & 1U)));
    tables[0][b] = crc;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (std::size_t b = 0; b < 256; ++b) {
      const std::uint32_t crc = tables[k - 1][b];
      tables[k][b] = (crc >> 8U) ^ tables[0][crc & 0xffU];
    }
  }
  return tables;
}();

}  // namespace

std::uint32_t crc32_of(std::span<const std::byte> bytes) {
  std::uint32_t crc = 0xffffffffU;
  std::size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    const std::uint64_t word = number_at<std::uint64_t>(bytes, i) ^ crc;
    crc = 0;
    for (std::size_t k = 0; k < 8; ++k) crc ^= crc_tables[7 - k][(word >> (8 * k)) & 0xffU];
  }
  for (; i < bytes.size(); ++i) {
    crc = (crc >> 8U) ^ crc_tables[0][(crc ^ std::to_integer<std::uint32_t>(bytes[i])) & 0xffU];
  }
  return ~crc;
}

bool looks_like_zip(std::span<const std::byte> bytes) {
  return bytes.size() >= 4 && number_at<std::uint32_t>(bytes, 0) == kLocalSignature;
}

ZipArchive::ZipArchive(std::span<const std::byte> file, std::string path) : path_(std::move(path)) {
  entries_ = Reader(file, path_).entries();
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    VPD_CHECK(index_.emplace(entries_[i].name, i).second, DataError,
              "{}: expected each name of an entry once, found {} twice; write the file again", path_,
              quote_foreign(entries_[i].name));
    has_sums_ = has_sums_ || entries_[i].crc32 != 0;
  }
}

const ZipEntry* ZipArchive::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

void ZipArchive::check_stored(const ZipEntry& entry) const {
  VPD_CHECK(entry.method == 0, DataError,
            "{}: entry {}: expected bytes as they are, found compressed ones (method {}); unpack the archive "
            "and pack it again with `zip -0 -r`",
            path_, quote_foreign(entry.name), entry.method);
}

void ZipArchive::check(const ZipEntry& entry) const {
  check_stored(entry);
  if (!has_sums_) return;
  const std::uint32_t found = crc32_of(entry.bytes);
  VPD_CHECK(found == entry.crc32, DataError,
            "{}: entry {}: expected the CRC-32 {:08x} that the archive states, found {:08x}; the file was "
            "damaged, copy it again",
            path_, quote_foreign(entry.name), entry.crc32, found);
}

}  // namespace vpd
