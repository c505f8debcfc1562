#include "vpd/io/token_shard.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <thread>

#include <gtest/gtest.h>
#include <sys/stat.h>

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
  const std::vector<std::uint32_t> wide{3, 70'000, 4};
  write_token_shard(directory_ / "y.bin", wide);
  EXPECT_EQ(read_text(directory_ / "y.bin"), llm_c_shard<std::uint32_t>(20240801, 7, 3, wide));
  EXPECT_EQ(all_tokens(TokenShard(directory_ / "y.bin")), (Ids{3, 70'000, 4}));
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

TEST_F(TokenShards, ADirectorysOtherEntriesAreNoShards) {
  const std::string good = npy<std::uint8_t>("|u1", "(1,)", {1});
  std::filesystem::create_directories(directory_ / "data/sub.bin");
  for (const char* name : {"data/a.npy", "data/._a.npy", "data/.tmp-b.bin.77"}) write(name, good);
  ASSERT_EQ(::mkfifo((directory_ / "data/pipe.bin").c_str(), 0600), 0);
  ASSERT_EQ(token_files(directory_ / "data").size(), 1u);
  EXPECT_EQ(token_files(directory_ / "data/*.npy").size(), 1u);
  std::filesystem::create_symlink("gone.npy", directory_ / "data/b.npy");
  EXPECT_DATA_ERROR("b.npy: cannot open the file", open_token_shards(directory_ / "data"));

  std::filesystem::create_directory(directory_ / "packed");
  write("packed/._x.bin", good);
  write("packed/train.bin.gz", "\x1f\x8b\x08");
  EXPECT_DATA_ERROR("found none in it; train.bin.gz is a file packed by gzip; unpack it first",
                    open_token_shards(directory_ / "packed"));
}

TEST_F(TokenShards, ADirectoryIsMeantLiterallyWhereItExists) {
  for (const char* name : {"data[1]", "data1"}) std::filesystem::create_directory(directory_ / name);
  write("data[1]/train_0.npy", npy<std::uint8_t>("|u1", "(1,)", {7}));
  write("data1/train_0.npy", npy<std::uint8_t>("|u1", "(1,)", {8}));
  EXPECT_EQ(all_tokens(open_token_shards(directory_ / "data[1]/train_*.npy").front()), Ids{7});
  std::filesystem::remove_all(directory_ / "data[1]");
  EXPECT_EQ(all_tokens(open_token_shards(directory_ / "data[1]/train_*.npy").front()), Ids{8});
}

TEST_F(TokenShards, DataThatMayNotBeReadAreSaidToBe) {
  std::filesystem::create_directory(directory_ / "closed");
  write("closed/a.npy", npy<std::uint8_t>("|u1", "(1,)", {1}));
  std::filesystem::permissions(directory_.path(), std::filesystem::perms(0755));
  std::filesystem::permissions(directory_ / "closed", std::filesystem::perms(0000));
  const std::string words = "found no permission to look into " + (directory_ / "closed").string();
  const testing::Unprivileged nobody;
  EXPECT_DATA_ERROR(words, open_token_shards(directory_ / "closed/a.npy"));
  EXPECT_DATA_ERROR(words, open_token_shards(directory_ / "closed/*.npy"));
  EXPECT_DATA_ERROR("cannot list the directory", open_token_shards(directory_ / "closed"));
}

TEST_F(TokenShards, AnotherFormatIsNamed) {
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4096\n";
  expect_rejected("x.bin", pointer,
                  "it is a Git LFS pointer in place of a file of 4 KiB; run `git lfs pull`");
  expect_rejected("x.npy", pointer, "it is a Git LFS pointer");
  expect_rejected("x.parquet", "PAR1", "found '.parquet', a parquet file; tools/prepare_tokens makes");
  expect_rejected("x.bin", bytes_of(std::vector<std::uint16_t>(2000, 50256)),
                  "numpy.memmap(sys.argv[1], 'uint16'");
  expect_rejected("x.bin", bytes_of(std::vector<std::uint16_t>{7, 8}), "bare tokens, as nanoGPT writes them");
  expect_rejected("x.npy", npy<std::int64_t>("|O", "(2,)", {1, 2}), "numpy.concatenate");
  expect_rejected("x.npy", npy<std::int64_t>("<U2", "(1,)", {1}), "its elements are text");
  expect_rejected("x.npy", npy<std::int32_t>(">i4", "(1,)", {1}), ".astype('<i4')");
  expect_rejected("x.npy", npy(1, "{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (1,)}", "1234"),
                  "found a structured array");
}

// Lengths below, at and beyond those of vectors, at addresses of every alignment, with the extreme
// everywhere.
template <typename T>
void expect_ranges(const TokenShard& shard, const std::vector<T>& tokens) {
  for (std::int64_t begin = 0; begin < 9; ++begin) {
    for (std::int64_t count = 1; begin + count <= shard.size(); count += 13) {
      const auto first = tokens.begin() + begin;
      const auto [low, high] = std::minmax_element(first, first + count);
      const TokenRange range = shard.range(begin, count);
      ASSERT_EQ(range.smallest, static_cast<std::int64_t>(*low)) << begin << " " << count;
      ASSERT_EQ(range.largest, static_cast<std::int64_t>(*high)) << begin << " " << count;
    }
  }
}

TEST_F(TokenShards, RangesOfEveryIntegerType) {
  const auto check = [&]<typename T>(T, const std::string& descr) {
    for (const std::size_t extreme : {0u, 1u, 63u, 64u, 130u, 256u}) {
      std::vector<T> tokens(257, T{9});
      tokens[extreme] = std::numeric_limits<T>::min();
      tokens[256 - extreme / 2] = static_cast<T>(std::numeric_limits<T>::max() / 2 + 3);
      expect_ranges(TokenShard(write("x.npy", npy(descr, "(257,)", tokens))), tokens);
    }
  };
  check(std::uint8_t{}, "|u1"), check(std::int8_t{}, "|i1");
  check(std::uint16_t{}, "<u2"), check(std::int16_t{}, "<i2");
  check(std::uint32_t{}, "<u4"), check(std::int32_t{}, "<i4");
  check(std::int64_t{}, "<i8");
  const TokenShard huge(write("x.npy", npy<std::uint64_t>("<u8", "(2,)", {5, ~std::uint64_t{0}})));
  EXPECT_EQ(huge.range(0, 2).smallest, 5);
  EXPECT_EQ(huge.range(0, 2).largest, std::numeric_limits<std::int64_t>::max());
  EXPECT_ERROR_AS(UsageError, "found [1, 3)", huge.range(1, 2));
  EXPECT_ERROR_AS(UsageError, "found [0, 0)", huge.range(0, 0));
}

TEST_F(TokenShards, WhatWasScannedIsKnownUntilItChanges) {
  const char* before = std::getenv("XDG_CACHE_HOME");
  const std::string old = before ? before : "";
  ::setenv("XDG_CACHE_HOME", (directory_ / "cache").c_str(), 1);
  const auto path = directory_ / "b.bin";
  const auto write_tokens = [&](std::uint16_t token) {
    write_token_shard(path, std::vector<std::uint16_t>(static_cast<std::size_t>(kTokensAtOnce), token));
    // What changed just now is not kept: the next change might not show in its times.
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  };
  write_tokens(17);
  EXPECT_EQ(bytes_to_scan(TokenShard(path)), 2 * kTokensAtOnce);
  EXPECT_EQ(scan_tokens(TokenShard(path)).largest, 17);
  EXPECT_EQ(bytes_to_scan(TokenShard(path)), 0);
  int asked = 0;  // whether to stop: before anything else, and then as often as something was read
  EXPECT_EQ(scan_tokens(TokenShard(path), [&] { return ++asked == 2; }).largest, 17);
  write_tokens(18);
  EXPECT_EQ(bytes_to_scan(TokenShard(path)), 2 * kTokensAtOnce);
  EXPECT_EQ(scan_tokens(TokenShard(path)).largest, 18);
  before ? ::setenv("XDG_CACHE_HOME", old.c_str(), 1) : ::unsetenv("XDG_CACHE_HOME");
}

TEST_F(TokenShards, ANamedPipeIsNotWaitedFor) {
  ASSERT_EQ(::mkfifo((directory_ / "p.bin").c_str(), 0600), 0);
  EXPECT_ERROR_AS(DataError, "p.bin: expected a regular file, found something else",
                  TokenShard(directory_ / "p.bin"));
}

TEST_F(TokenShards, ScanningGoesOverAllTokens) {
  std::vector<std::uint16_t> tokens(static_cast<std::size_t>(kTokensAtOnce) + 5, 17);
  tokens.back() = 4;
  tokens[2] = 60'000;
  write_token_shard(directory_ / "b.bin", tokens);
  const TokenShard shard(directory_ / "b.bin");
  EXPECT_EQ(shard.bytes(), 2 * (kTokensAtOnce + 5));
  EXPECT_EQ(scan_tokens(shard).smallest, 4);
  EXPECT_EQ(scan_tokens(shard).largest, 60'000);
  EXPECT_THROW(scan_tokens(shard, [] { return true; }), Interrupted);
}

}  // namespace
}  // namespace vpd
