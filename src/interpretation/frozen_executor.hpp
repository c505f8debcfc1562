#pragma once

#include <ATen/ATen.h>

#include "vpd/target/executor.hpp"

namespace vpd {

/// The target's own pass, with what is not linear held as it is: norms divide by a denominator, attention
/// mixes with a pattern, and activation functions multiply by a secant φ(u)/u that are constants to
/// derivatives. So everything behind a leaf is linear in it, and contributions of leaves and constants add up
/// to what they lead into. Queries and keys lead nowhere.
class FrozenExecutor final : public ForwardingExecutor {
 public:
  at::Tensor norm(const NormCall& call, const at::Tensor& x) override {
    const at::Tensor centred = call.bias ? x - x.mean(1, /*keepdim=*/true) : x;
    at::Tensor y = centred * (centred.detach().square().mean(1, /*keepdim=*/true) + call.eps).rsqrt();
    if (call.weight->value.defined()) y = y * call.weight->value;
    if (call.bias) y = y + call.bias->value;
    return y.to(call.output);
  }
  AddedNorm add_norm(const NormCall& call, const at::Tensor& x, const at::Tensor& added) override {
    const at::Tensor sum = x + added;
    return {sum, norm(call, sum)};
  }
  at::Tensor attention(const AttentionCall& call) override {
    AttentionCall held = call;
    held.q = call.q.detach();
    held.k = call.k.detach();
    return inner().attention(held);
  }
  at::Tensor activation(Activation kind, const at::Tensor& x) override {
    const at::Tensor u = x.detach();
    if (kind == Activation::relu) return x * u.gt(0.0);
    // Next to 0 the secant is 0 / 0; the slope there, of either form of GELU, is 1/2.
    const at::Tensor secant = inner().activation(kind, u) / u;
    return x * at::where(u.abs().lt(least_), at::full({}, 0.5, u.options()), secant);
  }
  /// Half to each factor.
  at::Tensor gated(const at::Tensor& gate, const at::Tensor& up) override {
    const at::Tensor g = gate.detach(), secant = g.sigmoid();
    return 0.5 * (gate * (secant * up.detach()) + (secant * g) * up);
  }

 private:
  static constexpr double least_ = 1e-6;
};

}  // namespace vpd
