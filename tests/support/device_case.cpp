#include "support/device_case.hpp"

#include <limits>
#include <random>

#include <ATen/ATen.h>

#include "vpd/machine/numerics.hpp"

namespace vpd::testing {
namespace {

constexpr std::int64_t left = 3, right = 2;

}  // namespace

std::vector<DeviceCase> device_cases(std::initializer_list<at::ScalarType> dtypes) {
  std::vector<DeviceCase> cases;
  for (const at::DeviceType device : {at::kCPU, at::kCUDA}) {
    for (const at::ScalarType dtype : dtypes) cases.push_back({device, dtype});
  }
  return cases;
}

std::string device_case_name(const ::testing::TestParamInfo<DeviceCase>& info) {
  const char* dtype = info.param.dtype == at::kDouble  ? "float64"
                      : info.param.dtype == at::kFloat ? "float32"
                                                       : "bfloat16";
  return std::string(info.param.device == at::kCUDA ? "cuda_" : "cpu_") + dtype;
}

bool cuda_is_usable() {
  static const bool usable = [] {
    if (!has_cuda()) return false;
    resolve_numerics("cuda", Precision::automatic);  // products and attention as in a run
    return true;
  }();
  return usable;
}

at::Tensor uniform_values(at::IntArrayRef sizes, std::uint64_t seed, double low, double high) {
  at::Tensor x = at::empty(sizes, at::kDouble);
  std::mt19937_64 engine(seed);
  auto* values = x.mutable_data_ptr<double>();
  // Not std::uniform_real_distribution, which libraries implement differently.
  for (std::int64_t i = 0; i < x.numel(); ++i)
    values[i] = low + (high - low) * static_cast<double>(engine() >> 11) * 0x1p-53;
  return x;
}

at::Tensor column_slice(const at::Tensor& x) {
  at::Tensor whole =
      at::full({x.size(0), left + x.size(1) + right}, std::numeric_limits<double>::quiet_NaN(), x.options());
  at::Tensor slice = whole.narrow(1, left, x.size(1));
  slice.copy_(x);
  return slice;
}

::testing::AssertionResult surroundings_are_untouched(const at::Tensor& slice) {
  const std::int64_t width = left + slice.size(1) + right;
  const at::Tensor whole =
      slice.as_strided({slice.size(0), width}, {width, 1}, slice.storage_offset() - left);
  const at::Tensor around =
      at::cat({whole.narrow(1, 0, left), whole.narrow(1, left + slice.size(1), right)}, 1);
  if (around.isnan().all().item<bool>()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "columns beside the slice were written";
}

}  // namespace vpd::testing
