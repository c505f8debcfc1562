// The measures of toy models: the assignment against every permutation, the errors and cosines against cases
// made by hand.

#include "evaluation/ground_truth.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "evaluation/assignment.hpp"
#include "support/device_case.hpp"
#include "vpd/base/error.hpp"

namespace vpd::testing {
namespace {

at::Tensor matrix(std::initializer_list<double> values, std::int64_t columns) {
  return at::tensor(at::ArrayRef<double>(values), at::kDouble).view({-1, columns});
}

/// Every subcomponent of V [n, C].
at::Tensor all_of(const at::Tensor& V) { return at::ones({V.size(1)}, at::kBool); }

double total(const at::Tensor& value, const std::vector<std::int64_t>& columns) {
  double sum = 0.0;
  for (std::size_t r = 0; r < columns.size(); ++r)
    sum += value[static_cast<std::int64_t>(r)][columns[r]].item<double>();
  return sum;
}

double best_of_all_permutations(const at::Tensor& value) {
  std::vector<std::int64_t> columns(static_cast<std::size_t>(value.size(1)));
  std::iota(columns.begin(), columns.end(), 0);
  double best = -1e300;
  do {
    best = std::max(best, total(value, {columns.begin(), columns.begin() + value.size(0)}));
  } while (std::next_permutation(columns.begin(), columns.end()));
  return best;
}

TEST(Assignment, IsTheBestOfAllPermutations) {
  std::uint64_t seed = 0;
  for (const auto& [rows, columns] :
       {std::pair{1, 1}, {1, 5}, {2, 2}, {3, 3}, {3, 6}, {5, 5}, {5, 7}, {7, 7}}) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      at::Tensor value = uniform_values({rows, columns}, ++seed, -2.0, 2.0);
      if (repeat % 2 == 1) value = value.round();  // many ties
      const std::vector<std::int64_t> found = best_assignment(value);
      std::vector<std::int64_t> sorted = found;
      std::sort(sorted.begin(), sorted.end());
      EXPECT_EQ(std::unique(sorted.begin(), sorted.end()), sorted.end()) << "a column was given twice";
      EXPECT_GE(sorted.front(), 0);
      EXPECT_LT(sorted.back(), columns);
      EXPECT_NEAR(total(value, found), best_of_all_permutations(value), 1e-12) << rows << " x " << columns;
    }
  }
}

TEST(Assignment, OfManyRowsFindsAHiddenPermutation) {
  const std::int64_t n = 120, C = 300;
  at::Tensor value = uniform_values({n, C}, 3, 0.0, 0.9);
  std::vector<std::int64_t> hidden;
  for (std::int64_t r = 0; r < n; ++r) {
    hidden.push_back((r * 7 + 11) % C);
    value[r][hidden.back()] = 1.0;
  }
  EXPECT_EQ(best_assignment(value), hidden);
}

TEST(Assignment, RefusesWhatItCannotAssign) {
  EXPECT_THROW(best_assignment(at::zeros({3, 2})), UsageError);
  EXPECT_THROW(best_assignment(at::zeros({3})), UsageError);
  EXPECT_THROW(best_assignment(at::full({2, 2}, std::nan(""))), UsageError);
}

TEST(IdentityError, CountsDepartures) {
  // A permuted identity: columns 2, 0, 3.
  const at::Tensor perfect = matrix({0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1}, 4);
  EXPECT_EQ(identity_error(perfect, 0.1), 0);
  at::Tensor g = perfect.clone();
  g[0][1] = 0.1;  // not above the tolerance
  g[1][0] = 0.9;  // not below 1 - tolerance
  EXPECT_EQ(identity_error(g, 0.1), 0);
  g[0][1] = 0.11;
  EXPECT_EQ(identity_error(g, 0.1), 1);
  g[1][0] = 0.85;
  EXPECT_EQ(identity_error(g, 0.1), 2);
  EXPECT_EQ(identity_error(g, 0.2), 0);
  g[2][3] = 0.0;  // a feature without a subcomponent
  EXPECT_EQ(identity_error(g, 0.1), 3);
  // Two features in one subcomponent: one of them has no other, and its entry is off the diagonal.
  EXPECT_EQ(identity_error(matrix({1, 0, 1, 0}, 2), 0.1), 2);
  EXPECT_EQ(identity_error(at::ones({3, 5}), 0.1), 12);
  EXPECT_EQ(identity_error(at::zeros({3, 5}), 0.1), 3);
}

// Taking each row's largest entry in turn would leave the last row an entry of 0.
TEST(IdentityError, TakesTheBestAssignmentNotTheFirst) {
  EXPECT_EQ(identity_error(matrix({1.0, 0.95, 1.0, 0.0}, 2), 0.1), 1);
}

TEST(DenseError, CountsColumns) {
  //                                 0    1    2     3
  const at::Tensor g = matrix({1.0, 0.5, 0.0, 0.05, 0.3, 0.95, 0.0, 0.1}, 4);
  EXPECT_EQ(dense_error(g, 2, 0.1), 0);
  EXPECT_EQ(dense_error(g, 1, 0.1), 1) << "column 1 (the heavier) stays, column 0 is one too many";
  EXPECT_EQ(dense_error(g, 3, 0.1), 1) << "the third heaviest is not strong";
  EXPECT_EQ(dense_error(g, 4, 0.1), 2);
  EXPECT_EQ(dense_error(g, 2, 0.02), 2)
      << "column 1 is not strong enough, and column 3 counts once for two entries";
  EXPECT_THROW(dense_error(g, 5, 0.1), UsageError);
}

TEST(BestMatch, OfSubcomponentsThatAreTheColumns) {
  const at::Tensor W = uniform_values({3, 5}, 1);
  // Column j as subcomponent 6 - j, once with the opposite signs of U and V, in a dictionary with a dead one.
  at::Tensor V = at::zeros({5, 7}, at::kDouble), U = at::zeros({7, 3}, at::kDouble);
  for (std::int64_t j = 0; j < 5; ++j) {
    V[j][6 - j] = j == 2 ? -2.0 : 2.0;
    U[6 - j] = W.select(1, j) * (j == 2 ? -0.5 : 0.5);
  }
  for (const bool whole : {false, true}) {
    EXPECT_NEAR(best_match(W, V, U, all_of(V), whole).cosine, 1.0, 1e-12);
    EXPECT_NEAR(best_match(W, V, U, all_of(V), whole).ratio, 1.0, 1e-12);
    EXPECT_NEAR(best_match(W, V * 1.5, U, all_of(V), whole).ratio, 1.5, 1e-12);
    EXPECT_NEAR(best_match(W, -V, U, all_of(V), whole).cosine, 0.0, 1e-12) << "the product's sign counts";
  }
}

// One feature of length 5, one of length 1; a subcomponent that holds both. SPD looks at each column alone,
// where it points exactly right; as a whole it is off.
TEST(BestMatch, WholeMatricesSeeWhatElseASubcomponentHolds) {
  const at::Tensor W = matrix({3, 1, 4, 0}, 2), V = matrix({1.0, 0.0, 0.75, 1.0}, 2),
                   U = matrix({3, 4, 1, 0}, 2);
  const BestMatch columns = best_match(W, V, U, all_of(V), false);
  EXPECT_NEAR(columns.cosine, 1.0, 1e-12);
  EXPECT_NEAR(columns.ratio, 1.0, 1e-12);
  const BestMatch whole = best_match(W, V, U, all_of(V), true);
  EXPECT_NEAR(whole.cosine, (0.8 + 1.0) / 2, 1e-12);  // 1 / sqrt(1 + 0.75²) = 0.8
  EXPECT_NEAR(whole.ratio, (1.25 + 1.0) / 2, 1e-12);
}

// The second subcomponent points where the feature does, a hundredth as long, and nothing needs it.
TEST(BestMatch, WhatNothingNeedsIsPassedOver) {
  const at::Tensor W = matrix({3, 4}, 1), V = matrix({1.0, 0.01, 0.0}, 3),
                   U = matrix({3.1, 3.9, 3, 4, 0, 9}, 2);
  EXPECT_NEAR(best_match(W, V, U, all_of(V), false).ratio, 0.01, 1e-12);
  const BestMatch match = best_match(W, V, U, at::tensor({1, 0, 1}).to(at::kBool), false);
  EXPECT_NEAR(match.cosine, (3 * 3.1 + 4 * 3.9) / (5 * std::hypot(3.1, 3.9)), 1e-12);
  EXPECT_NEAR(match.ratio, std::hypot(3.1, 3.9) / 5, 1e-12);
  EXPECT_EQ(best_match(W, V, U, at::zeros({3}, at::kBool), false).ratio, 0.0);
}

TEST(BestMatch, WithoutAnythingIsNothing) {
  const BestMatch match =
      best_match(at::ones({2, 3}), at::zeros({3, 4}), at::zeros({4, 2}), at::ones({4}, at::kBool), false);
  EXPECT_EQ(match.cosine, 0.0);
  EXPECT_EQ(match.ratio, 0.0);
}

}  // namespace
}  // namespace vpd::testing
