#include "support/device_case.hpp"

#include <ATen/ATen.h>

namespace vpd::testing {
namespace {

TEST(DeviceCases, AreTheSameOnBothDevices) {
  const auto cases = device_cases({at::kFloat, at::kBFloat16});
  ASSERT_EQ(cases.size(), 4u);
  EXPECT_EQ(device_case_name({cases[0], 0}), "cpu_float32");
  EXPECT_EQ(device_case_name({cases[3], 3}), "cuda_bfloat16");
}

TEST(UniformValues, DependOnTheSeedAlone) {
  const at::Tensor x = uniform_values({5, 7}, 3, -2.0, 5.0);
  EXPECT_TRUE(at::equal(x, uniform_values({5, 7}, 3, -2.0, 5.0)));
  EXPECT_FALSE(at::equal(x, uniform_values({5, 7}, 4, -2.0, 5.0)));
  EXPECT_GE(x.min().item<double>(), -2.0);
  EXPECT_LT(x.max().item<double>(), 5.0);
  EXPECT_GT(x.max().item<double>() - x.min().item<double>(), 3.5);
}

TEST(ColumnSlice, TellsWhetherItsSurroundingsWereWritten) {
  const at::Tensor x = uniform_values({3, 4}, 1);
  at::Tensor slice = column_slice(x);
  EXPECT_TRUE(at::equal(slice, x));
  EXPECT_NE(slice.stride(0), slice.size(1));
  EXPECT_TRUE(surroundings_are_untouched(slice));
  slice.as_strided({1}, {1}, slice.storage_offset() + 4).fill_(0.0);
  EXPECT_FALSE(surroundings_are_untouched(slice));
}

}  // namespace
}  // namespace vpd::testing
