#include "vpd/io/tokens.hpp"

#include <numeric>
#include <set>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "support.hpp"
#include "token_files.hpp"

namespace vpd {
namespace {

using testing::npy;
using testing::TemporaryDirectory;

// tokens [N, T] as text, to compare rows whatever their order.
std::multiset<std::vector<std::int64_t>> rows_of(const at::Tensor& tokens) {
  std::multiset<std::vector<std::int64_t>> rows;
  const auto* ids = tokens.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < tokens.size(0); ++i)
    rows.emplace(ids + i * tokens.size(1), ids + (i + 1) * tokens.size(1));
  return rows;
}

class Tokens : public ::testing::Test {
 protected:
  // 0, 1, 2, … in one llm.c shard.
  std::filesystem::path stream(const std::string& name, std::size_t size, std::uint16_t first = 0) {
    std::vector<std::uint16_t> tokens(size);
    std::iota(tokens.begin(), tokens.end(), first);
    write_token_shard(directory_ / name, tokens);
    return directory_ / name;
  }
  std::filesystem::path write(const std::string& name, const std::string& content) {
    write_atomically(directory_ / name, content);
    return directory_ / name;
  }

  TemporaryDirectory directory_;
};

TEST_F(Tokens, StreamIsCutIntoSequencesInOrder) {
  const TokenDataset data(stream("x.bin", 14), 4, false, 0);
  EXPECT_EQ(data.sequences(), 3);
  EXPECT_EQ(data.tokens(), 14);
  const at::Tensor first = data.batch(0, 2);
  EXPECT_EQ(first.scalar_type(), at::kLong);
  EXPECT_TRUE(at::equal(first, at::arange(8, at::kLong).reshape({2, 4})));
  EXPECT_TRUE(at::equal(data.batch(2, 3),
                        at::tensor({8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7}, at::kLong).reshape({3, 4})))
      << "the second epoch begins with the first sequence";
}

TEST_F(Tokens, RowsAreCutToTheSequenceLength) {
  const TokenDataset data(write("x.npy", npy<std::int32_t>("<i4", "(2, 4)", {1, 2, 3, 4, 5, 6, 7, 8})), 3,
                          false, 0);
  EXPECT_EQ(data.sequences(), 2);
  EXPECT_TRUE(at::equal(data.batch(0, 2), at::tensor({1, 2, 3, 5, 6, 7}, at::kLong).reshape({2, 3})));
  EXPECT_DATA_ERROR("expected rows of at least sequence_length = 5 tokens, found rows of 4",
                    TokenDataset(directory_ / "x.npy", 5, false, 0));
}

TEST_F(Tokens, ShardsFollowEachOther) {
  stream("a.bin", 5);       // one sequence of 4
  stream("b.bin", 3, 100);  // none
  stream("c.bin", 9, 200);  // two
  const TokenDataset data(directory_.path(), 4, false, 0);
  EXPECT_EQ(data.sequences(), 3);
  EXPECT_EQ(data.tokens(), 17);
  EXPECT_TRUE(
      at::equal(data.batch(0, 3),
                at::tensor({0, 1, 2, 3, 200, 201, 202, 203, 204, 205, 206, 207}, at::kLong).reshape({3, 4})));
}

TEST_F(Tokens, RowsKnowTheirPlace) {
  std::filesystem::create_directory(directory_ / "shards");
  stream("shards/a.bin", 14);
  stream("shards/b.bin", 23, 100);
  for (const bool shuffle : {false, true}) {
    const TokenDataset data(directory_ / "shards", 4, shuffle, 7);
    for (std::int64_t position = 0; position < 2 * data.sequences(); ++position) {
      const std::optional<RowPlace> place = data.place(position);
      ASSERT_TRUE(place.has_value());
      const TokenShard shard(place->file);
      std::vector<std::int64_t> row(4);
      shard.read(place->begin, row);
      EXPECT_TRUE(at::equal(data.batch(position, 1)[0], at::tensor(row, at::kLong))) << position;
    }
  }
  const TokenDataset rows(write("x.npy", npy<std::int32_t>("<i4", "(2, 4)", {1, 2, 3, 4, 5, 6, 7, 8})), 3,
                          false, 0);
  EXPECT_EQ(rows.place(1)->begin, 4) << "a row is cut, and keeps its place";
}

TEST_F(Tokens, TooFewTokensForOneSequence) {
  stream("x.bin", 7);
  EXPECT_EQ(TokenDataset(directory_ / "x.bin", 7, false, 0).sequences(), 1);
  EXPECT_DATA_ERROR("expected at least one sequence of sequence_length = 8 tokens, found 7 tokens",
                    TokenDataset(directory_ / "x.bin", 8, false, 0));
  EXPECT_ERROR_AS(UsageError, "expected a sequence length of at least 1",
                  TokenDataset(directory_ / "x.bin", 0, false, 0));
}

TEST_F(Tokens, EachEpochIsAShuffleOfItsOwn) {
  const TokenDataset data(stream("x.bin", 400), 4, true, 11);
  const TokenDataset in_order(directory_ / "x.bin", 4, false, 11);
  const auto expected = rows_of(in_order.batch(0, 100));
  std::vector<at::Tensor> epochs{in_order.batch(0, 100)};
  for (std::int64_t epoch = 0; epoch < 4; ++epoch) {
    const at::Tensor tokens = data.batch(epoch * 100, 100);
    EXPECT_EQ(rows_of(tokens), expected) << "every sequence once, epoch " << epoch;
    for (const at::Tensor& other : epochs) EXPECT_FALSE(at::equal(tokens, other)) << epoch;
    epochs.push_back(tokens);
  }
  EXPECT_FALSE(at::equal(TokenDataset(directory_ / "x.bin", 4, true, 12).batch(0, 100), data.batch(0, 100)));
}

TEST_F(Tokens, PositionAloneIsTheState) {
  const auto path = stream("x.bin", 83);
  const at::Tensor whole = TokenDataset(path, 4, true, 5).batch(0, 60);  // three epochs of 20
  std::vector<at::Tensor> pieces;
  for (std::int64_t position = 0; position < 60;) {
    const std::int64_t count = std::min<std::int64_t>(7, 60 - position);
    pieces.push_back(TokenDataset(path, 4, true, 5).batch(position, count));
    position += count;
  }
  EXPECT_TRUE(at::equal(at::cat(pieces), whole));
}

TEST_F(Tokens, IdsOutsideTheVocabularyAreNamed) {
  TokenDataset data(stream("x.bin", 12), 4, false, 0);
  data.require_vocabulary(12);
  data.scan();
  data.require_vocabulary(10);
  EXPECT_TRUE(at::equal(data.batch(0, 2), at::arange(8, at::kLong).reshape({2, 4})));
  const std::string error = "x.bin: expected token ids below the vocabulary size 10, found 10 at position 10";
  EXPECT_DATA_ERROR(error, data.batch(1, 2));
  EXPECT_DATA_ERROR(error, data.scan());
}

TEST_F(Tokens, TheFirstIdOutsideIsFoundFarFromTheStart) {
  std::vector<std::uint16_t> tokens(static_cast<std::size_t>(2 * kTokensAtOnce) + 100, 3);
  const std::size_t first = static_cast<std::size_t>(kTokensAtOnce) + 41;
  tokens[first] = tokens[first + 7] = 50, tokens.back() = 51;
  write_token_shard(directory_ / "a.bin", std::vector<std::uint16_t>(10, 49));
  write_token_shard(directory_ / "b.bin", tokens);
  TokenDataset data(directory_.path(), 4, false, 0);
  EXPECT_EQ(data.bytes_to_scan(), 2 * (10 + 2 * kTokensAtOnce + 100));
  data.require_vocabulary(50);
  EXPECT_DATA_ERROR(
      fmt::format("b.bin: expected token ids below the vocabulary size 50, found 50 at position {}", first),
      data.scan());
  data.require_vocabulary(52);
  data.scan();
}

TEST_F(Tokens, ScanningCanBeStopped) {
  write_token_shard(directory_ / "a.bin",
                    std::vector<std::uint16_t>(static_cast<std::size_t>(3 * kTokensAtOnce), 1));
  const TokenDataset data(directory_.path(), 4, false, 0);
  int asked = 0;
  EXPECT_THROW(data.scan([&] { return ++asked == 2; }), Interrupted);
  EXPECT_EQ(asked, 2);
}

TEST_F(Tokens, NegativeIdsAreNamed) {
  const TokenDataset data(write("x.npy", npy<std::int16_t>("<i2", "(2, 3)", {0, 1, 2, 3, 4, -5})), 2, false,
                          0);
  EXPECT_NO_THROW(data.batch(0, 2)) << "no sequence reaches the third column";
  EXPECT_DATA_ERROR("x.npy: expected token ids of at least 0, found -5 at row 1, column 2", data.scan());
  EXPECT_DATA_ERROR("found -5 at row 1, column 2",
                    TokenDataset(directory_ / "x.npy", 3, false, 0).batch(1, 1));
}

TEST_F(Tokens, NonsensicalRequestsAreRefused) {
  TokenDataset data(stream("x.bin", 8), 4, true, 0);
  EXPECT_THROW(data.batch(-1, 1), UsageError);
  EXPECT_THROW(data.batch(0, 0), UsageError);
  EXPECT_THROW(data.require_vocabulary(0), UsageError);
}

}  // namespace
}  // namespace vpd
