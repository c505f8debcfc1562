#include "vpd/passes/divergence.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "vpd/base/error.hpp"
#include "vpd/kernels/kl.hpp"
#include "vpd/ops/head_kl.hpp"

namespace vpd {
namespace {

/// As kl_from_logits(), for the mean squared error of each row.
KlResult squared_error(const at::Tensor& target, const at::Tensor& output, bool want_gradient, double scale) {
  const at::NoGradGuard no_grad;
  const at::ScalarType wide = output.scalar_type() == at::kBFloat16 ? at::kFloat : output.scalar_type();
  const at::Tensor difference = at::sub(output.to(wide), target.to(wide));
  const double entries = static_cast<double>(output.size(1));
  KlResult result{difference.square().sum(at::kDouble).div_(entries), {}};
  if (want_gradient) result.gradient = (difference * (2.0 * scale / entries)).to(output.scalar_type());
  return result;
}

void go_back(const at::Tensor& from, const at::Tensor& gradient) {
  if (from.requires_grad()) torch::autograd::backward({from}, {gradient});
}

}  // namespace

at::Tensor divergence_from_hidden(const Decomposition& decomposition, const CleanPass& clean,
                                  const at::Tensor& hidden, Executor& executor, double seed,
                                  Divergence kind) {
  const Target& target = *decomposition.target;
  const bool backward = seed != 0.0;
  const Matrix* head = decomposition.frozen_head();
  if (head && kind == Divergence::kl) {
    const at::Tensor read = clean.at_compared(hidden).contiguous();
    const HeadKlResult kl =
        kl_through_head(clean.output, read.detach(), head->weight.value, head->bias.value, backward, seed);
    if (backward) go_back(read, kl.gradient);
    return kl.sum;
  }
  const at::Tensor output = clean.at_compared(target.output(hidden, executor)).contiguous();
  const KlResult result =
      kind == Divergence::kl
          ? kl_from_logits(clean.output, output.detach(), backward, seed, /*in_place=*/true)
          : squared_error(clean.output, output.detach(), backward, seed);
  if (backward) go_back(output, result.gradient);
  return result.sum;
}

at::Tensor divergence_of_output(Divergence kind, const at::Tensor& target, const at::Tensor& output) {
  return kind == Divergence::kl
             ? kl_from_logits(target, output, /*want_gradient=*/false, 1.0, /*in_place=*/false).sum
             : squared_error(target, output, /*want_gradient=*/false, 1.0).sum;
}

at::Tensor squared_error_of_sites(const std::vector<at::Tensor>& clean, const std::vector<at::Tensor>& masked,
                                  at::ScalarType wide, double seed) {
  VPD_CHECK(!clean.empty() && clean.size() == masked.size(), UsageError,
            "hidden activations: expected the outputs of {} sites from the clean pass, found {}",
            masked.size(), clean.size());
  double width = 0.0;
  for (const at::Tensor& y : clean) width += static_cast<double>(y.size(1));
  at::Tensor sum = at::zeros({}, clean.front().options().dtype(at::kDouble));
  torch::autograd::variable_list roots, gradients;
  for (std::size_t i = 0; i < clean.size(); ++i) {
    const at::NoGradGuard no_grad;
    at::Tensor difference = at::sub(masked[i].detach().to(wide), clean[i].to(wide));
    sum.add_(difference.square().sum(at::kDouble));
    if (seed == 0.0 || !masked[i].requires_grad()) continue;
    roots.push_back(masked[i]);
    gradients.push_back(difference.mul_(2.0 * seed / width).to(masked[i].scalar_type()));
  }
  if (!roots.empty()) torch::autograd::backward(roots, gradients);
  return sum.div_(width);
}

}  // namespace vpd
