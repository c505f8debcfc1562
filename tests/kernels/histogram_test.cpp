#include "vpd/kernels/histogram.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "errors.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

const std::vector<std::pair<std::int64_t, std::int64_t>> histogram_shapes = {
    {1, 1}, {1, 7}, {3, 4}, {5, 13}, {65, 8}, {131, 67}, {2, 1030}};

class HistogramTest : public DeviceTest {
 protected:
  /// Importances as they are: most of them 0, some 1, and others between.
  at::Tensor importances(std::int64_t N, std::int64_t C, std::uint64_t seed) const {
    return real(uniform_values({N, C}, seed, -2.0, 1.5).clamp(0.0, 1.0));
  }
  at::Tensor counts(const HistogramBins& bins, std::int64_t C) const {
    return at::zeros({bins.rows(), C}, at::TensorOptions().dtype(at::kLong).device(device()));
  }
  /// Value by value, in double precision; only the product that picks a bin is in the values' own type.
  at::Tensor plainly(const at::Tensor& x, const HistogramBins& bins) const {
    const at::Tensor on_cpu = x.cpu(), wide = on_cpu.to(at::kDouble),
                     product = (on_cpu * static_cast<double>(bins.bins)).to(at::kDouble);
    const at::Tensor expected = at::zeros({bins.rows(), x.size(1)}, at::kLong);
    auto out = expected.accessor<std::int64_t, 2>();
    const auto value = wide.accessor<double, 2>(), scaled = product.accessor<double, 2>();
    const double threshold = dtype() == at::kFloat ? static_cast<float>(bins.threshold) : bins.threshold;
    for (std::int64_t n = 0; n < x.size(0); ++n) {
      for (std::int64_t c = 0; c < x.size(1); ++c) {
        const auto bin = static_cast<std::int64_t>(std::ceil(scaled[n][c]));
        ++out[value[n][c] > 0.0 ? std::min(bin, bins.bins) : 0][c];
        out[bins.bins + 1][c] += value[n][c] > threshold;
      }
    }
    return expected;
  }
};

TEST_P(HistogramTest, CountsEachColumn) {
  for (const auto& [N, C] : histogram_shapes) {
    for (const HistogramBins& bins : {HistogramBins{}, HistogramBins{1, 0.0}, HistogramBins{64, 0.5}}) {
      for (const bool strided : {false, true}) {
        SCOPED_TRACE(::testing::Message() << N << " x " << C << ", " << bins.bins << " bins");
        const at::Tensor plain = importances(N, C, 1), x = strided ? column_slice(plain) : plain;
        const at::Tensor found = counts(bins, C);
        add_column_histogram(x, bins, found);
        expect_identical(found.cpu(), plainly(x, bins), "counts");
      }
    }
  }
}

TEST_P(HistogramTest, AddsToWhatWasCounted) {
  const HistogramBins bins;
  const at::Tensor found = counts(bins, 13), first = importances(65, 13, 1), second = importances(3, 13, 2);
  add_column_histogram(first, bins, found);
  add_column_histogram(second, bins, found);
  add_column_histogram(second.narrow(0, 0, 0), bins, found);
  expect_identical(found.cpu(), plainly(first, bins) + plainly(second, bins), "counts");
  EXPECT_EQ(found.narrow(0, 0, bins.bins + 1).sum().item<std::int64_t>(), 68 * 13);
}

TEST_P(HistogramTest, EdgesBelongToTheBinBelow) {
  // Exact in both types.
  const at::Tensor x = real(at::tensor({0.0, 0.25, 0.26, 0.5, 0.75, 1.0, 1e-30}, at::kDouble).view({7, 1}));
  const HistogramBins bins{4, 0.5};
  const at::Tensor found = counts(bins, 1);
  add_column_histogram(x, bins, found);
  expect_identical(found.cpu(), at::tensor({1, 2, 2, 1, 1, 2}, at::kLong).view({6, 1}), "counts");
}

TEST_P(HistogramTest, WhatIsNoImportanceIsHeldInBounds) {
  const double nan = std::numeric_limits<double>::quiet_NaN(),
               infinity = std::numeric_limits<double>::infinity();
  const at::Tensor x = real(at::tensor({nan, -1.0, -infinity, 2.0, infinity}, at::kDouble).view({5, 1}));
  const HistogramBins bins{2, 0.5};
  const at::Tensor found = counts(bins, 1);
  add_column_histogram(x, bins, found);
  expect_identical(found.cpu(), at::tensor({3, 0, 2, 2}, at::kLong).view({4, 1}), "counts");
}

TEST_P(HistogramTest, SaysWhatIsWrong) {
  const at::Tensor x = importances(3, 4, 1);
  const HistogramBins bins;
  expect_usage_error([&] { add_column_histogram(x.to(at::kBFloat16), bins, counts(bins, 4)); },
                     "expected float32 or float64 values, found BFloat16");
  expect_usage_error([&] { add_column_histogram(x.t(), bins, counts(bins, 3)); },
                     "histogram: values: expected");
  expect_usage_error(
      [&] {
        add_column_histogram(x, {0, 0.1}, counts({0, 0.1}, 4));
      },
      "1 to 64 bins, found 0");
  expect_usage_error(
      [&] {
        add_column_histogram(x, {65, 0.1}, counts({65, 0.1}, 4));
      },
      "1 to 64 bins, found 65");
  expect_usage_error([&] { add_column_histogram(x, bins, counts(bins, 5)); }, "int64 counts [22, 4]");
  expect_usage_error([&] { add_column_histogram(x, bins, counts(bins, 4).to(at::kInt)); }, "int64 counts");
  expect_usage_error([&] { add_column_histogram(x, bins, counts(bins, 8).narrow(1, 0, 4)); },
                     "contiguous int64");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, HistogramTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble})), device_case_name);

}  // namespace
}  // namespace vpd
