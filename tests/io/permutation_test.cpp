#include "vpd/io/permutation.hpp"

#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "vpd/base/error.hpp"

namespace vpd {
namespace {

std::vector<std::int64_t> all_of(std::int64_t size, std::uint64_t seed, std::uint64_t stream) {
  const Permutation permutation(size, seed, stream);
  std::vector<std::int64_t> values;
  for (std::int64_t i = 0; i < size; ++i) values.push_back(permutation(i));
  return values;
}

TEST(Permutation, IsABijection) {
  for (const std::int64_t size : {1, 2, 3, 4, 5, 7, 16, 17, 64, 65, 1000, 4097}) {
    for (const std::uint64_t stream : {0, 1, 2}) {
      const std::vector<std::int64_t> values = all_of(size, 7, stream);
      const std::set<std::int64_t> distinct(values.begin(), values.end());
      EXPECT_EQ(static_cast<std::int64_t>(distinct.size()), size);
      EXPECT_EQ(*distinct.begin(), 0);
      EXPECT_EQ(*distinct.rbegin(), size - 1);
    }
  }
}

TEST(Permutation, DependsOnSeedAndStreamAlone) {
  EXPECT_EQ(all_of(1000, 1, 2), all_of(1000, 1, 2));
  EXPECT_NE(all_of(1000, 1, 2), all_of(1000, 1, 3));
  EXPECT_NE(all_of(1000, 1, 2), all_of(1000, 2, 2));
  EXPECT_NE(all_of(1000, 1, 2), all_of(1000, 2, 1));
}

// Two random permutations agree in one place on average, whatever their size; 12 or more is a chance of about
// 1e-9.
TEST(Permutation, IsCloseToNoOther) {
  const std::int64_t size = 10'000;
  std::vector<std::vector<std::int64_t>> permutations(1);
  for (std::int64_t i = 0; i < size; ++i) permutations[0].push_back(i);
  for (const std::uint64_t stream : {0, 1, 2, 3}) permutations.push_back(all_of(size, 0, stream));
  for (std::size_t a = 0; a < permutations.size(); ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      int agreements = 0;
      for (std::size_t i = 0; i < permutations[a].size(); ++i)
        agreements += permutations[a][i] == permutations[b][i];
      EXPECT_LT(agreements, 12) << a << " and " << b;
    }
  }
}

// Where element 0 lands over many streams must be uniform: chi-squared with 9 degrees of freedom, beyond 45
// at 1e-6.
TEST(Permutation, SpreadsOverSmallSizesEvenly) {
  const int streams = 10'000;
  std::vector<double> counts(10);
  for (int stream = 0; stream < streams; ++stream) {
    counts[static_cast<std::size_t>(Permutation(10, 3, static_cast<std::uint64_t>(stream))(0))] += 1;
  }
  double chi_squared = 0;
  for (const double count : counts) chi_squared += (count - 1000) * (count - 1000) / 1000;
  EXPECT_LT(chi_squared, 45);
}

TEST(Permutation, WorksAtTheLargestSizes) {
  const std::int64_t size = std::int64_t{1} << 62;
  const Permutation permutation(size, 0, 0);
  std::set<std::int64_t> values;
  for (std::int64_t i = 0; i < 1000; ++i) {
    const std::int64_t value = permutation(size - 1 - i);
    EXPECT_GE(value, 0);
    EXPECT_LT(value, size);
    values.insert(value);
  }
  EXPECT_EQ(values.size(), 1000u);
}

TEST(Permutation, RefusesWhatIsOutside) {
  EXPECT_THROW(Permutation(0, 0, 0), UsageError);
  EXPECT_THROW(Permutation(5, 0, 0)(5), UsageError);
  EXPECT_THROW(Permutation(5, 0, 0)(-1), UsageError);
}

}  // namespace
}  // namespace vpd
