#include "vpd/io/tokenizer.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <queue>

#include <nlohmann/json.hpp>

#include "vpd/base/error.hpp"
#include "vpd/base/file_format.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/unicode_classes.hpp"

namespace vpd {

namespace {

using nlohmann::json;

// A byte-level tokenizer writes each byte as a printable character: itself where it is one in Latin-1, else
// the next unused one from U+0100 on.
std::array<char32_t, 256> characters_of_bytes() {
  std::array<char32_t, 256> characters{};
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
    characters[byte] = printable ? byte : next++;
  }
  return characters;
}

const std::unordered_map<char32_t, char>& byte_of_character() {
  static const auto map = [] {
    std::unordered_map<char32_t, char> result;
    const auto characters = characters_of_bytes();
    for (std::size_t byte = 0; byte < 256; ++byte) result[characters[byte]] = static_cast<char>(byte);
    return result;
  }();
  return map;
}

// The bytes that a token of the file stands for; nothing where a character of it stands for no byte.
std::optional<std::string> bytes_of_token(std::string_view token) {
  std::string bytes;
  while (!token.empty()) {
    const auto [code_point, length] = decode_utf8(token);
    const auto found = byte_of_character().find(code_point);
    if (found == byte_of_character().end()) return std::nullopt;
    bytes += found->second;
    token.remove_prefix(length);
  }
  return bytes;
}

// "type" of a part of tokenizer.json that may be null or absent.
std::string type_of(const json& parent, const char* key) {
  const auto part = parent.find(key);
  return part == parent.end() || !part->is_object() ? "" : part->value("type", "");
}

bool set(const json& object, const char* key) {
  const auto value = object.find(key);
  return value != object.end() && !value->is_null() && *value != "" && *value != false;
}

// The first thing in the file that encode() does not implement.
std::string unsupported_for_encoding(const json& file, const json& model) {
  const std::string normalizer = type_of(file, "normalizer");
  if (!normalizer.empty() && normalizer != "NFC" && normalizer != "NFKC") {
    return fmt::format("a normalizer of type {}", normalizer);
  }
  const std::string pre_tokenizer = type_of(file, "pre_tokenizer");
  if (pre_tokenizer != "ByteLevel") {
    return pre_tokenizer.empty() ? "no pre-tokenizer"
                                 : fmt::format("a pre-tokenizer of type {}", pre_tokenizer);
  }
  if (set(file["pre_tokenizer"], "add_prefix_space")) return "add_prefix_space";
  if (!file["pre_tokenizer"].value("use_regex", true))
    return "a pre-tokenizer without its pattern (use_regex false)";
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    if (set(model, key)) return key;
  }
  for (const json& token : file.value("added_tokens", json::array())) {
    for (const char* key : {"single_word", "lstrip", "rstrip"}) {
      if (set(token, key)) return fmt::format("an added token with {}", key);
    }
  }
  return "";
}

// The length of the first piece of `text` by GPT-2's pattern
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// which takes the first alternative that matches, not the longest.
std::size_t next_word(std::string_view text) {
  for (const std::string_view ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (text.starts_with(ending)) return ending.size();
  }
  const auto run = [&](std::size_t begin, auto&& belongs) {
    while (begin < text.size()) {
      const auto [code_point, length] = decode_utf8(text.substr(begin));
      if (!belongs(code_point)) break;
      begin += length;
    }
    return begin;
  };
  const std::size_t begin = text.front() == ' ' ? 1 : 0;
  for (bool (*belongs)(char32_t) :
       {+[](char32_t c) { return is_letter(c); }, +[](char32_t c) { return is_number(c); },
        +[](char32_t c) { return !is_space(c) && !is_letter(c) && !is_number(c); }}) {
    const std::size_t end = run(begin, belongs);
    if (end > begin) return end;
  }
  // White space: all of it at the end of the text, else all but the last character, which the next piece may
  // begin with.
  std::size_t last = 0;
  std::size_t end = 0;
  while (end < text.size()) {
    const auto [code_point, length] = decode_utf8(text.substr(end));
    if (!is_space(code_point)) break;
    last = end;
    end += length;
  }
  return end == text.size() || last == 0 ? end : last;
}

// What lies beside a tokenizer.json and is taken for it.
std::string other_json(const json& file) {
  constexpr const char* cure = "; tokenizer.json is another file of the model's";
  if (!file.is_object()) return fmt::format("a JSON {}", file.type_name());
  if (file.contains("tokenizer_class") || file.contains("added_tokens_decoder"))
    return fmt::format("a tokenizer_config.json{}", cure);
  if (file.contains("model_type") || file.contains("architectures"))
    return fmt::format("the config.json of a model{}", cure);
  const bool is_vocabulary = !file.empty() && std::all_of(file.begin(), file.end(), [](const json& id) {
    return id.is_number_integer();
  });
  return is_vocabulary ? fmt::format("a vocabulary alone (vocab.json){}", cure) : "none";
}

}  // namespace

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  Tokenizer tokenizer;
  tokenizer.path_ = path.string();
  const std::string& name = tokenizer.path_;
  json file;
  try {
    file = json::parse(read_text(path));
    VPD_CHECK(file.is_object() && file.contains("model"), DataError,
              "{}: expected a Hugging Face tokenizer.json with a 'model', found {}", name, other_json(file));
    const json& model = file["model"];
    VPD_CHECK(model.value("type", "BPE") == "BPE", DataError,
              "{}: expected a byte-level BPE tokenizer, found a model of type {}", name,
              model.value("type", ""));
    VPD_CHECK(type_of(file, "decoder") == "ByteLevel" || type_of(file, "pre_tokenizer") == "ByteLevel",
              DataError, "{}: expected a byte-level BPE tokenizer, found the decoder '{}'", name,
              type_of(file, "decoder"));

    const auto add = [&](std::int64_t id, const std::string& bytes) {
      // An id is an index: one out of all proportion is damage, and would ask for all memory.
      VPD_CHECK(id >= 0 && id < (std::int64_t{1} << 24), DataError,
                "{}: expected token ids from 0 to 2^24, found {}", name, id);
      const auto index = static_cast<std::size_t>(id);
      if (index >= tokenizer.bytes_of_id_.size()) {
        tokenizer.bytes_of_id_.resize(index + 1);
        tokenizer.id_exists_.resize(index + 1);
      }
      tokenizer.bytes_of_id_[index] = bytes;
      tokenizer.id_exists_[index] = true;
    };
    std::unordered_map<std::string, std::int64_t> id_of_token;
    for (const auto& [token, id] : model.at("vocab").items()) {
      add(id.get<std::int64_t>(), token);
      id_of_token[token] = id.get<std::int64_t>();
      if (const auto bytes = bytes_of_token(token)) {
        tokenizer.bytes_of_id_[static_cast<std::size_t>(id.get<std::int64_t>())] = *bytes;
        tokenizer.id_of_bytes_[*bytes] = id.get<std::int64_t>();
      }
    }
    for (const json& token : file.value("added_tokens", json::array())) {
      const auto content = token.at("content").get<std::string>();
      add(token.at("id").get<std::int64_t>(), content);
      tokenizer.added_[content] = token.at("id").get<std::int64_t>();
    }
    const auto id_of = [&](const std::string& token) {
      const auto found = id_of_token.find(token);
      VPD_CHECK(found != id_of_token.end(), DataError,
                "{}: expected merges of tokens in the vocabulary, found '{}'", name, token);
      return found->second;
    };
    std::int64_t rank = 0;
    for (const json& merge : model.at("merges")) {
      std::string left;
      std::string right;
      if (merge.is_string()) {  // "a b", as older versions wrote it; a token holds no space
        const auto text = merge.get<std::string>();
        const std::size_t space = text.find(' ');
        VPD_CHECK(space != std::string::npos, DataError, "{}: expected merges of two tokens, found '{}'",
                  name, text);
        left = text.substr(0, space);
        right = text.substr(space + 1);
      } else {
        left = merge.at(0).get<std::string>();
        right = merge.at(1).get<std::string>();
      }
      const std::pair pair{id_of(left), id_of(right)};
      tokenizer.merges_.insert_or_assign(pair, Merge{rank++, id_of(left + right)});
    }
    tokenizer.whole_words_first_ = set(model, "ignore_merges");
    tokenizer.ascii_only_ = !type_of(file, "normalizer").empty();
    tokenizer.cannot_encode_ = unsupported_for_encoding(file, model);
  } catch (const json::parse_error& error) {
    const std::string unknown = fmt::format("one that is no JSON ({})", error.what());
    throw DataError(fmt::format("{}: expected a Hugging Face tokenizer.json, found {}", name,
                                other_format(path, FileUse::tokenizer).value_or(unknown)));
  } catch (const json::exception& error) {
    throw DataError(
        fmt::format("{}: expected a Hugging Face tokenizer.json, found one that does not read as such ({})",
                    name, error.what()));
  }
  return tokenizer;
}

bool Tokenizer::has(std::int64_t id) const {
  return id >= 0 && id < vocabulary_size() && id_exists_[static_cast<std::size_t>(id)];
}

const std::string& Tokenizer::bytes_of(std::int64_t id) const {
  VPD_CHECK(has(id), DataError, "{}: expected token ids of a vocabulary of {}, found {}", path_,
            vocabulary_size(), id);
  return bytes_of_id_[static_cast<std::size_t>(id)];
}

std::string Tokenizer::decode(std::span<const std::int64_t> ids) const {
  std::string bytes;
  for (const std::int64_t id : ids) bytes += bytes_of(id);
  return to_valid_utf8(bytes);
}

std::string Tokenizer::token_text(std::int64_t id) const { return to_valid_utf8(bytes_of(id)); }

std::vector<std::int64_t> Tokenizer::encode(std::string_view text) const {
  VPD_CHECK(cannot_encode_.empty(), DataError,
            "{}: expected a tokenizer that splits like GPT-2's, found {}; encode the "
            "text elsewhere and give the tokens",
            path_, cannot_encode_);
  VPD_CHECK(!ascii_only_ || std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; }),
            DataError,
            "{}: expected ASCII text, which this tokenizer's Unicode normalizer leaves as it is, found other "
            "characters; encode the text elsewhere and give the tokens",
            path_);
  VPD_CHECK(to_valid_utf8(text) == text, DataError, "{}: expected text in UTF-8 to encode, found other bytes",
            path_);

  // Added tokens stand for themselves wherever they occur; of two that begin at one place the longer wins.
  std::vector<std::int64_t> ids;
  std::size_t plain = 0;
  for (std::size_t i = 0; i < text.size();) {
    const std::pair<const std::string, std::int64_t>* best = nullptr;
    for (const auto& added : added_) {
      if (!added.first.empty() && text.substr(i).starts_with(added.first) &&
          (best == nullptr || added.first.size() > best->first.size())) {
        best = &added;
      }
    }
    if (best == nullptr) {
      ++i;
      continue;
    }
    encode_plain(text.substr(plain, i - plain), ids);
    ids.push_back(best->second);
    plain = i += best->first.size();
  }
  encode_plain(text.substr(plain), ids);
  return ids;
}

void Tokenizer::encode_plain(std::string_view text, std::vector<std::int64_t>& ids) const {
  while (!text.empty()) {
    const std::size_t length = next_word(text);
    encode_word(text.substr(0, length), ids);
    text.remove_prefix(length);
  }
}

// Merges the pair of the lowest rank, the leftmost of equals, until none is left: a heap over a doubly linked
// list, so that a long word takes n log n.
void Tokenizer::encode_word(std::string_view word, std::vector<std::int64_t>& ids) const {
  if (whole_words_first_) {
    const auto whole = id_of_bytes_.find(std::string(word));
    if (whole != id_of_bytes_.end()) return ids.push_back(whole->second);
  }
  struct Symbol {
    std::int64_t id;
    std::ptrdiff_t previous;
    std::ptrdiff_t next;
  };
  struct Candidate {
    std::int64_t rank;
    std::ptrdiff_t left;
    std::int64_t left_id;
    std::int64_t right_id;
    bool operator>(const Candidate& other) const {
      return std::pair(rank, left) > std::pair(other.rank, other.left);
    }
  };
  const auto size = static_cast<std::ptrdiff_t>(word.size());
  std::vector<Symbol> symbols;
  for (std::ptrdiff_t i = 0; i < size; ++i) {
    const auto found = id_of_bytes_.find(std::string(1, word[static_cast<std::size_t>(i)]));
    VPD_CHECK(found != id_of_bytes_.end(), DataError,
              "{}: expected a token for every byte, found none for {:#04x}", path_,
              static_cast<unsigned char>(word[static_cast<std::size_t>(i)]));
    symbols.push_back({found->second, i - 1, i + 1 < size ? i + 1 : -1});
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
  const auto consider = [&](std::ptrdiff_t left) {
    if (left < 0 || symbols[static_cast<std::size_t>(left)].next < 0) return;
    const Symbol& symbol = symbols[static_cast<std::size_t>(left)];
    const std::int64_t right_id = symbols[static_cast<std::size_t>(symbol.next)].id;
    const auto merge = merges_.find({symbol.id, right_id});
    if (merge != merges_.end()) candidates.push({merge->second.rank, left, symbol.id, right_id});
  };
  for (std::ptrdiff_t i = 0; i < size; ++i) consider(i);
  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    Symbol& left = symbols[static_cast<std::size_t>(best.left)];
    // A candidate is stale when either side was merged since; a symbol that was swallowed has the id -1.
    if (left.id != best.left_id || left.next < 0 ||
        symbols[static_cast<std::size_t>(left.next)].id != best.right_id) {
      continue;
    }
    Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    left.id = merges_.at({best.left_id, best.right_id}).id;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = best.left;
    consider(left.previous);
    consider(best.left);
  }
  for (std::ptrdiff_t i = 0; i >= 0 && i < size; i = symbols[static_cast<std::size_t>(i)].next) {
    ids.push_back(symbols[static_cast<std::size_t>(i)].id);
  }
}

}  // namespace vpd
