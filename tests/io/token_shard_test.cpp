#include "vpd/io/token_shard.hpp"

#include <filesystem>
#include <limits>

#include <gtest/gtest.h>

#include "support.hpp"
#include "token_files.hpp"

namespace vpd {
namespace {

using testing::bytes_of;
using testing::llm_c_shard;
using testing::npy;
using testing::TemporaryDirectory;
using Ids = std::vector<std::int64_t>;

Ids all_tokens(const TokenShard& shard) {
  Ids ids(static_cast<std::size_t>(shard.size()));
  shard.read(0, ids);
  return ids;
}

class TokenShards : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& content) {
    write_atomically(directory_ / name, content);
    return directory_ / name;
  }
  void expect_rejected(const std::string& name, const std::string& content, const std::string& part) {
    const auto path = write(name, content);
    EXPECT_DATA_ERROR(part, TokenShard{path});
    EXPECT_DATA_ERROR(path.string() + ": ", TokenShard{path});
  }
  template <typename T>
  void expect_integers(const std::string& descr, const std::string& format) {
    const std::vector<T> tokens{0, 1, std::numeric_limits<T>::max()};
    const TokenShard shard(write("x.npy", npy(descr, "(3,)", tokens)));
    EXPECT_EQ(shard.format(), "npy, " + format);
    EXPECT_EQ(shard.shape(), Ids{3});
    EXPECT_EQ(all_tokens(shard), (Ids{0, 1, static_cast<std::int64_t>(std::numeric_limits<T>::max())}))
        << descr;
  }

  TemporaryDirectory directory_;
};

TEST_F(TokenShards, ReadsBothKindsOfLlmCShards) {
  const TokenShard narrow(write("a.bin", llm_c_shard<std::uint16_t>(20240520, 1, 3, {5, 65535, 7})));
  EXPECT_EQ(narrow.format(), "llm.c version 1, uint16");
  EXPECT_EQ(narrow.shape(), Ids{3});
  EXPECT_FALSE(narrow.has_rows());
  EXPECT_EQ(all_tokens(narrow), (Ids{5, 65535, 7}));
  const TokenShard wide(write("b.bin", llm_c_shard<std::uint32_t>(20240801, 7, 2, {128'000, 4'000'000'000})));
  EXPECT_EQ(wide.format(), "llm.c version 7, uint32");
  EXPECT_EQ(all_tokens(wide), (Ids{128'000, 4'000'000'000}));
}

TEST_F(TokenShards, WrittenShardIsReadBack) {
  const std::vector<std::uint16_t> tokens{3, 1, 4, 1, 5};
  write_token_shard(directory_ / "x.bin", tokens);
  EXPECT_EQ(read_text(directory_ / "x.bin"), llm_c_shard<std::uint16_t>(20240520, 1, 5, tokens));
}

TEST_F(TokenShards, ReadsEveryIntegerTypeOfNumPy) {
  expect_integers<std::uint8_t>("|u1", "uint8");
  expect_integers<std::int8_t>("|i1", "int8");
  expect_integers<std::uint16_t>("<u2", "uint16");
  expect_integers<std::int16_t>("<i2", "int16");
  expect_integers<std::uint32_t>("<u4", "uint32");
  expect_integers<std::int32_t>("<i4", "int32");
  expect_integers<std::int64_t>("<i8", "int64");
  const std::vector<std::uint64_t> huge{1, ~std::uint64_t{0}};
  EXPECT_EQ(all_tokens(TokenShard(write("x.npy", npy("<u8", "(2,)", huge)))),
            (Ids{1, std::numeric_limits<std::int64_t>::max()}));
}

TEST_F(TokenShards, ReadsRowsAndEveryVersionOfNumPy) {
  for (const int version : {1, 2, 3}) {
    const TokenShard shard(write("x.npy", npy<std::int32_t>("<i4", "(2, 3)", {1, 2, 3, 4, 5, 6}, version)));
    EXPECT_TRUE(shard.has_rows());
    EXPECT_EQ(shard.shape(), (Ids{2, 3}));
    EXPECT_EQ(all_tokens(shard), (Ids{1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(shard.describe_position(4), "row 1, column 1");
  }
}

TEST_F(TokenShards, ReadsAPartAndRefusesWhatIsBeyond) {
  const TokenShard shard(write("x.npy", npy<std::uint8_t>("|u1", "(4,)", {1, 2, 3, 4})));
  Ids part(2);
  shard.read(2, part);
  EXPECT_EQ(part, (Ids{3, 4}));
  EXPECT_ERROR_AS(UsageError, "expected positions below 4, found [3, 5)", shard.read(3, part));
  EXPECT_ERROR_AS(UsageError, "found [-1, 1)", shard.read(-1, part));
}

TEST_F(TokenShards, BadLlmCShardsAreRejected) {
  const std::string good = llm_c_shard<std::uint16_t>(20240520, 1, 4, {1, 2, 3, 4});
  expect_rejected("x.bin", "", "found an empty file");
  expect_rejected("x.bin", good.substr(0, 1000),
                  "expected an llm.c header of 1024 bytes, found a file of 1000");
  expect_rejected("x.bin", good.substr(0, 1031), "the file is truncated");
  expect_rejected("x.bin", good + "xx", "expected 8 bytes of tokens after the header, found 10");
  expect_rejected("x.bin", llm_c_shard<std::uint16_t>(20240521, 1, 0, {}), "expected the magic number");
  expect_rejected("x.bin", llm_c_shard<std::uint16_t>(20240520, 7, 0, {}), "expected version 1");
  expect_rejected("x.bin", llm_c_shard<std::uint32_t>(20240801, 1, 0, {}), "expected version 7");
  expect_rejected("x.bin", llm_c_shard<std::uint16_t>(20240520, 1, 1'000'000, {1, 2}),
                  "(1000000) tokens of uint16");
  expect_rejected("x.bin", llm_c_shard<std::uint16_t>(20240520, 1, -1, {}), "token count of at least 0");
  expect_rejected("x.bin", llm_c_shard<std::uint16_t>(20240520, 1, 0, {}), "expected at least one token");
  expect_rejected("x.txt", good, "which is named .bin or .npy, found '.txt'");
}

TEST_F(TokenShards, BadNumPyFilesAreRejected) {
  const std::string good = npy<std::int32_t>("<i4", "(2, 2)", {1, 2, 3, 4});
  expect_rejected("x.npy", "", "found an empty file");
  expect_rejected("x.npy", "not an array", "expected the magic bytes");
  expect_rejected("x.npy", good.substr(0, 6), "version 1, 2 or 3, found 0");
  expect_rejected("x.npy", good.substr(0, 9), "expected an .npy header");
  expect_rejected("x.npy", good.substr(0, 50), "it is truncated");
  expect_rejected("x.npy", good.substr(0, good.size() - 1), "the file is truncated");
  expect_rejected("x.npy", good + "x", "expected 16 bytes of tokens after the header, found 17");
  expect_rejected("x.npy", npy<std::int32_t>("<i4", "(1,)", {1}, 4), "version 1, 2 or 3, found 4");
  expect_rejected("x.npy", npy<std::int32_t>(">i4", "(1,)", {1}), "little-endian integer dtype, found '>i4'");
  expect_rejected("x.npy", npy<float>("<f4", "(1,)", {1}), "little-endian integer dtype, found '<f4'");
  expect_rejected("x.npy", npy<std::int32_t>("<i4", "(1, 1, 1)", {1}), "expected a 1-D or 2-D array");
  expect_rejected("x.npy", npy<std::int32_t>("<i4", "()", {1}), "expected a 1-D or 2-D array");
  expect_rejected("x.npy", npy<std::int32_t>("<i4", "(0, 4)", {}), "expected at least one token");
  expect_rejected("x.npy", npy<std::int32_t>("<i4", "(4611686018427387904, 4611686018427387904)", {1}),
                  "more than 2^63 bytes");
  const std::string data = bytes_of(std::vector<std::int32_t>{1, 2, 3, 4});
  expect_rejected("x.npy", npy(1, "{'descr': '<i4', 'fortran_order': True, 'shape': (2, 2), }", data),
                  "C order");
  for (const char* dictionary :
       {"", "{", "{}", "{'descr': '<i4', 'fortran_order': False}",
        "{'descr': [('a', '<i4')], 'fortran_order': False}",
        "{'descr': '<i4', 'fortran_order': maybe, 'shape': (4,)}",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (-4,)}",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (4", "{'descr': '<i4", "{'other': '<i4'}"}) {
    expect_rejected("x.npy", npy(1, dictionary, data), "expected an .npy header with descr");
  }
}

TEST_F(TokenShards, DirectoriesAndPatternsAreReadInTheOrderOfNames) {
  std::filesystem::create_directory(directory_ / "data");
  for (const char* name : {"data/b.npy", "data/c.npy", "data/a.npy"})
    write(name, npy<std::uint8_t>("|u1", "(1,)", {1}));
  write("data/README.md", "not tokens");
  const auto names = [&](const std::string& path) {
    std::string all;
    for (const TokenShard& shard : open_token_shards(directory_ / path)) all += shard.path().stem().string();
    return all;
  };
  EXPECT_EQ(names("data"), "abc");
  EXPECT_EQ(names("data/[bc].npy"), "bc");
  EXPECT_EQ(names("data/b.npy"), "b");
  write("data/odd[1].npy", npy<std::uint8_t>("|u1", "(1,)", {1}));
  EXPECT_EQ(names("data/odd[1].npy"), "odd[1]") << "a name that exists is no pattern";
  EXPECT_DATA_ERROR("expected a pattern that matches token files",
                    open_token_shards(directory_ / "data/*.bin"));
  EXPECT_DATA_ERROR("README.md: expected a token file", open_token_shards(directory_ / "data/*"));
  std::filesystem::create_directory(directory_ / "none");
  EXPECT_DATA_ERROR("expected a directory of .bin or .npy token files",
                    open_token_shards(directory_ / "none"));
  EXPECT_DATA_ERROR("absent.bin: cannot open the file", open_token_shards(directory_ / "absent.bin"));
}

TEST_F(TokenShards, DescriptionHoldsShapeAndRange) {
  write("a.npy", npy<std::int16_t>("<i2", "(2, 3)", {4, -1, 9, 2, 3, 4}));
  write_token_shard(directory_ / "b.bin", std::vector<std::uint16_t>(100'000, 17));
  const std::vector<TokenFileInfo> infos = describe_tokens(directory_.path());
  ASSERT_EQ(infos.size(), 2u);
  EXPECT_EQ(infos[0].path, (directory_ / "a.npy").string());
  EXPECT_EQ(infos[0].format, "npy, int16");
  EXPECT_EQ(infos[0].shape, (Ids{2, 3}));
  EXPECT_EQ(infos[0].tokens, 6);
  EXPECT_EQ(infos[0].smallest, -1);
  EXPECT_EQ(infos[0].largest, 9);
  EXPECT_EQ(infos[1].tokens, 100'000);
  EXPECT_EQ(infos[1].smallest, 17);
  EXPECT_EQ(infos[1].largest, 17);
}

}  // namespace
}  // namespace vpd
