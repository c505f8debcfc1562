// Rows of the toy models: their moments, that a row depends on nothing but seed, role and number, and that
// data fit their target.

#include "vpd/io/synthetic.hpp"

#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/support.hpp"
#include "support/expect_close.hpp"
#include "vpd/base/error.hpp"
#include "vpd/io/data.hpp"

namespace vpd::testing {
namespace {

const SparseFeaturesData sparse{.probability = 0.05, .range = {-1.0, 3.0}};
const InductionData induction{.sequence_length = 11};

SparseFeatures features(std::uint64_t seed = 0, DataRole role = DataRole::train, std::int64_t n = 7,
                        const SparseFeaturesData& config = sparse) {
  return {config, n, seed, role};
}

InductionRows rows(std::uint64_t seed = 0, DataRole role = DataRole::train) {
  return {induction, 9, seed, role};
}

TEST(SparseFeatures, HaveTheMomentsOfTheirDistribution) {
  const std::int64_t N = 40000;
  const at::Tensor x = features().batch(0, N);
  EXPECT_EQ(x.scalar_type(), at::kFloat);
  EXPECT_EQ(x.sizes(), (std::vector<std::int64_t>{N, 7}));
  const at::Tensor active = x.ne(0);
  for (std::int64_t i = 0; i < 7; ++i) {
    // of a binomial count, five standard deviations
    const double share = active.select(1, i).to(at::kDouble).mean().item<double>();
    EXPECT_NEAR(share, 0.05, 5 * std::sqrt(0.05 * 0.95 / N)) << "feature " << i;
    const at::Tensor values = x.select(1, i).masked_select(active.select(1, i)).to(at::kDouble);
    const double count = static_cast<double>(values.numel());
    EXPECT_NEAR(values.mean().item<double>(), 1.0, 5 * 4.0 / std::sqrt(12.0 * count)) << "feature " << i;
    EXPECT_NEAR(values.var().item<double>(), 16.0 / 12.0, 0.15) << "feature " << i;
    EXPECT_GE(values.min().item<double>(), -1.0);
    EXPECT_LT(values.max().item<double>(), 3.0);
  }
  // Features are active by themselves: two of them together as often as chance has it.
  const double both = (active.select(1, 0) * active.select(1, 1)).to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(both, 0.0025, 5 * std::sqrt(0.0025 / N));
}

TEST(SparseFeatures, WithAFixedNumberOfActiveOnes) {
  for (const auto& [value, name] : config_names(Generation{})) {
    const std::int64_t k = active_features(value);
    if (k == 0) continue;
    const std::int64_t N = 20000, n = 6;
    const at::Tensor x =
        features(0, DataRole::train, n, {.range = {0.5, 1.0}, .generation = value}).batch(0, N);
    EXPECT_TRUE(x.ne(0).sum(1).eq(k).all().item<bool>()) << name;
    const double share = static_cast<double>(k) / static_cast<double>(n);
    for (std::int64_t i = 0; i < n; ++i) {
      EXPECT_NEAR(x.select(1, i).ne(0).to(at::kDouble).mean().item<double>(), share,
                  5 * std::sqrt(share * (1 - share) / static_cast<double>(N)))
          << name << ", feature " << i;
    }
    EXPECT_GE(x.masked_select(x.ne(0)).min().item<double>(), 0.5);
  }
  EXPECT_THROW(features(0, DataRole::train, 4, {.generation = Generation::exactly_five_active}), UsageError);
}

template <class Make>
void expect_pure(const Make& make) {
  const auto data = make(3, DataRole::train);
  const at::Tensor whole = data.batch(0, 40);
  expect_identical(make(3, DataRole::train).batch(0, 40), whole, "the same seed");
  for (const std::int64_t at : {0, 1, 17, 39})
    expect_identical(data.batch(at, 1), whole.narrow(0, at, 1), "row " + std::to_string(at) + " alone");
  const std::int64_t far = std::int64_t{1} << 40;
  expect_identical(data.batch(far, 5).narrow(0, 2, 3), data.batch(far + 2, 3), "rows far out");
  EXPECT_FALSE(data.batch(far, 40).equal(whole)) << "the high half of a row's number counts";
  EXPECT_FALSE(make(4, DataRole::train).batch(0, 40).equal(whole)) << "another seed";
  EXPECT_FALSE(make(3, DataRole::eval).batch(0, 40).equal(whole)) << "the other role";
  EXPECT_FALSE(data.batch(40, 40).equal(whole)) << "rows never come again";
  EXPECT_EQ(data.rows(), std::nullopt);
  EXPECT_THROW(data.batch(-1, 1), UsageError);
  EXPECT_THROW(data.batch(0, 0), UsageError);
}

TEST(SparseFeatures, AreAFunctionOfSeedRoleAndNumber) {
  expect_pure([](std::uint64_t seed, DataRole role) { return features(seed, role); });
  const SparseFeaturesData two{.generation = Generation::exactly_two_active};
  expect_pure([&](std::uint64_t seed, DataRole role) { return features(seed, role, 7, two); });
}

TEST(InductionRows, AreAFunctionOfSeedRoleAndNumber) {
  expect_pure([](std::uint64_t seed, DataRole role) { return rows(seed, role); });
}

TEST(InductionRows, BeginWithBosAndEndWithS) {
  const std::int64_t N = 20000, T = 11;
  const at::Tensor x = rows().batch(0, N);
  EXPECT_EQ(x.scalar_type(), at::kLong);
  EXPECT_EQ(x.sizes(), (std::vector<std::int64_t>{N, T}));
  EXPECT_TRUE(x.select(1, 0).eq(0).all().item<bool>());
  EXPECT_TRUE(x.select(1, T - 1).eq(8).all().item<bool>());
  EXPECT_TRUE(x.eq(8).sum(1).eq(2).all().item<bool>());
  EXPECT_TRUE(x.eq(0).sum(1).eq(1).all().item<bool>());
  // The first S is anywhere from 1 on that leaves room for m before the end.
  for (std::int64_t t = 1; t < T - 1; ++t) {
    const double share = x.select(1, t).eq(8).to(at::kDouble).mean().item<double>();
    const double expected = t <= T - 3 ? 1.0 / (T - 3) : 0.0;
    EXPECT_NEAR(share, expected, 5 * std::sqrt(expected / static_cast<double>(N))) << "position " << t;
  }
  for (std::int64_t token = 1; token < 8; ++token) {
    const double share = x.eq(token).to(at::kDouble).sum().item<double>() / static_cast<double>(N * (T - 3));
    EXPECT_NEAR(share, 1.0 / 7, 5 * std::sqrt(1.0 / 7 / static_cast<double>(N * (T - 3)))) << token;
  }
}

TEST(OpenDataset, RefusesDataOfAnotherKindThanTheTargetReads) {
  const InputShape reads_features{.features = 5}, reads_tokens{.vocabulary = 9, .longest = 16};
  const auto open = [](const DataSource& source, const InputShape& input) {
    return open_dataset(source, input, 0, DataRole::train, "run.yaml: data.train");
  };
  EXPECT_ERROR_AS(ConfigError,
                  "run.yaml: data.train.type: expected sparse_features, since the target reads 5 features, "
                  "found induction",
                  open(induction, reads_features));
  EXPECT_ERROR_AS(ConfigError, "found tokens", open(TokensData{.sequence_length = 3}, reads_features));
  EXPECT_ERROR_AS(ConfigError,
                  "run.yaml: data.train.type: expected tokens, since the target reads token ids below 9, "
                  "found sparse_features",
                  open(sparse, reads_tokens));
  EXPECT_ERROR_AS(ConfigError, "data.train.sequence_length: expected at most 16",
                  open(InductionData{.sequence_length = 17}, reads_tokens));
  EXPECT_ERROR_AS(ConfigError, "at least 3 tokens", open(induction, {.vocabulary = 2, .longest = 16}));
  EXPECT_ERROR_AS(ConfigError, "data.train.generation: expected at most",
                  open(SparseFeaturesData{.generation = Generation::exactly_five_active}, {.features = 4}));
  EXPECT_EQ(open(sparse, reads_features)->kind(), InputKind::features);
  EXPECT_EQ(open(induction, reads_tokens)->kind(), InputKind::tokens);
  EXPECT_EQ(open(induction, reads_tokens)->length(), 11);
  EXPECT_EQ(open(induction, reads_tokens)->describe(), "new rows of 11 tokens");
  EXPECT_EQ(open(sparse, reads_features)->describe(),
            "new rows of 5 features, each active with probability 0.05");
}

}  // namespace
}  // namespace vpd::testing
