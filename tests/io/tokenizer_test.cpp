#include "vpd/io/tokenizer.hpp"

#include <chrono>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support.hpp"
#include "support/places.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

using nlohmann::json;
using testing::TemporaryDirectory;
using Ids = std::vector<std::int64_t>;

const std::filesystem::path kData = testing::test_data() / "tokenizer";

class TokenizerTest : public ::testing::Test {
 protected:
  Tokenizer changed(const std::function<void(json&)>& change) {
    json file = json::parse(read_text(kData / "tokenizer.json"));
    change(file);
    write_atomically(directory_ / "tokenizer.json", file.dump());
    return Tokenizer::load(directory_ / "tokenizer.json");
  }
  void expect_rejected(const std::string& part, const std::function<void(json&)>& change) {
    EXPECT_DATA_ERROR(part, changed(change));
    EXPECT_DATA_ERROR("tokenizer.json: expected", changed(change));
  }
  void expect_decoding_only(const std::string& part, const std::function<void(json&)>& change) {
    const Tokenizer tokenizer = changed(change);
    EXPECT_EQ(tokenizer.decode(whole_.encode("The fox")), "The fox");
    EXPECT_DATA_ERROR("found " + part, tokenizer.encode("The fox"));
  }

  const Tokenizer whole_ = Tokenizer::load(kData / "tokenizer.json");
  const json expected_ = json::parse(read_text(kData / "expected.json"));
  TemporaryDirectory directory_;
};

TEST_F(TokenizerTest, EncodesAndDecodesLikeTheReference) {
  EXPECT_EQ(whole_.vocabulary_size(), expected_["vocabulary_size"]);
  ASSERT_GT(expected_["cases"].size(), 20u);
  for (const json& entry : expected_["cases"]) {
    const auto text = entry["text"].get<std::string>();
    const auto ids = entry["ids"].get<Ids>();
    EXPECT_EQ(whole_.encode(text), ids) << text;
    EXPECT_EQ(whole_.decode(ids), text);
  }
}

TEST_F(TokenizerTest, CharactersCutInTwoBecomeReplacements) {
  ASSERT_GT(expected_["partial"].size(), 3u);
  for (const json& entry : expected_["partial"])
    EXPECT_EQ(whole_.decode(entry["ids"].get<Ids>()), entry["text"]);
}

TEST_F(TokenizerTest, TextOfOneToken) {
  EXPECT_EQ(whole_.token_text(0), "<|end|>");
  EXPECT_EQ(whole_.token_text(whole_.encode("é")[0]), "\xef\xbf\xbd");
  std::string all;
  for (const std::int64_t id : whole_.encode("the quick fox")) all += whole_.token_text(id);
  EXPECT_EQ(all, "the quick fox");
}

TEST_F(TokenizerTest, UnknownIdsAreNamed) {
  EXPECT_DATA_ERROR("expected token ids of a vocabulary of 402, found 402", whole_.decode(Ids{1, 402}));
  EXPECT_DATA_ERROR("found -1", whole_.token_text(-1));
  const Tokenizer with_hole = changed([](json& file) { file["added_tokens"][1]["id"] = 500; });
  EXPECT_EQ(with_hole.vocabulary_size(), 501);
  EXPECT_DATA_ERROR("found 400", with_hole.token_text(400));
}

TEST_F(TokenizerTest, ReadsMergesWrittenAsOneString) {
  const Tokenizer old_style = changed([](json& file) {
    for (json& merge : file["model"]["merges"])
      merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  });
  for (const json& entry : expected_["cases"])
    EXPECT_EQ(old_style.encode(entry["text"].get<std::string>()), entry["ids"].get<Ids>());
}

TEST_F(TokenizerTest, IgnoreMergesTakesWholeWordsFirst) {
  const auto add_word = [](json& file) { file["model"]["vocab"]["zebra"] = 402; };
  EXPECT_GT(changed(add_word).encode("zebra").size(), 1u) << "no merges lead to it";
  const Tokenizer whole_words = changed([&](json& file) {
    add_word(file);
    file["model"]["ignore_merges"] = true;
  });
  EXPECT_EQ(whole_words.encode("zebra"), Ids{402});
}

TEST_F(TokenizerTest, OtherTokenizersAreRejected) {
  expect_rejected("found a model of type WordPiece", [](json& file) { file["model"]["type"] = "WordPiece"; });
  expect_rejected("found the decoder 'Metaspace'", [](json& file) {
    file["decoder"]["type"] = "Metaspace";
    file["pre_tokenizer"]["type"] = "Metaspace";
  });
  expect_rejected("with a 'model', found none", [](json& file) { file.erase("model"); });
  expect_rejected("does not read as such", [](json& file) { file["model"].erase("vocab"); });
  expect_rejected("does not read as such", [](json& file) { file["model"]["vocab"]["a"] = "b"; });
  expect_rejected("token ids from 0 to 2^24, found -3", [](json& file) { file["model"]["vocab"]["a"] = -3; });
  expect_rejected("found '\xc4\xa0zz'", [](json& file) {
    file["model"]["merges"].push_back({"\xc4\xa0zz", "a"});
  });
  expect_rejected("merges of two tokens, found 'ab'",
                  [](json& file) { file["model"]["merges"].push_back("ab"); });
  write_atomically(directory_ / "broken.json", read_text(kData / "tokenizer.json").substr(0, 500));
  EXPECT_DATA_ERROR("broken.json: expected a Hugging Face tokenizer.json",
                    Tokenizer::load(directory_ / "broken.json"));
  EXPECT_DATA_ERROR("absent.json: cannot open", Tokenizer::load(directory_ / "absent.json"));
}

TEST_F(TokenizerTest, OtherFilesAreNamed) {
  const auto path = directory_ / "tokenizer.json";
  for (const auto& [text, words] : std::vector<std::pair<std::string, std::string>>{
           {"version https://git-lfs.github.com/spec/v1\nsize 10\n", "a Git LFS pointer"},
           {"<!DOCTYPE html>", "a page in HTML"},
           {"\x0a\x0e\x0a\x05<unk>\x15", "a SentencePiece model"},
           {"#version: 0.2\na b\n", "a list of BPE merges (merges.txt)"},
           {R"({"a": 0, "b": 1})", "a vocabulary alone (vocab.json); tokenizer.json is another file"},
           {R"({"tokenizer_class": "GPT2Tokenizer"})", "a tokenizer_config.json"},
           {R"({"model_type": "gpt2"})", "the config.json of a model"},
           {"[1]", "a JSON array"},
           {"", "an empty file"}}) {
    write_atomically(path, text);
    EXPECT_DATA_ERROR("found " + words, Tokenizer::load(path));
  }
}

TEST_F(TokenizerTest, IdsThatItHas) {
  EXPECT_TRUE(whole_.has(0));
  EXPECT_TRUE(whole_.has(whole_.vocabulary_size() - 1));
  EXPECT_FALSE(whole_.has(whole_.vocabulary_size()));
  EXPECT_FALSE(whole_.has(-1));
}

TEST_F(TokenizerTest, OtherWaysOfEncodingAreNamed) {
  expect_decoding_only("a normalizer of type Lowercase", [](json& file) {
    file["normalizer"] = {{"type", "Lowercase"}};
  });
  expect_decoding_only("a pre-tokenizer of type Sequence", [](json& file) {
    file["pre_tokenizer"] = {{"type", "Sequence"}};
  });
  expect_decoding_only("no pre-tokenizer", [](json& file) { file["pre_tokenizer"] = nullptr; });
  expect_decoding_only("add_prefix_space",
                       [](json& file) { file["pre_tokenizer"]["add_prefix_space"] = true; });
  expect_decoding_only("a pre-tokenizer without its pattern",
                       [](json& file) { file["pre_tokenizer"]["use_regex"] = false; });
  expect_decoding_only("dropout", [](json& file) { file["model"]["dropout"] = 0.1; });
  expect_decoding_only("end_of_word_suffix",
                       [](json& file) { file["model"]["end_of_word_suffix"] = "</w>"; });
  expect_decoding_only("an added token with lstrip",
                       [](json& file) { file["added_tokens"][0]["lstrip"] = true; });
}

TEST_F(TokenizerTest, UnicodeNormalizersLeaveAsciiAlone) {
  const Tokenizer tokenizer = changed([](json& file) { file["normalizer"] = {{"type", "NFC"}}; });
  EXPECT_EQ(tokenizer.encode("The fox"), whole_.encode("The fox"));
  EXPECT_DATA_ERROR("expected ASCII text", tokenizer.encode("Größe"));
}

TEST_F(TokenizerTest, TextMustBeUtf8) { EXPECT_DATA_ERROR("expected text in UTF-8", whole_.encode("a\xff")); }

TEST_F(TokenizerTest, MissingByteIsNamed) {
  const Tokenizer tokenizer = changed([](json& file) {
    file["model"]["merges"] = json::array();
    file["model"]["vocab"].erase("Q");
  });
  EXPECT_DATA_ERROR("expected a token for every byte, found none for 0x51", tokenizer.encode("Queen"));
}

// One long word: a quadratic search takes minutes for it.
TEST_F(TokenizerTest, LongWordsAreNoTrouble) {
  std::string word;
  for (int i = 0; i < 200'000; ++i) word += "thequickan"[i % 10];
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(whole_.decode(whole_.encode(word)), word);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(Utf8, DecodesEveryLengthAndRefusesTheRest) {
  const auto decoded = [](std::string_view text) {
    const auto [code_point, length] = decode_utf8(text);
    return std::pair(static_cast<std::uint32_t>(code_point), length);
  };
  const auto pair = [](std::uint32_t code_point, std::size_t length) {
    return std::pair(code_point, length);
  };
  EXPECT_EQ(decoded("a"), pair('a', 1));
  EXPECT_EQ(decoded("\xc3\xa9"), pair(0xe9, 2));
  EXPECT_EQ(decoded("\xe2\x82\xac!"), pair(0x20ac, 3));
  EXPECT_EQ(decoded("\xf4\x8f\xbf\xbf"), pair(0x10ffff, 4));
  EXPECT_EQ(decoded("\x80"), pair(0xfffd, 1)) << "a continuation alone";
  EXPECT_EQ(decoded("\xc0\xaf"), pair(0xfffd, 1)) << "overlong";
  EXPECT_EQ(decoded("\xe0\x80\xaf"), pair(0xfffd, 1)) << "overlong";
  EXPECT_EQ(decoded("\xed\xa0\x80"), pair(0xfffd, 1)) << "a surrogate";
  EXPECT_EQ(decoded("\xf4\x90\x80\x80"), pair(0xfffd, 1)) << "beyond U+10FFFF";
  EXPECT_EQ(decoded("\xf0\x9f\x99"), pair(0xfffd, 3)) << "cut off";
  EXPECT_EQ(to_valid_utf8("a\xf0\x9f\x99z\xff"), "a\xef\xbf\xbdz\xef\xbf\xbd");
}

}  // namespace
}  // namespace vpd
