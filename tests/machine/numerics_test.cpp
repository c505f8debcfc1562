#include "vpd/machine/numerics.hpp"

#include <ATen/Context.h>
#include <gtest/gtest.h>

namespace vpd::testing {
namespace {

class LibTorchSettings : public ::testing::Test {
 protected:
  void TearDown() override { resolve_numerics("cpu", Precision::fp32); }
};

TEST_F(LibTorchSettings, BFloat16ProductsAreAddedInFloat32) {
  at::globalContext().setAllowBF16ReductionCuBLAS(true);
  resolve_numerics("cpu", Precision::bf16);
  EXPECT_EQ(at::globalContext().allowBF16ReductionCuBLAS(),
            at::CuBLASReductionOption::DisallowReducedPrecisionAllowSplitK);
}

TEST_F(LibTorchSettings, AttentionIsNotCuDnns) {
  at::globalContext().setSDPUseCuDNN(true);
  resolve_numerics("cpu", Precision::fp32);
  EXPECT_FALSE(at::globalContext().userEnabledCuDNNSDP());
  EXPECT_TRUE(at::globalContext().userEnabledFlashSDP());
}

TEST_F(LibTorchSettings, Tf32ProductsAreThereWhereTheyAreAskedFor) {
  resolve_numerics("cpu", Precision::tf32);
  EXPECT_TRUE(at::globalContext().allowTF32CuBLAS());
  resolve_numerics("cpu", Precision::bf16);
  EXPECT_FALSE(at::globalContext().allowTF32CuBLAS());
}

}  // namespace
}  // namespace vpd::testing
