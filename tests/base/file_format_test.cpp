#include "vpd/base/file_format.hpp"

#include <cstdint>
#include <fstream>
#include <vector>

#include <gtest/gtest.h>

#include "io/support.hpp"
#include "io/token_files.hpp"

namespace vpd {
namespace {

using namespace std::string_literals;
using testing::bytes_of;
using testing::contains;

constexpr FileUse uses[] = {FileUse::tokens,    FileUse::safetensors,   FileUse::torch_checkpoint,
                            FileUse::tokenizer, FileUse::configuration, FileUse::anything};

const std::string pointer =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nsize 548105171\n";

std::string found(const std::string& bytes, const std::string& name, FileUse use) {
  return other_format(bytes, name, use).value_or("");
}

/// A zip's first local header, and a little of what follows.
std::string zip(const std::string& first, const std::string& rest = "") {
  std::string header = "PK\x03\x04"s + std::string(26, '\0') + first + rest;
  header[26] = static_cast<char>(first.size());
  return header;
}

TEST(FileFormat, APointerIsOneToEveryReader) {
  for (const FileUse use : uses) {
    EXPECT_EQ(found(pointer, "model.safetensors", use),
              "a Git LFS pointer in place of a file of 523 MiB; run `git lfs pull` in its repository");
    EXPECT_TRUE(contains(found("/annex/objects/SHA256E-s12--ab.bin\n", "x.bin", use), "git annex get"));
  }
}

TEST(FileFormat, APageIsOneToEveryReader) {
  for (const FileUse use : uses) {
    for (const char* text : {"<!DOCTYPE html>\n<html>", "\n <html lang=\"en\">", "\xef\xbb\xbf<HTML>",
                             "<?xml version=\"1.0\"?><Error>", "{\"error\":\"Invalid credentials\"}"}) {
      EXPECT_TRUE(contains(found(text, "x.json", use), "download it again")) << text;
    }
  }
  EXPECT_TRUE(contains(found("Entry not found", "x.bin", FileUse::tokens), "'Entry not found'"));
}

TEST(FileFormat, PackedFilesSayWhatUnpacksThem) {
  EXPECT_EQ(found("\x1f\x8b\x08\x00"s, "data/a b.bin.gz", FileUse::tokens),
            "a file packed by gzip; unpack it first: gunzip -k 'data/a b.bin.gz'");
  for (const auto& [bytes, word] : {std::pair("BZh91AY"s, "bunzip2"),
                                    {"\xfd"
                                     "7zXZ\0\0"s,
                                     "unxz"},
                                    {"\x28\xb5\x2f\xfd\x04"s, "unzstd"},
                                    {std::string(257, 'x') + "ustar\0"s, "tar archive"},
                                    {zip("a.txt"), "a zip archive"}}) {
    for (const FileUse use : uses) {
      EXPECT_TRUE(contains(found(bytes, "x", use), word)) << word;
      EXPECT_TRUE(contains(found(bytes, "x", use), "unpack it first")) << word;
    }
  }
}

TEST(FileFormat, WhatAReaderWantsIsNoOtherFormat) {
  const std::string safetensors = "\x40\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\""s;
  const std::string torch = zip("model/data.pkl");
  const std::string legacy = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"s;
  EXPECT_EQ(other_format(safetensors, "x.safetensors", FileUse::safetensors), std::nullopt);
  EXPECT_TRUE(contains(found(safetensors, "x.pt", FileUse::torch_checkpoint), "a safetensors file"));
  EXPECT_EQ(other_format(torch, "x.pt", FileUse::torch_checkpoint), std::nullopt);
  EXPECT_TRUE(contains(found(torch, "model.safetensors", FileUse::safetensors), "torch.save"));
  EXPECT_TRUE(contains(found(legacy, "model.safetensors", FileUse::safetensors), "before PyTorch 1.6"));
  for (const char* text : {"{\"a\": 1}", "a: 1\nb: [2, 3]\n", "# a comment\nseed: 0\n", "1\n", ""}) {
    EXPECT_EQ(other_format(text, "x.yaml", FileUse::configuration), std::nullopt) << text;
  }
  EXPECT_EQ(other_format("{\"version\": \"1.0\", \"model\": {}}", "tokenizer.json", FileUse::tokenizer),
            std::nullopt);
  EXPECT_EQ(other_format("\x01\x02\x03\x04\x05\x06\x07\x00"s, "x", FileUse::anything), std::nullopt);
}

TEST(FileFormat, TokensOfEveryKind) {
  const auto words = [](const std::string& bytes, const std::string& name) {
    return found(bytes, name, FileUse::tokens);
  };
  EXPECT_EQ(words("PAR1....", "x.parquet"), "a parquet file; tools/prepare_tokens makes token files of it");
  EXPECT_TRUE(contains(words("ARROW1\0\0"s, "x.arrow"), "Arrow"));
  EXPECT_TRUE(contains(words("\xff\xff\xff\xff\x10\x00\x00\x00"s, "x.arrow"), "Arrow"));
  EXPECT_TRUE(
      contains(words("{\"text\": \"a\"}\n{\"text\": \"b\"}\n", "x.bin"), "JSON Lines; tools/prepare_tokens"));
  EXPECT_TRUE(contains(words("{\"text\": \"a\"}", "x.jsonl"), "JSON Lines"));
  EXPECT_TRUE(contains(words("a,b\nc,d\n", "x.csv"), "CSV"));
  EXPECT_TRUE(
      contains(words("[1, 2, 3]\n", "x.json"), "numbers written as text; save the ids with numpy.save"));
  EXPECT_TRUE(contains(words("5 6 7\n8 9 10\n", "x.npy"), "numbers written as text"));
  EXPECT_TRUE(contains(words(zip("arr_0.npy"), "x.npy"), ".npz"));
  EXPECT_TRUE(contains(words("\x93NUMPY\x01\x00"s, "x.bin"), "rename it to .npy"));
  EXPECT_TRUE(contains(words(testing::llm_c_shard<std::uint16_t>(20240520, 1, 1, {5}), "x.npy"),
                       "rename it to .bin"));
  EXPECT_TRUE(contains(words("\x80\x04\x95\x10\x00"s, "x.npy"), "a Python pickle"));
  EXPECT_TRUE(contains(words(std::string(300, 'a') + "\n", "x.bin"), "text; tools/prepare_tokens"));
  EXPECT_TRUE(contains(words("\xe8\xaf\xad\xe6\x96\x87 \xe8\xaf\xad\xe6\x96\x87", "x.bin"), "the text "));
  EXPECT_TRUE(contains(words("H\xe9llo w\xf6rld, this is Latin-1", "x.bin"), "the text "));
  EXPECT_TRUE(contains(words("", "x.bin"), "an empty file"));
}

TEST(FileFormat, BareTokensGetTheCommandThatMakesThemAnArray) {
  const std::string narrow = bytes_of(std::vector<std::uint16_t>{640, 50256, 12, 3, 900, 17});
  EXPECT_TRUE(contains(found(narrow, "d/train.bin", FileUse::tokens),
                       "python3 -c \"import numpy, sys; numpy.save(sys.argv[2], numpy.memmap(sys.argv[1], "
                       "'uint16', 'r'))\" d/train.bin d/train.npy"))
      << found(narrow, "d/train.bin", FileUse::tokens);
  EXPECT_TRUE(contains(
      found(bytes_of(std::vector<std::uint32_t>{128'000, 5, 70'000}), "x.bin", FileUse::tokens), "'uint32'"));
  EXPECT_TRUE(contains(
      found(bytes_of(std::vector<std::int64_t>{128'000, 5, 70'000}), "x.bin", FileUse::tokens), "'uint64'"));
  EXPECT_EQ(other_format(narrow, "x.npy", FileUse::tokens), std::nullopt);
  EXPECT_EQ(other_format(narrow, "x.bin", FileUse::safetensors), std::nullopt);
}

TEST(FileFormat, TokenizersInOtherFormats) {
  const std::string sentencepiece = "\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02"s;
  EXPECT_TRUE(contains(found(sentencepiece, "tokenizer.json", FileUse::tokenizer), "SentencePiece"));
  EXPECT_TRUE(
      contains(found("#version: 0.2\n\u0120 t\n", "tokenizer.json", FileUse::tokenizer), "merges.txt"));
  EXPECT_TRUE(contains(found("IQ== 0\nIg== 1\n", "tokenizer.model", FileUse::tokenizer), "tiktoken"));
}

TEST(FileFormat, AFileIsReadAndNothingElseIs) {
  const testing::TemporaryDirectory directory;
  std::ofstream(directory / "x.bin") << pointer;
  EXPECT_TRUE(other_format(directory / "x.bin", FileUse::tokens)->starts_with("a Git LFS pointer"));
  EXPECT_EQ(other_format(directory / "none", FileUse::tokens), std::nullopt);
  EXPECT_EQ(other_format(directory.path(), FileUse::tokens), std::nullopt);
}

TEST(FileFormat, WhatAFileSaysSteersNoTerminal) {
  const std::string words = found(
      "a\xc2\x9b"
      "2J",  // the one-character form of ESC [
      "x", FileUse::anything);
  EXPECT_TRUE(contains(words, "2J")) << words;
  EXPECT_EQ(words.find("\xc2\x9b"), std::string::npos);
}

}  // namespace
}  // namespace vpd
