#include "vpd/kernels/row_scale.hpp"

#include <ATen/ATen.h>

#include "errors.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

class RowScaleTest : public DeviceTest {};

TEST_P(RowScaleTest, ScalesAndTellsTheProductsBefore) {
  for (const std::int64_t N : {1, 7}) {
    for (const std::int64_t d : {1, 3, 8, 64, 131, 2056}) {
      for (const bool strided : {false, true}) {
        const auto layout = [&](const at::Tensor& x) { return strided ? column_slice(x) : x; };
        const at::Tensor before = real(uniform_values({N, d}, 1)), other = real(uniform_values({N, d}, 2)),
                         scale = broad(uniform_values({N}, 3)), y = layout(before.clone()),
                         alone = layout(before.clone());
        const at::Tensor dots = scale_rows(y, scale, layout(other));
        EXPECT_FALSE(scale_rows(alone, scale).defined());
        const at::Tensor scaled = exact(before) * exact(scale).unsqueeze(1);
        expect_close(y, scaled.to(dtype()), rounding(wide(), 1, 1.0, dtype()), "y");
        expect_identical(alone, y, "y alone");
        expect_close(dots, (exact(before) * exact(other)).sum(1).to(wide()),
                     rounding(wide(), 4 + static_cast<double>(d), 1.0), "dots");
        if (!strided) continue;
        EXPECT_TRUE(surroundings_are_untouched(y));
        EXPECT_TRUE(surroundings_are_untouched(alone));
      }
    }
  }
  EXPECT_EQ(scale_rows(real(at::empty({0, 3})), broad(at::empty({0})), real(at::empty({0, 3}))).numel(), 0);
}

TEST_P(RowScaleTest, SaysWhatIsWrong) {
  const at::Tensor y = real(uniform_values({4, 3}, 1)), scale = broad(uniform_values({4}, 2));
  expect_usage_error([&] { scale_rows(y.t(), scale); }, "scaled rows: expected");
  expect_usage_error([&] { scale_rows(y, scale.narrow(0, 0, 3)); }, "expected 4 contiguous");
  expect_usage_error([&] { scale_rows(y, scale.to(at::kHalf)); }, "found 4 of Half");
  expect_usage_error([&] { scale_rows(y, scale, y.narrow(1, 0, 2)); }, "scaled rows: x: expected");
  expect_usage_error([&] { scale_rows(y, scale, y.to(at::kMeta)); }, "on one device");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, RowScaleTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble, at::kBFloat16})),
                         device_case_name);

}  // namespace
}  // namespace vpd
