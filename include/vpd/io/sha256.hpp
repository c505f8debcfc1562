#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "vpd/base/stop.hpp"

namespace vpd {

// SHA-256 of FIPS 180-4, fed piece by piece.
class Sha256 {
 public:
  void update(std::span<const std::byte> data);
  // 64 lower-case hexadecimal digits. The object is spent afterwards.
  std::string hex_digest();

 private:
  void compress(const std::byte* block);

  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::byte, 64> pending_{};
  std::size_t pending_size_ = 0;
  std::uint64_t total_size_ = 0;
};

// Throws DataError when the file cannot be read, and Interrupted once `stop` says so.
std::string sha256_of_file(const std::filesystem::path& path, const StopAsked& stop = {});

}  // namespace vpd
