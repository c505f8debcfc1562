#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vpd/base/stop.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/known_files.hpp"

// One file of tokens, memory-mapped:
//   .bin  llm.c's shard: 256 int32 (magic, version, token count), then the tokens; magic 20240520 version 1
//   holds uint16,
//         magic 20240801 version 7 uint32;
//   .npy  NumPy's format, versions 1 to 3: a little-endian integer array in C order, 1-D (a stream) or 2-D
//   [rows, tokens].

namespace vpd {

class TokenShard {
 public:
  enum class Element { kUint8, kInt8, kUint16, kInt16, kUint32, kInt32, kUint64, kInt64 };

  // Throws DataError when the file is none of the above, is truncated or empty, or holds another size than
  // its header says.
  explicit TokenShard(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  // "llm.c version 1, uint16", "npy, int32", …
  const std::string& format() const { return format_; }
  // [tokens], or [rows, tokens].
  const std::vector<std::int64_t>& shape() const { return shape_; }
  std::int64_t size() const { return size_; }
  bool has_rows() const { return shape_.size() == 2; }
  // That the tokens take in the file.
  std::int64_t bytes() const;

  // Tokens [begin, begin + out.size()) of the flattened array, not checked against any vocabulary. An id
  // beyond int64 comes as the largest int64.
  void read(std::int64_t begin, std::span<std::int64_t> out) const;
  // The extremes of tokens [begin, begin + count), as fast as memory gives them.
  TokenRange range(std::int64_t begin, std::int64_t count) const;
  // Where flat position i is, for people: "position 7" or "row 1, column 3".
  std::string describe_position(std::int64_t i) const;

 private:
  void read_llm_c_header();
  void read_npy_header();
  std::int64_t checked_size() const;
  std::string_view first_bytes() const;
  std::string in_place_of_it() const;
  const std::byte* data_at(std::int64_t position) const;

  MappedFile file_;
  Element element_ = Element::kUint16;
  std::string format_;
  std::vector<std::int64_t> shape_;
  std::int64_t size_ = 0;
  std::size_t data_begin_ = 0;
};

// The files that `path` means (base/path_meaning.hpp), in the order of their names: a file, the .bin and .npy
// files of a directory, or whatever matches a pattern (*, ?, [..]). DataError when there are none.
std::vector<std::filesystem::path> token_files(const std::filesystem::path& path);

// The same, opened.
std::vector<TokenShard> open_token_shards(const std::filesystem::path& path);

// The extremes of all its tokens, from what is known of the file (io/known_files.hpp) or else by reading
// them. Throws Interrupted once `stop` says so.
TokenRange scan_tokens(const TokenShard& shard, const StopAsked& stop = {});
// The bytes that scan_tokens() has to read.
std::int64_t bytes_to_scan(const TokenShard& shard);

// Tokens that are looked at between two questions whether to stop.
constexpr std::int64_t kTokensAtOnce = std::int64_t{1} << 20;

// The most tokens that the header of an llm.c shard can say.
constexpr std::int64_t kMostShardTokens = (std::int64_t{1} << 31) - 1;

// Writes an llm.c shard of uint16 or of uint32, atomically. Throws UsageError for more than
// kMostShardTokens.
void write_token_shard(const std::filesystem::path& path, std::span<const std::uint16_t> tokens);
void write_token_shard(const std::filesystem::path& path, std::span<const std::uint32_t> tokens);

}  // namespace vpd
