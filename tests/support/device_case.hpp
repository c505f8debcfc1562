#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

namespace vpd::testing {

/// Where a test runs and in what dtype.
struct DeviceCase {
  at::DeviceType device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
};

/// Each dtype on the CPU and on CUDA.
std::vector<DeviceCase> device_cases(std::initializer_list<at::ScalarType> dtypes);

/// cpu_float32, cuda_bfloat16 ...
std::string device_case_name(const ::testing::TestParamInfo<DeviceCase>& info);

/// Whether this build and this machine can compute on CUDA.
bool cuda_is_usable();

/// Base of tests over devices and dtypes; CUDA cases are skipped, and say so, where there is no CUDA.
class DeviceTest : public ::testing::TestWithParam<DeviceCase> {
 protected:
  void SetUp() override {
    if (GetParam().device == at::kCUDA && !cuda_is_usable()) {
      GTEST_SKIP() << "NOT TESTED: this build or this machine has no CUDA";
    }
  }

  at::Device device() const { return at::Device(GetParam().device); }
  at::ScalarType dtype() const { return GetParam().dtype; }
  /// float64 beside float64, else float32.
  at::ScalarType wide() const { return dtype() == at::kDouble ? at::kDouble : at::kFloat; }

  /// On the device, in the dtype under test or the one beside it.
  at::Tensor real(const at::Tensor& x) const { return x.to(device(), dtype()); }
  at::Tensor broad(const at::Tensor& x) const { return x.to(device(), wide()); }
  /// In float64 on the CPU, where references are computed.
  static at::Tensor exact(const at::Tensor& x) { return x.to(at::kCPU, at::kDouble); }
};

/// float64 on the CPU, uniform in [low, high), the same for the same seed.
at::Tensor uniform_values(at::IntArrayRef sizes, std::uint64_t seed, double low = -1.0, double high = 1.0);

/// x [N, C] as columns 3 to C + 3 of a matrix [N, C + 5] that is NaN elsewhere.
at::Tensor column_slice(const at::Tensor& x);

/// Whether the matrix around a column_slice is still NaN everywhere else.
::testing::AssertionResult surroundings_are_untouched(const at::Tensor& slice);

}  // namespace vpd::testing
