#include "support/check_gradient.hpp"

#include <algorithm>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace vpd::testing {

void check_gradient(const ScalarFunction& function, const std::vector<at::Tensor>& inputs,
                    const std::vector<at::Tensor>& gradients, const std::string& what, double step) {
  ASSERT_EQ(inputs.size(), gradients.size()) << what << ": one gradient for each input";
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> moved;
  for (const at::Tensor& input : inputs) {
    ASSERT_EQ(input.scalar_type(), at::kDouble) << what << ": central differences need float64";
    moved.push_back(input.detach().clone(at::MemoryFormat::Contiguous));
  }
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    if (!gradients[k].defined()) continue;
    at::Tensor entries = moved[k].view({-1});
    at::Tensor difference = at::empty({entries.numel()}, at::kDouble);
    auto* slope = difference.mutable_data_ptr<double>();
    for (std::int64_t i = 0; i < entries.numel(); ++i) {
      const double here = entries[i].item<double>();
      const auto value_at = [&](double x) {
        entries[i].fill_(x);
        return function(moved).item<double>();
      };
      const double above = value_at(here + step), below = value_at(here - step);
      entries[i].fill_(here);
      slope[i] = (above - below) / (2.0 * step);
    }
    const double largest = difference.numel() > 0 ? difference.abs().max().item<double>() : 0.0;
    expect_close(gradients[k], difference.view(inputs[k].sizes()),
                 {0.0, gradient_tolerance * std::max(1.0, largest)}, what + ", input " + std::to_string(k));
  }
}

void check_gradient(const ScalarFunction& function, const std::vector<at::Tensor>& inputs,
                    const std::string& what, double step) {
  std::vector<at::Tensor> leaves, gradients;
  for (const at::Tensor& input : inputs) leaves.push_back(input.detach().clone().requires_grad_(true));
  function(leaves).backward();
  for (const at::Tensor& leaf : leaves)
    gradients.push_back(leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf));
  check_gradient(function, inputs, gradients, what, step);
}

}  // namespace vpd::testing
