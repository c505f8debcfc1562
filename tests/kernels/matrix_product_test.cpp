#include "vpd/kernels/matrix_product.hpp"

#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "errors.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

/// Ways in which a matrix can lie in memory.
struct Layout {
  const char* name;
  std::function<at::Tensor(const at::Tensor&)> make;
};
const std::vector<Layout> layouts = {
    {"plain", [](const at::Tensor& x) { return x; }},
    {"transposed", [](const at::Tensor& x) { return x.t().contiguous().t(); }},
    {"slice", [](const at::Tensor& x) { return column_slice(x); }},
    {"transposed slice", [](const at::Tensor& x) { return column_slice(x.t()).t(); }},
    {"every other column",
     [](const at::Tensor& x) {
       return at::stack({x, x + 1}, 2).select(2, 0);
     }},
};

class MatrixProductTest : public DeviceTest {
 protected:
  /// Products are at most 1; bfloat16 products may round partial sums as well.
  Tolerance tolerance(std::int64_t K) const {
    const auto k = static_cast<double>(K);
    if (dtype() == at::kBFloat16) return {epsilon(dtype()), 2 * epsilon(dtype()) * std::sqrt(k)};
    return rounding(dtype(), 4 + k, 1.0);
  }
};

TEST_P(MatrixProductTest, MultipliesAllLayouts) {
  for (const auto& [M, K, N] : {std::array<std::int64_t, 3>{1, 1, 1},
                                {1, 5, 1},
                                {1, 7, 3},
                                {3, 1, 5},
                                {5, 7, 1},
                                {2, 3, 4},
                                {17, 31, 13},
                                {64, 48, 80},
                                {9, 24, 512}}) {  // rows of 2 KiB, which have a way of their own
    for (const Layout& left : layouts) {
      for (const Layout& right : layouts) {
        SCOPED_TRACE(::testing::Message()
                     << M << " x " << K << " x " << N << ", " << left.name << " times " << right.name);
        const at::Tensor a = left.make(real(uniform_values({M, K}, 1))),
                         b = right.make(real(uniform_values({K, N}, 2)));
        const at::Tensor expected = at::mm(exact(a), exact(b));
        expect_close(matrix_product(a, b), expected.to(dtype()), tolerance(K), "product");

        const at::Tensor before = real(uniform_values({M, N}, 3)), sum = column_slice(before);
        matrix_product_into(sum, a, b, /*accumulate=*/true);
        expect_close(sum, (expected + exact(before)).to(dtype()), tolerance(K), "sum");
        EXPECT_TRUE(surroundings_are_untouched(sum));

        // What was in the output must not matter, be it NaN.
        const at::Tensor out = column_slice(at::full_like(before, std::numeric_limits<double>::quiet_NaN()));
        matrix_product_into(out, a, b, /*accumulate=*/false);
        expect_close(out, expected.to(dtype()), tolerance(K), "overwritten");
        EXPECT_TRUE(surroundings_are_untouched(out));
      }
    }
  }
}

TEST_P(MatrixProductTest, AddsNarrowProductsToWiderSums) {
  if (dtype() != at::kBFloat16) GTEST_SKIP() << "only bfloat16 has a wider type beside it";
  const at::Tensor a = real(uniform_values({5, 33}, 1)), b = real(uniform_values({33, 7}, 2));
  const at::Tensor before = broad(uniform_values({5, 7}, 3));
  const at::Tensor expected = at::mm(exact(a), exact(b));
  const at::Tensor out = before.clone();
  matrix_product_into(out, a, b, /*accumulate=*/true);
  expect_close(out, (expected + exact(before)).to(at::kFloat), tolerance(33), "sum");
  matrix_product_into(out, a, b, /*accumulate=*/false);
  expect_close(out, expected.to(at::kFloat), tolerance(33), "product");
}

// Sums that all but cancel: their error is that of float32 sums and of one rounding, never a unit of the
// product's or the bias's own grid.
TEST_P(MatrixProductTest, ABiasIsAddedBeforeTheRounding) {
  const std::int64_t M = 9, K = 33, N = 12;
  const at::Tensor a = real(uniform_values({M, K}, 1)), b = real(uniform_values({K, N}, 2));
  const at::Tensor product = at::mm(exact(a), exact(b)), bias = real(-product.mean(0));
  const at::Tensor each = real(-product);  // the nearest in dtype(): nothing is left but what was rounded off
  const Tolerance once{epsilon(dtype()), 8 * static_cast<double>(K) * epsilon(wide())};
  expect_close(matrix_product(a, b, bias), (product + exact(bias)).to(dtype()), once, "plus a row");
  expect_close(matrix_product(a, b, each), (product + exact(each)).to(dtype()), once, "plus a matrix");
  const auto batch = [](const at::Tensor& x) { return x.unsqueeze(0).expand({2, -1, -1}); };
  const at::Tensor column = real(-product.mean(1, true)).unsqueeze(0);
  expect_close(batched_product(batch(a), batch(b), column), batch(product + exact(column[0])).to(dtype()),
               once, "plus a column, batched");
  expect_close(batched_product(batch(a), batch(b), batch(each)), batch(product + exact(each)).to(dtype()),
               once, "plus a matrix, batched");
}

TEST_P(MatrixProductTest, EmptyMatricesHaveEmptyOrZeroProducts) {
  EXPECT_EQ(matrix_product(real(at::zeros({0, 3})), real(at::zeros({3, 2}))).sizes(),
            at::IntArrayRef({0, 2}));
  expect_identical(matrix_product(real(at::zeros({2, 0})), real(at::zeros({0, 3}))), real(at::zeros({2, 3})),
                   "product");
  const at::Tensor out = real(at::ones({2, 3}));
  matrix_product_into(out, real(at::zeros({2, 0})), real(at::zeros({0, 3})), /*accumulate=*/true);
  expect_identical(out, real(at::ones({2, 3})), "sum");
}

TEST_P(MatrixProductTest, RowsStartOnSixteenBytesHoweverOdd) {
  for (const std::int64_t N : {1, 7, 8, 33}) {
    const at::Tensor out = empty_rows(3, N, real(at::zeros({0})).options());
    EXPECT_EQ(out.sizes(), at::IntArrayRef({3, N}));
    EXPECT_EQ(out.stride(1), 1);
    const std::int64_t bytes = out.stride(0) * static_cast<std::int64_t>(out.element_size());
    EXPECT_EQ(bytes % 16, 0);
    EXPECT_LT(bytes - N * static_cast<std::int64_t>(out.element_size()), 16);
    const at::Tensor a = real(uniform_values({3, 5}, 1)), b = real(uniform_values({5, N}, 2));
    matrix_product_into(out, a, b, /*accumulate=*/false);
    expect_close(out, at::mm(exact(a), exact(b)).to(dtype()), tolerance(5), "product");
  }
}

TEST_P(MatrixProductTest, BatchedProductsAreProductsOneByOne) {
  const at::Tensor a = real(uniform_values({3, 5, 7}, 1)),
                   b = real(uniform_values({3, 11, 7}, 2)).transpose(1, 2);
  const at::Tensor expected = at::bmm(exact(a), exact(b)), before = broad(uniform_values({3, 5, 11}, 3));
  expect_close(batched_product(a, b), expected.to(dtype()), tolerance(7), "product");
  const at::Tensor wider = at::full({3, 6, 11}, std::numeric_limits<double>::quiet_NaN(), before.options());
  const at::Tensor out = wider.narrow(1, 0, 5);
  batched_product_into(out, a, b, /*accumulate=*/false);
  expect_close(out, expected.to(wide()), tolerance(7), "overwritten");
  out.copy_(before);
  batched_product_into(out, a, b, /*accumulate=*/true);
  expect_close(out, (expected + exact(before)).to(wide()), tolerance(7), "sum");
  EXPECT_TRUE(at::isnan(wider.narrow(1, 5, 1)).all().item<bool>());
}

TEST_P(MatrixProductTest, BatchedProductsSayWhatIsWrong) {
  const at::Tensor a = real(at::zeros({4, 2, 3})), b = real(at::zeros({4, 3, 5}));
  expect_usage_error([&] { batched_product(a, a); }, "found [4, 2, 3] [4, 2, 3] into [4, 2, 3]");
  expect_usage_error([&] { batched_product(a, b[0]); }, "found [4, 2, 3] and [3, 5]");
  expect_usage_error([&] { batched_product(a, b.narrow(0, 0, 3)); }, "into [4, 2, 5]");
  expect_usage_error([&] { batched_product_into(b, a, b, false); }, "into [4, 3, 5]");
  expect_usage_error([&] { batched_product(a, b.to(at::kHalf)); }, "factors of one dtype");
}

TEST_P(MatrixProductTest, SaysWhatIsWrong) {
  const at::Tensor a = real(at::zeros({2, 3})), b = real(at::zeros({3, 4}));
  expect_usage_error([&] { matrix_product(a, a); }, "found [2, 3] [2, 3] into [2, 3]");
  expect_usage_error([&] { matrix_product(a, b.select(1, 0)); }, "two matrices, found [2, 3] and [3]");
  expect_usage_error([&] { matrix_product_into(real(at::zeros({2, 3})), a, b, false); }, "into [2, 3]");
  expect_usage_error([&] { matrix_product_into(real(at::zeros({8})), a, b, false); }, "into [8]");
  expect_usage_error([&] { matrix_product(a, b.to(at::kHalf)); }, "factors of one dtype");
  expect_usage_error([&] { matrix_product(a, b, at::zeros({4}, at::kHalf)); }, "bias of the factors' dtype");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, MatrixProductTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble, at::kBFloat16})),
                         device_case_name);

}  // namespace
}  // namespace vpd
