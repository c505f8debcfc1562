#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "vpd/io/files.hpp"

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

  // Tokens [begin, begin + out.size()) of the flattened array, not checked against any vocabulary. An id
  // beyond int64 comes as the largest int64.
  void read(std::int64_t begin, std::span<std::int64_t> out) const;
  // Where flat position i is, for people: "position 7" or "row 1, column 3".
  std::string describe_position(std::int64_t i) const;

 private:
  void read_llm_c_header();
  void read_npy_header();
  std::int64_t checked_size() const;

  MappedFile file_;
  Element element_ = Element::kUint16;
  std::string format_;
  std::vector<std::int64_t> shape_;
  std::int64_t size_ = 0;
  std::size_t data_begin_ = 0;
};

// The shards that `path` means, in the order of their names: a file, the .bin and .npy files of a directory,
// or the files that match a pattern (*, ?, [..]). DataError when there are none.
std::vector<TokenShard> open_token_shards(const std::filesystem::path& path);

struct TokenFileInfo {
  std::string path;
  std::string format;
  std::vector<std::int64_t> shape;
  std::int64_t tokens = 0;
  std::int64_t smallest = 0;
  std::int64_t largest = 0;
};

// What the shards of `path` hold; reads every token.
std::vector<TokenFileInfo> describe_tokens(const std::filesystem::path& path);

// Writes an llm.c shard of uint16, atomically. At most 2^31 - 1 tokens, the most that its header can say.
void write_token_shard(const std::filesystem::path& path, std::span<const std::uint16_t> tokens);

}  // namespace vpd
