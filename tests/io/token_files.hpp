#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>

// Bytes of token files, right and wrong, put together by hand so that the readers are tested against the
// formats and not against a writer of ours.

namespace vpd::testing {

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

template <typename T>
std::string llm_c_shard(std::int32_t magic, std::int32_t version, std::int32_t count,
                        const std::vector<T>& tokens) {
  std::vector<std::int32_t> header(256);
  header[0] = magic;
  header[1] = version;
  header[2] = count;
  return bytes_of(header) + bytes_of(tokens);
}

inline std::string npy(int version, const std::string& dictionary, const std::string& data) {
  const std::size_t prefix = version == 1 ? 10 : 12;
  std::string header = dictionary;
  header.resize((prefix + dictionary.size() + 1 + 63) / 64 * 64 - prefix - 1, ' ');
  header += '\n';
  const auto length = static_cast<std::uint32_t>(header.size());
  std::string file = "\x93NUMPY";
  file += static_cast<char>(version);
  file += '\0';
  file.append(reinterpret_cast<const char*>(&length), version == 1 ? 2 : 4);
  return file + header + data;
}

template <typename T>
std::string npy(const std::string& descr, const std::string& shape, const std::vector<T>& data,
                int version = 1) {
  return npy(version, fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}", descr, shape),
             bytes_of(data));
}

}  // namespace vpd::testing
