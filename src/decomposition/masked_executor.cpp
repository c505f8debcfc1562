#include "vpd/decomposition/masked_executor.hpp"

#include <ATen/ATen.h>

#include "ops/record.hpp"
#include "vpd/kernels/matrix_product.hpp"
#include "vpd/kernels/positions.hpp"
#include "vpd/kernels/row_scale.hpp"

namespace vpd {
namespace {

using torch::autograd::variable_list;

/// The rows of x at which the site is masked, gathered where they are listed; else x.
at::Tensor masked_rows(const at::Tensor& x, const SitePass& pass) {
  return pass.routing.positions.defined() ? select_rows(x, pass.routing.positions) : x;
}

/// Backward of apply_masked. With hm = (x V) ⊙ (m - δ), s the scale:
///   dhm = dy Uᵀ        dU += hmᵀ dy       dh = dhm ⊙ (m - δ)     dV += xᵀ dh
///   dx  = dh Vᵀ + s ⊙ (dy W)              ds = Σ (dy W) ⊙ x
/// so that neither x Wᵀ nor the mask nor hm is kept from the forward pass. Where positions are listed, rows
/// of x and dy are gathered for all products but those with W.
struct MaskedBackward {
  at::Tensor x, h, scale;
  at::Tensor W;
  SitePass pass;

  template <class Wanted>
  void operator()(const at::Tensor& dy, const Wanted& wanted, variable_list& out) const {
    const bool delta_wanted = pass.sources.wants_gradient() && !pass.sources.fixed_delta;
    const bool x_wanted = wanted(0);
    at::Tensor through_weight, scale_gradient;
    if (scale.defined() && (x_wanted || delta_wanted)) {
      through_weight = matrix_product(dy, W);
      if (!pass.routing.places.defined()) {
        scale_gradient = scale_rows(through_weight, scale, delta_wanted ? x : at::Tensor());
      } else if (delta_wanted) {
        scale_gradient = dot_rows(through_weight, x, pass.routing.positions);
      }
    }
    const bool trains = pass.U.gradient.defined();
    const at::Tensor masked_dy = masked_rows(dy, pass);
    const GateGradients gate =
        gate_backward(matrix_product(masked_dy, pass.U.value.t()), h, pass.importance, pass.sources,
                      pass.routing, scale_gradient, pass.importance_gradient, trains);
    if (trains) {
      matrix_product_into(pass.U.gradient, gate.gated.t(), masked_dy, /*accumulate=*/true);
      matrix_product_into(pass.V.gradient, masked_rows(x, pass).t(), gate.h, /*accumulate=*/true);
    }
    if (!x_wanted) return;
    if (pass.routing.places.defined()) {
      out[0] = through_weight;
      combine_rows(out[0], scale, matrix_product(gate.h, pass.V.value.t()), pass.routing.places);
    } else if (scale.defined()) {
      out[0] = through_weight;
      matrix_product_into(out[0], gate.h, pass.V.value.t(), /*accumulate=*/true);
    } else {
      out[0] = matrix_product(gate.h, pass.V.value.t());
    }
  }
};

/// Backward of apply_masked_embedding. As above, with rows where x was one-hot:
///   dV[token] += dh        ds = Σ dy ⊙ W[token]
/// and nobody behind it who wants a gradient.
struct MaskedEmbeddingBackward {
  at::Tensor tokens, h, scale;
  at::Tensor table;  // [vocabulary, d], wide
  SitePass pass;

  template <class Wanted>
  void operator()(const at::Tensor& dy, const Wanted&, variable_list&) const {
    at::Tensor scale_gradient;
    if (scale.defined() && pass.sources.wants_gradient() && !pass.sources.fixed_delta)
      scale_gradient = at::embedding(table, tokens).mul_(dy).sum(1);
    const bool trains = pass.U.gradient.defined();
    const at::Tensor gradient = dy.to(pass.U.value.scalar_type());
    const GateGradients gate =
        gate_backward(matrix_product(gradient, pass.U.value.t()), h, pass.importance, pass.sources,
                      pass.routing, scale_gradient, pass.importance_gradient, trains);
    if (!trains) return;
    matrix_product_into(pass.U.gradient, gate.gated.t(), gradient, /*accumulate=*/true);
    at::Tensor rows = pass.V.gradient;
    rows.index_add_(0, tokens, gate.h.to(rows.scalar_type()));
  }
};

bool wants_gradients(const SitePass& pass) {
  return pass.U.gradient.defined() || pass.importance_gradient.defined() || pass.sources.wants_gradient();
}

}  // namespace

at::Tensor apply_masked(const at::Tensor& x, const Matrix& matrix, const SitePass& pass) {
  at::Tensor y;
  MaskedBackward backward{x.detach(), {}, {}, matrix.weight.value, pass};
  {
    const at::NoGradGuard no_grad;
    backward.h = matrix_product(masked_rows(backward.x, pass), pass.V.value);
    const GateOutput gate = gate_forward(backward.h, pass.importance, pass.sources, pass.routing);
    backward.scale = gate.scale;
    if (pass.routing.places.defined()) {
      y = matrix_product(backward.x, matrix.weight.value.t());
      combine_rows(y, gate.scale, matrix_product(gate.gated, pass.U.value), pass.routing.places);
    } else if (gate.scale.defined()) {
      y = matrix_product(backward.x, matrix.weight.value.t());
      scale_rows(y, gate.scale);
      matrix_product_into(y, gate.gated, pass.U.value, /*accumulate=*/true);
    } else {
      y = matrix_product(gate.gated, pass.U.value);
    }
    if (matrix.bias.value.defined()) y.add_(matrix.bias.value);
  }
  return record(std::move(y), "apply_masked", {x}, wants_gradients(pass), std::move(backward));
}

at::Tensor apply_masked_embedding(const at::Tensor& tokens, const Matrix& matrix, const SitePass& pass) {
  at::Tensor y;
  MaskedEmbeddingBackward backward{tokens, {}, {}, matrix.table().value, pass};
  {
    const at::NoGradGuard no_grad;
    backward.h = at::embedding(pass.V.value, tokens);
    const GateOutput gate = gate_forward(backward.h, pass.importance, pass.sources, pass.routing);
    backward.scale = gate.scale;
    y = matrix_product(gate.gated, pass.U.value).to(backward.table.scalar_type());
    if (gate.scale.defined()) y.add_(at::embedding(backward.table, tokens).mul_(gate.scale.unsqueeze(1)));
  }
  return record(std::move(y), "apply_masked_embedding", {}, wants_gradients(pass), std::move(backward));
}

at::Tensor MaskedExecutor::linear(const Matrix& matrix, const at::Tensor& x) {
  const int site = sites_.of_matrix()[matrix.index];
  if (site < 0) return inner().linear(matrix, x);
  const SitePass& pass = passes_[static_cast<std::size_t>(site)];
  at::Tensor y = pass.masked ? apply_masked(x, matrix, pass) : inner().linear(matrix, x);
  if (keep_outputs_) outputs[static_cast<std::size_t>(site)] = y;
  return y;
}

at::Tensor MaskedExecutor::embedding(const Matrix& matrix, const at::Tensor& tokens) {
  const int site = sites_.of_matrix()[matrix.index];
  if (site < 0) return inner().embedding(matrix, tokens);
  const SitePass& pass = passes_[static_cast<std::size_t>(site)];
  at::Tensor y =
      pass.masked ? apply_masked_embedding(tokens, matrix, pass) : inner().embedding(matrix, tokens);
  if (keep_outputs_) outputs[static_cast<std::size_t>(site)] = y;
  return y;
}

}  // namespace vpd
