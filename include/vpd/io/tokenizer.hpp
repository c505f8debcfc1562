#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace vpd {

// A byte-level BPE tokenizer as Hugging Face's tokenizer.json describes it. Decoding works for every one of
// them; encoding for those that split text with GPT-2's pattern (pre-tokenizer ByteLevel) and change it in no
// way before.
class Tokenizer {
 public:
  // DataError when the file cannot be read or describes another kind of tokenizer.
  static Tokenizer load(const std::filesystem::path& path);

  // One more than the largest id.
  std::int64_t vocabulary_size() const { return static_cast<std::int64_t>(bytes_of_id_.size()); }

  bool has(std::int64_t id) const;

  // The text of `ids`, special tokens among it. Always valid UTF-8: bytes that are none, such as those of a
  // character cut in two at an end, become U+FFFD. DataError for an id that the tokenizer does not have.
  std::string decode(std::span<const std::int64_t> ids) const;
  // The text of one token.
  std::string token_text(std::int64_t id) const;

  // The tokens of `text`, which is UTF-8. Nothing is added at its ends. DataError when this tokenizer encodes
  // in another way than GPT-2's, and then for text that its Unicode normalizer could change; the sentence
  // says which.
  std::vector<std::int64_t> encode(std::string_view text) const;

 private:
  struct Merge {
    std::int64_t rank;
    std::int64_t id;
  };
  struct PairHash {
    std::size_t operator()(const std::pair<std::int64_t, std::int64_t>& pair) const {
      return static_cast<std::size_t>(pair.first) * 0x9e3779b97f4a7c15 +
             static_cast<std::size_t>(pair.second);
    }
  };

  Tokenizer() = default;
  void encode_plain(std::string_view text, std::vector<std::int64_t>& ids) const;
  void encode_word(std::string_view word, std::vector<std::int64_t>& ids) const;
  const std::string& bytes_of(std::int64_t id) const;

  std::string path_;
  std::vector<std::string> bytes_of_id_;
  std::vector<bool> id_exists_;
  std::map<std::string, std::int64_t, std::less<>> added_;  // by text
  std::unordered_map<std::string, std::int64_t> id_of_bytes_;
  std::unordered_map<std::pair<std::int64_t, std::int64_t>, Merge, PairHash> merges_;
  bool whole_words_first_ = false;  // "ignore_merges": a word that is a token needs no merges
  bool ascii_only_ = false;         // a Unicode normaliser, which leaves ASCII alone
  std::string cannot_encode_;       // why, where encode() is not possible
};

}  // namespace vpd
