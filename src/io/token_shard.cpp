#include "vpd/io/token_shard.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

#include <spdlog/fmt/ranges.h>

#include "npy_header.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/file_format.hpp"
#include "vpd/base/path_meaning.hpp"

namespace vpd {

static_assert(std::endian::native == std::endian::little, "tokens are read as they lie in the file");

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kHeaderInts = 256;
constexpr std::size_t kHeaderSize = kHeaderInts * sizeof(std::int32_t);

struct ElementName {
  std::string_view name;
  char kind;  // NumPy's: i or u
  std::size_t size;
};

// In the order of TokenShard::Element.
constexpr std::array<ElementName, 8> kElements = {{{"uint8", 'u', 1},
                                                   {"int8", 'i', 1},
                                                   {"uint16", 'u', 2},
                                                   {"int16", 'i', 2},
                                                   {"uint32", 'u', 4},
                                                   {"int32", 'i', 4},
                                                   {"uint64", 'u', 8},
                                                   {"int64", 'i', 8}}};

const ElementName& name_of(TokenShard::Element element) {
  return kElements[static_cast<std::size_t>(element)];
}

template <typename T>
T integer_at(const std::byte* data, std::size_t i) {
  T token;
  std::memcpy(&token, data + i * sizeof(T), sizeof(T));  // no alignment is promised by either format
  return token;
}

template <typename T>
std::int64_t widened(T token) {
  if constexpr (std::is_same_v<T, std::uint64_t>) {
    token = std::min<T>(token, static_cast<T>(std::numeric_limits<std::int64_t>::max()));
  }
  return static_cast<std::int64_t>(token);
}

// Compares integers as they lie in the file, so that one instruction compares as many as a vector holds.
template <typename T>
TokenRange range_of(const std::byte* data, std::size_t count) {
  T smallest = std::numeric_limits<T>::max(), largest = std::numeric_limits<T>::min();
  for (std::size_t i = 0; i < count; ++i) {
    const T token = integer_at<T>(data, i);
    smallest = std::min(smallest, token);
    largest = std::max(largest, token);
  }
  return {widened(smallest), widened(largest)};
}

// Calls `action` with a value of the type that an element has.
template <typename Action>
auto with_type_of(TokenShard::Element element, const Action& action) {
  switch (element) {
    case TokenShard::Element::kUint8:
      return action(std::uint8_t{});
    case TokenShard::Element::kInt8:
      return action(std::int8_t{});
    case TokenShard::Element::kUint16:
      return action(std::uint16_t{});
    case TokenShard::Element::kInt16:
      return action(std::int16_t{});
    case TokenShard::Element::kUint32:
      return action(std::uint32_t{});
    case TokenShard::Element::kInt32:
      return action(std::int32_t{});
    case TokenShard::Element::kUint64:
      return action(std::uint64_t{});
    case TokenShard::Element::kInt64:
      break;
  }
  return action(std::int64_t{});
}

bool is_token_file(const fs::path& path) { return path.extension() == ".bin" || path.extension() == ".npy"; }

// What of a directory is meant: no directories or pipes in it, but a link that leads to nothing, which must
// not be passed over in silence.
std::vector<fs::path> token_files_in(const fs::path& directory) {
  const std::vector<fs::path> entries = visible_entries(directory);
  std::vector<fs::path> files;
  for (const fs::path& entry : entries) {
    std::error_code error;
    const fs::file_status status = fs::status(entry, error);
    const bool other = fs::exists(status) && fs::status_known(status) && !fs::is_regular_file(status);
    if (is_token_file(entry) && !other) files.push_back(entry);
  }
  if (!files.empty()) return files;
  std::string found = "none in it";
  for (const fs::path& entry : entries) {
    if (const auto format = other_format(entry, FileUse::tokens)) {
      found += fmt::format("; {} is {}", entry.filename().string(), *format);
      break;
    }
  }
  throw DataError(fmt::format("{}: expected a directory of .bin or .npy token files, found {}",
                              directory.string(), found));
}

}  // namespace

TokenShard::TokenShard(const fs::path& path) : file_(path) {
  if (!is_token_file(path)) {
    const auto format = other_format(first_bytes(), path, FileUse::tokens);
    throw DataError(fmt::format("{}: expected a token file, which is named .bin or .npy, found '{}'{}",
                                path.string(), path.extension().string(), format ? ", " + *format : ""));
  }
  VPD_CHECK(!file_.bytes().empty(), DataError, "{}: expected a token file, found an empty file",
            path.string());
  if (path.extension() == ".bin") {
    read_llm_c_header();
  } else {
    read_npy_header();
  }
  size_ = checked_size();
  VPD_CHECK(size_ > 0, DataError, "{}: expected at least one token, found none", path.string());
}

std::string_view TokenShard::first_bytes() const {
  constexpr std::size_t plenty = 4096;
  return {reinterpret_cast<const char*>(file_.bytes().data()), std::min(file_.bytes().size(), plenty)};
}

// The end of a sentence about a file that does not begin as its name says.
std::string TokenShard::in_place_of_it() const {
  const auto format = other_format(first_bytes(), path(), FileUse::tokens);
  return format ? "; it is " + *format : "";
}

void TokenShard::read_llm_c_header() {
  std::array<std::int32_t, 3> header{};
  std::memcpy(header.data(), file_.bytes().data(), std::min(file_.bytes().size(), sizeof(header)));
  const auto [magic, version, count] = header;
  VPD_CHECK(magic == 20240520 || magic == 20240801, DataError,
            "{}: expected the magic number 20240520 (uint16) or 20240801 (uint32) of llm.c, found {}{}",
            path().string(), magic, in_place_of_it());
  VPD_CHECK(file_.bytes().size() >= kHeaderSize, DataError,
            "{}: expected an llm.c header of {} bytes, found a file of {}; it is truncated", path().string(),
            kHeaderSize, file_.bytes().size());
  const bool wide = magic == 20240801;
  VPD_CHECK(version == (wide ? 7 : 1), DataError,
            "{}: expected version {} beside the magic number {}, found {}", path().string(), wide ? 7 : 1,
            magic, version);
  VPD_CHECK(count >= 0, DataError, "{}: expected a token count of at least 0 in the header, found {}",
            path().string(), count);
  element_ = wide ? Element::kUint32 : Element::kUint16;
  format_ = fmt::format("llm.c version {}, {}", version, name_of(element_).name);
  shape_ = {count};
  data_begin_ = kHeaderSize;
}

void TokenShard::read_npy_header() {
  const std::span<const std::byte> bytes = file_.bytes();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  VPD_CHECK(text.starts_with("\x93NUMPY"), DataError,
            "{}: expected the magic bytes \\x93NUMPY of an .npy file, found others{}", path().string(),
            in_place_of_it());
  const int version = text.size() > 6 ? text[6] : 0;
  VPD_CHECK(version >= 1 && version <= 3, DataError,
            "{}: expected an .npy file of version 1, 2 or 3, found {}", path().string(), version);
  const std::size_t length_size = version == 1 ? 2 : 4;
  VPD_CHECK(text.size() >= 8 + length_size, DataError,
            "{}: expected an .npy header, found the end of the file after {} bytes", path().string(),
            text.size());
  std::uint32_t length = 0;
  std::memcpy(&length, text.data() + 8, length_size);
  data_begin_ = 8 + length_size + length;
  VPD_CHECK(data_begin_ <= text.size(), DataError,
            "{}: expected an .npy header of {} bytes, found a file of {}; it is truncated", path().string(),
            length, text.size());

  const NpyHeader header(path().string(), text.substr(8 + length_size, length));
  const std::string& descr = *header.descr;
  const auto found = std::find_if(kElements.begin(), kElements.end(), [&](const ElementName& element) {
    const std::string name = fmt::format("{}{}", element.kind, element.size);
    return descr == "<" + name || (element.size == 1 && descr == "|" + name);
  });
  VPD_CHECK(found != kElements.end(), DataError, "{}: expected a little-endian integer dtype, found '{}'{}",
            path().string(), descr, cure_of_descr(descr));
  element_ = static_cast<Element>(found - kElements.begin());
  format_ = fmt::format("npy, {}", found->name);
  shape_ = *header.shape;
  VPD_CHECK(shape_.size() == 1 || shape_.size() == 2, DataError,
            "{}: expected a 1-D or 2-D array of tokens, found the shape ({})", path().string(),
            fmt::join(shape_, ", "));
  VPD_CHECK(!*header.fortran_order || !has_rows(), DataError,
            "{}: expected an array in C order, found Fortran order; save numpy.ascontiguousarray of it",
            path().string());
}

std::int64_t TokenShard::checked_size() const {
  const auto item_size = static_cast<std::int64_t>(name_of(element_).size);
  const auto found = static_cast<std::int64_t>(file_.bytes().size() - data_begin_);
  std::int64_t expected = item_size;
  bool too_large = false;
  for (const std::int64_t extent : shape_) too_large |= __builtin_mul_overflow(expected, extent, &expected);
  VPD_CHECK(!too_large && expected <= found, DataError,
            "{}: expected the header's ({}) tokens of {}, {} bytes, found {} bytes after the header; the "
            "file is truncated",
            path().string(), fmt::join(shape_, ", "), name_of(element_).name,
            too_large ? std::string("more than 2^63") : std::to_string(expected), found);
  VPD_CHECK(expected == found, DataError,
            "{}: expected {} bytes of tokens after the header, found {}; the header is wrong",
            path().string(), expected, found);
  return expected / item_size;
}

void TokenShard::read(std::int64_t begin, std::span<std::int64_t> out) const {
  VPD_CHECK(begin >= 0 && begin <= size_ && static_cast<std::int64_t>(out.size()) <= size_ - begin,
            UsageError, "{}: expected positions below {}, found [{}, {})", path().string(), size_, begin,
            begin + static_cast<std::int64_t>(out.size()));
  const std::byte* data = data_at(begin);
  with_type_of(element_, [&]<typename T>(T) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = widened(integer_at<T>(data, i));
  });
}

TokenRange TokenShard::range(std::int64_t begin, std::int64_t count) const {
  VPD_CHECK(begin >= 0 && count >= 1 && begin <= size_ && count <= size_ - begin, UsageError,
            "{}: expected at least one position below {}, found [{}, {})", path().string(), size_, begin,
            begin + count);
  return with_type_of(
      element_, [&]<typename T>(T) { return range_of<T>(data_at(begin), static_cast<std::size_t>(count)); });
}

const std::byte* TokenShard::data_at(std::int64_t position) const {
  return file_.bytes().data() + data_begin_ + static_cast<std::size_t>(position) * name_of(element_).size;
}

std::int64_t TokenShard::bytes() const { return size_ * static_cast<std::int64_t>(name_of(element_).size); }

std::string TokenShard::describe_position(std::int64_t i) const {
  if (!has_rows()) return fmt::format("position {}", i);
  return fmt::format("row {}, column {}", i / shape_[1], i % shape_[1]);
}

std::vector<fs::path> token_files(const fs::path& path) {
  const PathMeaning meaning = meaning_of(path);
  if (meaning.is_pattern) {
    VPD_CHECK(!meaning.paths.empty(), DataError, "{}: expected a pattern that matches token files, found {}",
              path.string(), meaning.obstacle.value_or("none that it matches"));
    return meaning.paths;
  }
  std::error_code error;
  if (fs::is_directory(path, error)) return token_files_in(path);
  VPD_CHECK(!meaning.obstacle, DataError, "{}: expected token files, found {}", path.string(),
            *meaning.obstacle);
  return {path};
}

std::vector<TokenShard> open_token_shards(const fs::path& path) {
  std::vector<TokenShard> shards;
  for (const fs::path& file : token_files(path)) shards.emplace_back(file);
  return shards;
}

TokenRange scan_tokens(const TokenShard& shard, const StopAsked& stop) {
  end_if_asked(stop, "reading the tokens");
  if (const auto known = known_file(shard.path()).tokens) return *known;
  const KnownFile found = read_and_remember(shard.path(), [&] {
    const TokenShard now(
        shard.path());  // what is remembered is what lies there now, whoever replaced it since
    TokenRange all = now.range(0, 1);
    for (std::int64_t begin = 0; begin < now.size(); begin += kTokensAtOnce) {
      end_if_asked(stop, "reading the tokens");
      const TokenRange part = now.range(begin, std::min(kTokensAtOnce, now.size() - begin));
      all = {std::min(all.smallest, part.smallest), std::max(all.largest, part.largest)};
    }
    return KnownFile{.sha256 = {}, .tokens = all};
  });
  return *found.tokens;
}

std::int64_t bytes_to_scan(const TokenShard& shard) {
  return known_file(shard.path()).tokens ? 0 : shard.bytes();
}

namespace {

void write_shard(const fs::path& path, std::int32_t magic, std::int32_t version,
                 std::span<const std::byte> tokens, std::size_t count) {
  VPD_CHECK(count <= static_cast<std::size_t>(kMostShardTokens), UsageError,
            "{}: expected at most 2^31 - 1 tokens in one shard, found {}; write several", path.string(),
            count);
  std::array<std::int32_t, kHeaderInts> header{magic, version, static_cast<std::int32_t>(count)};
  AtomicFile file(path);
  file.write(header.data(), sizeof(header));
  file.write(tokens.data(), tokens.size());
  file.commit();
}

}  // namespace

void write_token_shard(const fs::path& path, std::span<const std::uint16_t> tokens) {
  write_shard(path, 20240520, 1, std::as_bytes(tokens), tokens.size());
}

void write_token_shard(const fs::path& path, std::span<const std::uint32_t> tokens) {
  write_shard(path, 20240801, 7, std::as_bytes(tokens), tokens.size());
}

}  // namespace vpd
