#pragma once

#include <cstdint>
#include <string>

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

namespace vpd::testing {

/// Passes where |actual - expected| <= absolute + relative · |expected|.
struct Tolerance {
  double relative = 0.0;
  double absolute = 0.0;
};

/// Distance from 1 to the next number of a dtype.
double epsilon(at::ScalarType dtype);

/// What `roundings` operations on numbers up to `magnitude` may be off by, computed in `wide` and stored once
/// in `stored`.
Tolerance rounding(at::ScalarType wide, double roundings, double magnitude, at::ScalarType stored);
inline Tolerance rounding(at::ScalarType wide, double roundings, double magnitude) {
  return rounding(wide, roundings, magnitude, wide);
}

/// Compares two tensors, which may live on different devices. A different shape or dtype fails, and so does
/// anything that is not finite on either side. The message names the worst element.
::testing::AssertionResult is_close(const at::Tensor& actual, const at::Tensor& expected, Tolerance tolerance,
                                    const std::string& what);

inline void expect_close(const at::Tensor& actual, const at::Tensor& expected, Tolerance tolerance,
                         const std::string& what) {
  EXPECT_TRUE(is_close(actual, expected, tolerance, what));
}

/// Same shape, dtype and bits.
::testing::AssertionResult is_identical(const at::Tensor& actual, const at::Tensor& expected,
                                        const std::string& what);

inline void expect_identical(const at::Tensor& actual, const at::Tensor& expected, const std::string& what) {
  EXPECT_TRUE(is_identical(actual, expected, what));
}

}  // namespace vpd::testing
