// Part of every program of emulated kernels: that they, and not the CPU's own, were what ran hangs on which
// objects the linker took.

#include <gtest/gtest.h>

#include "support/emulated_cuda.hpp"

namespace {

class Canary final : public ::testing::Environment {
 public:
  void TearDown() override {
    const auto* all = ::testing::UnitTest::GetInstance();
    if (all->test_to_run_count() == all->skipped_test_count()) return;
    EXPECT_GT(vpd::emulation::launches(), 0) << "no emulated kernel was launched";
  }
};

[[maybe_unused]] const auto* const canary = ::testing::AddGlobalTestEnvironment(new Canary);

}  // namespace
