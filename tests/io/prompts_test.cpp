#include "vpd/io/prompts.hpp"

#include <fstream>
#include <map>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support.hpp"
#include "support/expect_error.hpp"
#include "vpd/base/error.hpp"

namespace vpd::testing {
namespace {

class PromptFile : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& text) const {
    std::ofstream(directory_ / "prompts.jsonl") << text;
    return directory_ / "prompts.jsonl";
  }
  PromptRows rows(const std::string& text, std::int64_t rows_a_step = 0, std::int64_t longest = 4) const {
    return PromptRows({.path = write(text), .sequence_length = longest}, 10, 0, rows_a_step, "data.train");
  }
  static std::vector<std::int64_t> row(const at::Tensor& batch, std::int64_t i) {
    const at::Tensor one = batch[i].contiguous();
    return {one.const_data_ptr<std::int64_t>(), one.const_data_ptr<std::int64_t>() + one.numel()};
  }

  TemporaryDirectory directory_;
};

const char* const three =
    "{\"tokens\": [5, 6, 7]}\n{\"tokens\": [1, 2], \"target\": 3}\n{\"tokens\": [8, 9, 4]}\n";

TEST_F(PromptFile, EachOnceTheShorterOnesFirst) {
  const PromptRows data = rows(three);
  EXPECT_EQ(data.rows(), 3);
  EXPECT_EQ(data.length(), 3);
  EXPECT_FALSE(data.one_length());
  EXPECT_EQ(data.rows_alike(0), 1);
  EXPECT_EQ(data.rows_alike(1), 2);
  EXPECT_EQ(row(data.batch(0, 1), 0), (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(row(data.batch(1, 2), 0), (std::vector<std::int64_t>{5, 6, 7}));
  EXPECT_EQ(row(data.batch(1, 2), 1), (std::vector<std::int64_t>{8, 9, 4}));
  EXPECT_THROW(data.batch(0, 2), UsageError);
  EXPECT_THROW(data.batch(2, 2), UsageError);
}

TEST_F(PromptFile, AStepHasOneLengthAndItsPromptsInTurn) {
  const std::int64_t B = 5;
  const PromptRows data = rows(three, B);
  std::map<std::vector<std::int64_t>, int> seen;
  int of_two = 0;
  constexpr int steps = 600;
  for (std::int64_t s = 0; s < steps; ++s) {
    const at::Tensor batch = data.batch(s * B, B);
    of_two += batch.size(1) == 2;
    for (std::int64_t i = 0; i < B; ++i) ++seen[row(batch, i)];
    if (batch.size(1) == 3) {
      for (std::int64_t i = 0; i + 1 < B; ++i) EXPECT_NE(row(batch, i), row(batch, i + 1));
    }
    // A part of a step is that part of it.
    EXPECT_TRUE(at::equal(data.batch(s * B + 2, 3), batch.narrow(0, 2, 3)));
  }
  // One prompt of three has two tokens: four standard deviations of 600 draws.
  EXPECT_NEAR(of_two, steps / 3, 4.0 * std::sqrt(steps * 2.0 / 9.0));
  EXPECT_EQ(seen.size(), 3u);
  const double share = static_cast<double>(seen[{5, 6, 7}]) / (seen[{5, 6, 7}] + seen[{8, 9, 4}]);
  EXPECT_NEAR(share, 0.5, 0.03);
  EXPECT_THROW(data.batch(B - 1, 2), UsageError) << "across two steps";
}

TEST_F(PromptFile, LinesThatAreNoPrompts) {
  const auto error_of = [&](const std::string& text) {
    try {
      rows(text);
    } catch (...) {
      return std::current_exception();
    }
    return std::exception_ptr();
  };
  const auto refuses = [&](const std::string& text, const std::string& part) {
    expect_error<DataError>(error_of(text), part, 3);
  };
  refuses("", "expected a prompt a line, found none");
  refuses("[1, 2]\n", "line 1: expected an object");
  refuses("{\"tokens\": [1]}\n{\"tokens\": [1, 12]}\n", "line 2: expected tokens below 10");
  refuses("{\"tokens\": []}\n", "expected a prompt of 1 to 4 tokens");
  refuses("{\"tokens\": [1, 2, 3, 4, 5]}\n", "data.train.sequence_length), found 5");
  refuses("{\"tokens\": [1.5]}\n", "whole numbers");
  refuses("{\"prompt\": 3}\n", "expected text");
  expect_error<ConfigError>(error_of("{\"prompt\": \"text\"}\n"), "tokenizer", 2);
}

}  // namespace
}  // namespace vpd::testing
