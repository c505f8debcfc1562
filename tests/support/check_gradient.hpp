#pragma once

#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "support/expect_close.hpp"

namespace vpd::testing {

/// A zero-dimensional (or one-element) float64 value of float64 inputs.
using ScalarFunction = std::function<at::Tensor(const std::vector<at::Tensor>&)>;

/// Relative to the gradient's largest entry; central differences with the step below lose about 1e-10 of it.
inline constexpr double gradient_tolerance = 1e-7;

/// Compares `gradients`, of `function` at `inputs`, with central differences, one for each entry of each
/// input. Inputs are float64 and keep away from kinks by more than `step`; an undefined gradient is not
/// compared.
void check_gradient(const ScalarFunction& function, const std::vector<at::Tensor>& inputs,
                    const std::vector<at::Tensor>& gradients, const std::string& what, double step = 1e-5);

/// The same for a function that LibTorch's autograd can follow: its own gradients are compared.
void check_gradient(const ScalarFunction& function, const std::vector<at::Tensor>& inputs,
                    const std::string& what = "gradient", double step = 1e-5);

}  // namespace vpd::testing
