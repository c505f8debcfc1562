#include "vpd/io/token_shard.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

#include <glob.h>
#include <spdlog/fmt/ranges.h>

#include "vpd/base/error.hpp"

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
void widen(const std::byte* data, std::span<std::int64_t> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    T token;
    std::memcpy(&token, data + i * sizeof(T), sizeof(T));  // no alignment is promised by either format
    if constexpr (std::is_same_v<T, std::uint64_t>) {
      token = std::min<T>(token, static_cast<T>(std::numeric_limits<std::int64_t>::max()));
    }
    out[i] = static_cast<std::int64_t>(token);
  }
}

// The part of Python's literal syntax that NumPy writes into its headers:
// {'descr': '<i4', 'fortran_order': False, 'shape': (16, 64), }
class NpyHeader {
 public:
  NpyHeader(std::string path, std::string_view text) : path_(std::move(path)), rest_(text) {
    expect('{');
    while (!take('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr") {
        descr = string();
      } else if (key == "fortran_order") {
        fortran_order = boolean();
      } else if (key == "shape") {
        shape = tuple();
      } else {
        fail(fmt::format("the key '{}'", key));
      }
      if (!take(',')) {
        expect('}');
        break;
      }
    }
    if (!descr || !fortran_order || !shape) fail("a header without one of them");
  }

  std::optional<std::string> descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<std::int64_t>> shape;

 private:
  [[noreturn]] void fail(const std::string& found) const {
    throw DataError(
        fmt::format("{}: expected an .npy header with descr (a plain integer type), fortran_order and shape, "
                    "found {}; save the array with numpy.save",
                    path_, found));
  }
  void skip_space() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\n')) rest_.remove_prefix(1);
  }
  bool take(char c) {
    skip_space();
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!take(c)) fail(rest_.empty() ? "its end too early" : fmt::format("'{}'", rest_.substr(0, 20)));
  }
  std::string string() {
    expect('\'');
    const std::size_t end = rest_.find('\'');
    if (end == std::string_view::npos) fail("an open quotation mark");
    std::string value(rest_.substr(0, end));
    rest_.remove_prefix(end + 1);
    return value;
  }
  bool boolean() {
    skip_space();
    for (const auto& [word, value] : {std::pair<std::string_view, bool>{"True", true}, {"False", false}}) {
      if (rest_.starts_with(word)) {
        rest_.remove_prefix(word.size());
        return value;
      }
    }
    fail(fmt::format("'{}'", rest_.substr(0, 20)));
  }
  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> values;
    expect('(');
    while (!take(')')) {
      skip_space();
      std::int64_t value = 0;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
      if (error != std::errc{} || value < 0) fail(fmt::format("'{}' in the shape", rest_.substr(0, 20)));
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      values.push_back(value);
      if (!take(',')) {
        expect(')');
        break;
      }
    }
    return values;
  }

  std::string path_;
  std::string_view rest_;
};

bool is_token_file(const fs::path& path) { return path.extension() == ".bin" || path.extension() == ".npy"; }

std::vector<fs::path> token_files_of(const fs::path& path) {
  std::vector<fs::path> files;
  std::error_code error;
  if (fs::is_directory(path, error)) {
    fs::directory_iterator entries(path, error);
    VPD_CHECK(!error, DataError, "{}: cannot list the directory: {}", path.string(), error.message());
    for (const auto& entry : entries) {
      if (is_token_file(entry.path()) && entry.is_regular_file()) files.push_back(entry.path());
    }
    VPD_CHECK(!files.empty(), DataError,
              "{}: expected a directory of .bin or .npy token files, found none in it", path.string());
  } else if (fs::exists(path, error) || path.string().find_first_of("*?[") == std::string::npos) {
    files.push_back(path);
  } else {
    glob_t matches{};
    if (::glob(path.c_str(), 0, nullptr, &matches) == 0) {
      files.assign(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
    }
    ::globfree(&matches);
    VPD_CHECK(!files.empty(), DataError,
              "{}: expected a pattern that matches token files, found none that it matches", path.string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

TokenShard::TokenShard(const fs::path& path) : file_(path) {
  VPD_CHECK(is_token_file(path), DataError,
            "{}: expected a token file, which is named .bin or .npy, found '{}'", path.string(),
            path.extension().string());
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

void TokenShard::read_llm_c_header() {
  VPD_CHECK(file_.bytes().size() >= kHeaderSize, DataError,
            "{}: expected an llm.c header of {} bytes, found a file of {}; it is truncated or another format",
            path().string(), kHeaderSize, file_.bytes().size());
  std::array<std::int32_t, 3> header{};
  std::memcpy(header.data(), file_.bytes().data(), sizeof(header));
  const auto [magic, version, count] = header;
  VPD_CHECK(magic == 20240520 || magic == 20240801, DataError,
            "{}: expected the magic number 20240520 (uint16) or 20240801 (uint32) of llm.c, found {}",
            path().string(), magic);
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
            "{}: expected the magic bytes \\x93NUMPY of an .npy file, found others", path().string());
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
  VPD_CHECK(found != kElements.end(), DataError,
            "{}: expected a little-endian integer dtype, found '{}'; convert the array with .astype('<i4')",
            path().string(), descr);
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
  const std::byte* data =
      file_.bytes().data() + data_begin_ + static_cast<std::size_t>(begin) * name_of(element_).size;
  switch (element_) {
    case Element::kUint8:
      return widen<std::uint8_t>(data, out);
    case Element::kInt8:
      return widen<std::int8_t>(data, out);
    case Element::kUint16:
      return widen<std::uint16_t>(data, out);
    case Element::kInt16:
      return widen<std::int16_t>(data, out);
    case Element::kUint32:
      return widen<std::uint32_t>(data, out);
    case Element::kInt32:
      return widen<std::int32_t>(data, out);
    case Element::kUint64:
      return widen<std::uint64_t>(data, out);
    case Element::kInt64:
      return widen<std::int64_t>(data, out);
  }
}

std::string TokenShard::describe_position(std::int64_t i) const {
  if (!has_rows()) return fmt::format("position {}", i);
  return fmt::format("row {}, column {}", i / shape_[1], i % shape_[1]);
}

std::vector<TokenShard> open_token_shards(const fs::path& path) {
  std::vector<TokenShard> shards;
  for (const fs::path& file : token_files_of(path)) shards.emplace_back(file);
  return shards;
}

std::vector<TokenFileInfo> describe_tokens(const fs::path& path) {
  std::vector<TokenFileInfo> infos;
  std::vector<std::int64_t> buffer(std::size_t{1} << 16);
  for (const TokenShard& shard : open_token_shards(path)) {
    TokenFileInfo info{.path = shard.path().string(),
                       .format = shard.format(),
                       .shape = shard.shape(),
                       .tokens = shard.size(),
                       .smallest = std::numeric_limits<std::int64_t>::max(),
                       .largest = std::numeric_limits<std::int64_t>::min()};
    for (std::int64_t begin = 0; begin < shard.size(); begin += static_cast<std::int64_t>(buffer.size())) {
      const auto part = std::span(buffer).first(
          static_cast<std::size_t>(std::min(static_cast<std::int64_t>(buffer.size()), shard.size() - begin)));
      shard.read(begin, part);
      const auto [low, high] = std::minmax_element(part.begin(), part.end());
      info.smallest = std::min(info.smallest, *low);
      info.largest = std::max(info.largest, *high);
    }
    infos.push_back(std::move(info));
  }
  return infos;
}

void write_token_shard(const fs::path& path, std::span<const std::uint16_t> tokens) {
  VPD_CHECK(tokens.size() <= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()), UsageError,
            "{}: expected at most 2^31 - 1 tokens in one shard, found {}; write several", path.string(),
            tokens.size());
  std::array<std::int32_t, kHeaderInts> header{20240520, 1, static_cast<std::int32_t>(tokens.size())};
  AtomicFile file(path);
  file.write(header.data(), sizeof(header));
  file.write(tokens.data(), tokens.size_bytes());
  file.commit();
}

}  // namespace vpd
