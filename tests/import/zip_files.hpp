#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "import/zip_archive.hpp"

// Zip archives byte by byte, right or wrong on purpose.

namespace vpd::testing {

template <class Number>
std::string little_endian(Number number) {
  return {reinterpret_cast<const char*>(&number), sizeof(number)};
}

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

struct ZipFile {
  std::string name;
  std::string content;

  // What the headers say when it is not the truth.
  std::uint16_t flags = 0x0808;  // as PyTorch writes it: UTF-8 names, sizes in the directory alone
  std::uint16_t method = 0;
  std::int64_t size_error = 0;
  std::int64_t offset_error = 0;
  std::uint32_t crc_error = 0;
  bool zip64 = false;           // sizes and offset in the directory's extra field
  std::string local_name = {};  // empty: the name
  std::size_t local_extra = 0;  // bytes of padding, with which PyTorch aligns the content
};

struct ZipOptions {
  bool zip64_end = false;
  std::string comment = {};
  std::int64_t count_error = 0;
  std::int64_t directory_offset_error = 0;
  std::int64_t directory_size_error = 0;
  std::uint16_t disk = 0;
};

inline std::string zip_of(const std::vector<ZipFile>& files, const ZipOptions& options = {}) {
  std::string archive, directory;
  for (const ZipFile& file : files) {
    const auto offset =
        static_cast<std::uint64_t>(static_cast<std::int64_t>(archive.size()) + file.offset_error);
    const auto size =
        static_cast<std::uint64_t>(static_cast<std::int64_t>(file.content.size()) + file.size_error);
    const std::uint32_t crc = crc32_of(bytes_of(file.content)) ^ file.crc_error;
    const std::string local_name = file.local_name.empty() ? file.name : file.local_name;
    archive += "PK\x03\x04" + std::string("\0\0", 2) + little_endian(file.flags) +
               little_endian(file.method) + std::string(16, '\0') +
               little_endian(static_cast<std::uint16_t>(local_name.size())) +
               little_endian(static_cast<std::uint16_t>(file.local_extra)) + local_name +
               std::string(file.local_extra, 'Z') + file.content;
    std::string extra;
    if (file.zip64) {
      // a foreign field in front, to be stepped over
      extra = little_endian(std::uint16_t{0x7777}) + little_endian(std::uint16_t{3}) + "abc" +
              little_endian(std::uint16_t{1}) + little_endian(std::uint16_t{24}) + little_endian(size) +
              little_endian(size) + little_endian(offset);
    }
    const std::uint32_t all_ones = 0xffffffff;
    const std::uint32_t size32 = file.zip64 ? all_ones : static_cast<std::uint32_t>(size);
    const std::uint32_t offset32 = file.zip64 ? all_ones : static_cast<std::uint32_t>(offset);
    directory += "PK\x01\x02" + std::string(4, '\0') + little_endian(file.flags) +
                 little_endian(file.method) + std::string(4, '\0') + little_endian(crc) +
                 little_endian(size32) + little_endian(size32) +
                 little_endian(static_cast<std::uint16_t>(file.name.size())) +
                 little_endian(static_cast<std::uint16_t>(extra.size())) + std::string(10, '\0') +
                 little_endian(offset32) + file.name + extra;
  }
  const auto count =
      static_cast<std::uint64_t>(static_cast<std::int64_t>(files.size()) + options.count_error);
  const auto offset =
      static_cast<std::uint64_t>(static_cast<std::int64_t>(archive.size()) + options.directory_offset_error);
  const auto size =
      static_cast<std::uint64_t>(static_cast<std::int64_t>(directory.size()) + options.directory_size_error);
  archive += directory;
  if (options.zip64_end) {
    const auto end = static_cast<std::uint64_t>(archive.size());
    archive += "PK\x06\x06" + little_endian(std::uint64_t{44}) + std::string(4, '\0') +
               little_endian(std::uint32_t{options.disk}) + std::string(4, '\0') + little_endian(count) +
               little_endian(count) + little_endian(size) + little_endian(offset);
    archive += "PK\x06\x07" + std::string(4, '\0') + little_endian(end) + little_endian(std::uint32_t{1});
  }
  const auto count16 = static_cast<std::uint16_t>(options.zip64_end ? 0xffff : count);
  archive += "PK\x05\x06" + little_endian(options.zip64_end ? std::uint16_t{0} : options.disk) +
             std::string(2, '\0') + little_endian(count16) + little_endian(count16) +
             little_endian(static_cast<std::uint32_t>(options.zip64_end ? 0xffffffff : size)) +
             little_endian(static_cast<std::uint32_t>(options.zip64_end ? 0xffffffff : offset)) +
             little_endian(static_cast<std::uint16_t>(options.comment.size())) + options.comment;
  return archive;
}

}  // namespace vpd::testing
