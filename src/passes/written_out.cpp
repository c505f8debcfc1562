#include "written_out.hpp"

#include <ATen/ATen.h>

namespace vpd {
namespace {

class WrittenOutExecutor final : public Executor {
 public:
  WrittenOutExecutor(const Decomposition& d, const WrittenOut& reference,
                     const std::function<WrittenOutMask(std::size_t)>& mask_of, const at::Tensor& routing,
                     int only)
      : outputs(d.sites.size()),
        d_(d),
        reference_(reference),
        mask_of_(mask_of),
        routing_(routing),
        only_(only) {}

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    const int found = d_.sites.of_matrix()[matrix.index];
    const at::Tensor W = matrix.weight.value;
    at::Tensor y = at::matmul(x, W.t());
    if (found >= 0 && (only_ < 0 || only_ == found)) {
      const auto i = static_cast<std::size_t>(found);
      const at::Tensor V = reference_.V[i], U = reference_.U[i];
      const auto [mask, delta] = mask_of_(i);
      const at::Tensor masked =
          at::matmul(at::matmul(x, V) * mask, U) + delta * at::matmul(x, (W - at::matmul(V, U).t()).t());
      y = routing_.defined() ? at::where(routing_[found].to(at::kBool).unsqueeze(1), masked, y) : masked;
    }
    if (matrix.bias.value.defined()) y = y + matrix.bias.value;
    if (found >= 0) outputs[static_cast<std::size_t>(found)] = y;
    return y;
  }

  at::Tensor embedding(const Matrix& matrix, const at::Tensor& tokens) override {
    return linear(matrix, at::one_hot(tokens, matrix.d_in()).to(matrix.weight.value.scalar_type()));
  }

  std::vector<at::Tensor> outputs;

 private:
  const Decomposition& d_;
  const WrittenOut& reference_;
  const std::function<WrittenOutMask(std::size_t)>& mask_of_;
  const at::Tensor& routing_;
  int only_;
};

}  // namespace

WrittenOut::WrittenOut(const Decomposition& decomposition, const CleanPass& clean, const at::Tensor& g)
    : importance(g.detach().clone().requires_grad_(true)), d_(decomposition), clean_(clean) {
  for (std::size_t i = 0; i < d_.sites.size(); ++i) {
    V.push_back(d_.components.V(i).clone().requires_grad_(true));
    U.push_back(d_.components.U(i).clone().requires_grad_(true));
  }
}

WrittenOut::Pass WrittenOut::run(const std::function<WrittenOutMask(std::size_t)>& mask_of,
                                 const at::Tensor& routing, int only) const {
  WrittenOutExecutor executor(d_, *this, mask_of, routing, only);
  Pass pass;
  pass.output = clean_.at_compared(d_.target->forward(clean_.input, executor));
  for (const at::Tensor& y : executor.outputs) pass.outputs.push_back(clean_.at_compared(y));
  return pass;
}

at::Tensor WrittenOut::g(std::size_t site) const { return d_.sites.columns(importance, site); }

at::Tensor WrittenOut::mask(std::size_t site, const at::Tensor& r) const {
  return g(site) + (1.0 - g(site)) * r;
}

at::Tensor WrittenOut::kl(const Pass& pass) const {
  const at::Tensor p = at::log_softmax(clean_.output, 1), q = at::log_softmax(pass.output, 1);
  return (p.exp() * (p - q)).sum(1).mean();
}

at::Tensor WrittenOut::squared_error(const Pass& pass) const {
  return (pass.output - clean_.output).square().mean();
}

at::Tensor WrittenOut::squared_error_of_sites(const Pass& pass) const {
  at::Tensor sum = at::zeros({}, at::kDouble);
  std::int64_t entries = 0;
  for (std::size_t i = 0; i < pass.outputs.size(); ++i) {
    sum = sum + (pass.outputs[i] - clean_.at_compared(clean_.outputs[i])).square().sum();
    entries += pass.outputs[i].numel();
  }
  return sum / static_cast<double>(entries);
}

}  // namespace vpd
