#include "vpd/base/file_format.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>

#include <spdlog/fmt/fmt.h>

#include "vpd/base/foreign_text.hpp"
#include "vpd/base/text.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

/// Formats of one kind have one cure.
enum class Kind {
  unknown,
  empty,
  lfs_pointer,
  annex_pointer,
  page,     // a server's message
  packed,   // one file, compressed
  archive,  // several
  parquet,
  table,        // of a database or a data frame
  text,         // to be made into tokens
  number_text,  // numbers, in digits
  json,         // one value
  npy,
  npz,
  token_shard,  // of llm.c
  safetensors,
  torch,
  weights,  // of another program
  pickle,
  tokenizer,  // in another format than tokenizer.json
  document
};

struct Format {
  Kind kind = Kind::unknown;
  std::string words = {};
  std::string command = {};  // that unpacks it
};

struct Signature {
  std::string_view bytes;
  Kind kind;
  std::string_view words;
  std::string_view command = {};
  std::size_t offset = 0;
};

using namespace std::string_view_literals;

constexpr Signature signatures[] = {
    {"version https://git-lfs.github.com/spec/", Kind::lfs_pointer, "a Git LFS pointer"},
    {"version https://hawser.github.com/spec/", Kind::lfs_pointer, "a Git LFS pointer"},
    {"\x93NUMPY", Kind::npy, "a NumPy array (.npy)"},
    {"\x88\xd8\x34\x01", Kind::token_shard, "a shard of tokens in llm.c's format"},   // 20240520
    {"\xa1\xd9\x34\x01", Kind::token_shard, "a shard of tokens in llm.c's format"},   // 20240801
    {"\xc6\xd7\x34\x01", Kind::weights, "the weights of a model in llm.c's format"},  // 20240326
    {"\xc8\xd7\x34\x01", Kind::tokenizer, "a tokenizer in llm.c's format"},           // 20240328
    {"\x1f\x8b", Kind::packed, "a file packed by gzip", "gunzip -k"},
    {"BZh", Kind::packed, "a file packed by bzip2", "bunzip2 -k"},
    {"\xfd\x37zXZ\0"sv, Kind::packed, "a file packed by xz", "unxz -k"},
    {"\x28\xb5\x2f\xfd", Kind::packed, "a file packed by zstd", "unzstd"},
    {"\x04\x22\x4d\x18", Kind::packed, "a file packed by lz4", "unlz4 -k"},
    {"7z\xbc\xaf\x27\x1c", Kind::archive, "a 7z archive"},
    {"Rar!", Kind::archive, "a RAR archive"},
    {"ustar", Kind::archive, "a tar archive", "", 257},
    {"PAR1", Kind::parquet, "a parquet file"},
    {"ARROW1", Kind::table, "an Arrow file"},
    {"FEA1", Kind::table, "a Feather file"},
    {"ORC", Kind::table, "an ORC file"},
    {"Obj\x01", Kind::table, "an Avro file"},
    {"SQLite format 3", Kind::table, "an SQLite database"},
    {"\x89HDF", Kind::weights, "an HDF5 file"},
    {"GGUF", Kind::weights, "a model in llama.cpp's format (GGUF)"},
    {"%PDF", Kind::document, "a PDF document"},
    {"\x89PNG", Kind::document, "a picture (PNG)"},
    {"\xff\xd8\xff", Kind::document, "a picture (JPEG)"},
    {"\x7f"
     "ELF",
     Kind::document, "a program (ELF)"},
    {"#version: ", Kind::tokenizer, "a list of BPE merges (merges.txt)"},
    {"IQ== 0\n", Kind::tokenizer, "a tokenizer in tiktoken's format"},
    {"\xff\xfe", Kind::text, "text in UTF-16"},
    {"\xfe\xff", Kind::text, "text in UTF-16"},
};

template <class Number>
Number number_at(std::string_view bytes, std::size_t offset) {
  Number number = 0;
  if (offset + sizeof(number) <= bytes.size()) std::memcpy(&number, bytes.data() + offset, sizeof(number));
  return number;
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string::npos; }

/// What a pointer says of the file in whose place it stands.
std::string replaced_by(std::string_view pointer) {
  constexpr std::string_view key = "\nsize ";
  const std::size_t at = pointer.find(key);
  double size = 0;
  for (std::size_t i = at + key.size(); at != std::string::npos && i < pointer.size(); ++i) {
    if (pointer[i] < '0' || pointer[i] > '9') break;
    size = 10 * size + (pointer[i] - '0');
  }
  return at == std::string::npos ? "" : fmt::format(" in place of a file of {}", human_bytes(size));
}

Format look_at_zip(std::string_view bytes) {
  const std::string_view first =
      bytes.substr(std::min<std::size_t>(bytes.size(), 30), number_at<std::uint16_t>(bytes, 26));
  if (contains(bytes, "/data.pkl")) return {Kind::torch, "a file of torch.save"};
  if (first.ends_with(".npy")) return {Kind::npz, "an .npz archive of NumPy arrays"};
  return {Kind::archive, "a zip archive"};
}

Format look_at_pickle(std::string_view bytes) {
  // The pickle of torch.save's magic number, with which files began before PyTorch 1.6.
  if (bytes.substr(2).starts_with("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"))
    return {Kind::torch, "torch.save's format of before PyTorch 1.6"};
  // Bare tokens may begin with the two bytes of a pickle, 640 for one; what follows tells them apart.
  constexpr std::string_view openings = "\x95}](cXKMJN)\x8a";
  return openings.find(bytes[2]) == std::string_view::npos ? Format{}
                                                           : Format{Kind::pickle, "a Python pickle"};
}

/// Of a SentencePiece model, a message of protocol buffers, pieces come first, <unk> among them.
/// A mark, then the length of what describes its columns.
bool is_arrow_stream(std::string_view bytes) {
  if (!bytes.starts_with("\xff\xff\xff\xff") || bytes.size() < 8) return false;
  const auto length = number_at<std::int32_t>(bytes, 4);
  return length > 0 && length < (1 << 24);
}

bool is_sentencepiece(std::string_view bytes) {
  return bytes.size() > 4 && bytes[0] == 0x0a && bytes[2] == 0x0a && contains(bytes.substr(0, 128), "<unk>");
}

bool is_safetensors(std::string_view bytes) {
  return bytes.size() > 9 && number_at<std::uint64_t>(bytes, 0) < 100'000'000 && bytes[8] == '{' &&
         (bytes[9] == '"' || bytes[9] == '}');
}

/// In whatever encoding: no control characters but those of lines, and mostly ASCII or valid UTF-8.
bool is_text(std::string_view bytes) {
  std::size_t ascii = 0;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 && (byte < '\t' || byte > '\r')) return false;
    ascii += byte < 0x7f;
  }
  // The last character may be cut in two.
  const std::string_view whole = bytes.substr(0, bytes.size() - std::min<std::size_t>(bytes.size(), 3));
  return 4 * ascii >= 3 * bytes.size() || to_valid_utf8(bytes).starts_with(whole);
}

Format look_at_text(std::string_view text, const std::string& ending) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return {Kind::text, "nothing but white space"};
  const std::string begin = lower_case(text.substr(first, 200));
  if (begin.starts_with("<!doctype html") || begin.starts_with("<html") || begin.starts_with("<head"))
    return {Kind::page, "a page in HTML"};
  if (begin.starts_with("<?xml") || begin.starts_with("<error>")) return {Kind::page, "a document in XML"};
  if (begin.starts_with("{\"error\"")) return {Kind::page, "a server's message " + quote_foreign(text)};
  if (begin.starts_with("/annex/objects/") || (begin.size() < 200 && contains(begin, ".git/annex/objects/")))
    return {Kind::annex_pointer, "a git-annex pointer"};
  if (text.find_first_not_of("0123456789 \t\r\n,;[]") == std::string::npos)
    return {Kind::number_text, "numbers written as text"};
  if (ending == ".jsonl" || ending == ".ndjson" || (begin.front() == '{' && contains(text, "}\n{")))
    return {Kind::text, "JSON Lines"};
  if (begin.front() == '{' || begin.front() == '[') return {Kind::json, "JSON"};
  if (ending == ".csv" || ending == ".tsv") return {Kind::text, "a table in text (CSV)"};
  if (text.size() >= 100) return {Kind::text, "text"};
  // Such as a server's "Entry not found".
  return {Kind::text, "the text " + quote_foreign(text.substr(0, text.find_last_not_of("\r\n") + 1))};
}

Format look_at(std::string_view bytes, const fs::path& path) {
  if (bytes.empty()) return {Kind::empty, "an empty file"};
  const std::string ending = lower_case(path.extension().string());
  for (const Signature& known : signatures) {
    if (bytes.size() <= known.offset || !bytes.substr(known.offset).starts_with(known.bytes)) continue;
    Format format{known.kind, std::string(known.words), std::string(known.command)};
    if (format.kind == Kind::lfs_pointer) format.words += replaced_by(bytes);
    return format;
  }
  if (is_arrow_stream(bytes)) return {Kind::table, "an Arrow stream"};
  if (bytes.starts_with("PK\x03\x04")) return look_at_zip(bytes);
  if (bytes.size() > 2 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5) return look_at_pickle(bytes);
  if (is_sentencepiece(bytes)) return {Kind::tokenizer, "a SentencePiece model"};
  if (is_safetensors(bytes)) return {Kind::safetensors, "a safetensors file"};
  if (is_text(bytes)) return look_at_text(bytes, ending);
  return {};
}

/// Bare tokens leave no mark but their width: of ids below 2^24, the upper bytes of wide ones are zero.
std::string bare_numbers(std::string_view bytes, const fs::path& path) {
  // Ids are below 2^18, mostly below 2^16: the upper part of a wide number is then hardly ever anything but
  // 0.
  const auto are_ids = [&]<class Number>(Number) {
    const std::size_t count = bytes.size() / sizeof(Number);
    std::size_t small = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const Number number = number_at<Number>(bytes, i * sizeof(Number));
      if (number >= (Number{1} << 18)) return false;
      if (number < (Number{1} << 16)) ++small;
    }
    return count > 0 && 4 * small >= count;
  };
  const char* type = are_ids(std::uint64_t{}) ? "uint64" : are_ids(std::uint32_t{}) ? "uint32" : "uint16";
  fs::path array = path;
  array.replace_extension(".npy");
  return fmt::format(
      "a file without a header; where it is bare tokens, as nanoGPT writes them (by its bytes {}), make an "
      "array of them: python3 -c \"import numpy, sys; numpy.save(sys.argv[2], numpy.memmap(sys.argv[1], "
      "'{}', 'r'))\" {} {}",
      type, type, shell_quoted(path.string()), shell_quoted(array.string()));
}

bool suits(Kind kind, FileUse use) {
  switch (use) {
    case FileUse::safetensors:
      return kind == Kind::safetensors;
    case FileUse::torch_checkpoint:
      return kind == Kind::torch;
    case FileUse::tokenizer:
      return kind == Kind::json;
    case FileUse::configuration:
      return kind == Kind::json || kind == Kind::text || kind == Kind::number_text || kind == Kind::empty;
    case FileUse::tokens:
    case FileUse::anything:
      return false;
  }
  return false;
}

std::string cure_of_tokens(Kind kind) {
  switch (kind) {
    case Kind::npy:
      return "rename it to .npy";
    case Kind::token_shard:
      return "rename it to .bin";
    case Kind::npz:
      return "save the array in it with numpy.save";
    case Kind::parquet:
    case Kind::json:
    case Kind::text:
      return "tools/prepare_tokens makes token files of it";
    case Kind::table:
      return "save it as parquet, of which tools/prepare_tokens makes token files";
    default:
      return "save the ids with numpy.save, as an array of integers";
  }
}

std::string cure_of(const Format& format, const fs::path& path, FileUse use) {
  switch (format.kind) {
    case Kind::lfs_pointer:
      return "run `git lfs pull` in its repository";
    case Kind::annex_pointer:
      return "run `git annex get` in its repository";
    case Kind::page:
      return "a server sends such in place of a file; download it again";
    case Kind::empty:
      return "copy it again";
    case Kind::packed:
      return fmt::format("unpack it first: {} {}", format.command, shell_quoted(path.string()));
    case Kind::archive:
      return "unpack it first";
    default:
      break;
  }
  switch (use) {
    case FileUse::tokens:
      return cure_of_tokens(format.kind);
    case FileUse::safetensors:
      return "save the weights as safetensors (safetensors.torch.save_file)";
    case FileUse::torch_checkpoint:
      return format.kind == Kind::safetensors ? "name it .safetensors" : "save the weights with torch.save";
    case FileUse::tokenizer:
      return "a tokenizer.json is read, of the tokenizers that are a byte-level BPE";
    case FileUse::configuration:
    case FileUse::anything:
      return "";
  }
  return "";
}

}  // namespace

std::optional<std::string> other_format(std::string_view first_bytes, const fs::path& path, FileUse use) {
  const Format format = look_at(first_bytes, path);
  if (suits(format.kind, use)) return std::nullopt;
  if (format.kind == Kind::unknown) {
    if (use != FileUse::tokens || path.extension() != ".bin") return std::nullopt;
    return bare_numbers(first_bytes, path);
  }
  const std::string cure = cure_of(format, path, use);
  return cure.empty() ? format.words : format.words + "; " + cure;
}

std::optional<std::string> other_format(const fs::path& path, FileUse use) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return std::nullopt;  // a pipe would be waited for
  std::ifstream file(path, std::ios::binary);
  std::string bytes(4096, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (file.bad() || !file.is_open()) return std::nullopt;
  bytes.resize(static_cast<std::size_t>(file.gcount()));
  return other_format(bytes, path, use);
}

}  // namespace vpd
