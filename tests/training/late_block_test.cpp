#include "vpd/training/late_block.hpp"

#include <cstring>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/device_case.hpp"

namespace vpd {
namespace {

using vpd::testing::cuda_is_usable;

class LateBlockTest : public ::testing::TestWithParam<at::DeviceType> {
 protected:
  void SetUp() override {
    if (GetParam() == at::kCUDA && !cuda_is_usable())
      GTEST_SKIP() << "NOT TESTED: this build or this machine has no CUDA";
  }
  Numerics numerics() const { return {.device = at::Device(GetParam())}; }

  /// What stands at an address of the device's memory.
  template <class T>
  T at_address(const T* address) const {
    const at::Tensor there =
        at::from_blob(const_cast<T*>(address), {1}, at::TensorOptions().dtype(at::kLong).device(GetParam()));
    const at::Tensor here = there.cpu().clone();
    T value;
    std::memcpy(&value, here.const_data_ptr(), sizeof value);
    return value;
  }
};

TEST_P(LateBlockTest, WithoutABlockEverythingIsGivenByValue) {
  LateBlock block(numerics(), 7, /*late=*/false);
  block.begin(3);
  EXPECT_EQ(block.number("rate", 0.25).get(), 0.25);
  EXPECT_EQ(block.number("rate", 0.25).address, nullptr);
  const RandomKey expected = make_key(7, RandomPurpose::routing, 3, 1, 2);
  EXPECT_EQ(block.key(RandomPurpose::routing, 1, 2).value.low, expected.low);
  EXPECT_EQ(block.scalar("count", 4.0).item<float>(), 4.0f);
  block.upload();
}

TEST_P(LateBlockTest, WhatIsKnownIsFoundAtItsAddressInEveryLaterStep) {
  LateBlock block(numerics(), 7, /*late=*/true);
  block.begin(0);
  EXPECT_EQ(block.number("rate", 1.0).address, nullptr);  // new: by value
  EXPECT_EQ(block.key(RandomPurpose::routing, 1, 2).address, nullptr);
  EXPECT_EQ(block.scalar("count", 5.0).item<float>(), 5.0f);
  block.upload();

  const double* rate = nullptr;
  const RandomKey* key = nullptr;
  at::Tensor count;
  for (std::int64_t step = 1; step < 4; ++step) {
    block.begin(step);
    const LateNumber number = block.number("rate", 0.5 + static_cast<double>(step));
    if (step == 1) {  // the addresses of the captured step
      rate = number.address;
      key = block.key(RandomPurpose::routing, 1, 2).address;
      count = block.scalar("count", 5.0 + static_cast<double>(step));
    } else {
      block.scalar("count", 5.0 + static_cast<double>(step));
    }
    block.upload();
    ASSERT_NE(rate, nullptr);
    ASSERT_NE(key, nullptr);
    EXPECT_EQ(number.address, rate);
    EXPECT_EQ(at_address(rate), 0.5 + static_cast<double>(step));
    const RandomKey expected = make_key(7, RandomPurpose::routing, static_cast<std::uint64_t>(step), 1, 2);
    // Nobody asked for the key again: a replayed step does not.
    EXPECT_EQ(at_address(key).low, expected.low);
    EXPECT_EQ(at_address(key).high, expected.high);
    EXPECT_EQ(count.item<float>(), 5.0f + static_cast<float>(step));
  }
}

INSTANTIATE_TEST_SUITE_P(Everywhere, LateBlockTest, ::testing::Values(at::kCPU, at::kCUDA),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace vpd
