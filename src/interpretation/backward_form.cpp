// Edges that have no closed form: a backward pass for each target, over all positions at once. Several
// targets go together, each in a copy of the rows of its own, since an operation's backward pass runs once.

#include <algorithm>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "attribution_forms.hpp"
#include "cut_executor.hpp"
#include "frozen_executor.hpp"

namespace vpd {
namespace {

class BackwardForm final : public AttributionForm {
 public:
  BackwardForm(const AttributionContext& context, std::vector<Wire> wires)
      : context_(context), wires_(std::move(wires)), target_(wires_.front().target) {
    const Target& model = *context.d.target;
    reads_hidden_ = !target_ || (model.head() && model.head()->index == context.d.sites[*target_].matrix);
    V_ =
        target_ ? context.sites[*target_].V : at::eye(width_of_hidden(context), context.d.numerics.options());
    const at::TensorOptions options = context.d.numerics.options().dtype(at::kDouble);
    for (const Wire& wire : wires_) {
      const std::int64_t sources =
          wire.source ? context.sites[*wire.source].U.size(0) : model.vocabulary_size();
      sums_.push_back({at::zeros({sources, V_.size(1)}, options), {}});
      if (context.settings.absolute && target_) sums_.back().absolute = at::zeros_like(sums_.back().plain);
    }
  }

  void add(const AttributionRows& rows) override {
    const std::int64_t at_once = std::max<std::int64_t>(1, positions_at_once / (rows.B * rows.T));
    for_each_part({0, V_.size(1)}, at_once, [&](const Range& targets) {
      add_targets(rows, targets, /*absolute=*/false);
      if (context_.settings.absolute && target_) add_targets(rows, targets, /*absolute=*/true);
    });
  }

  void finish(std::vector<SummedWire>& found) const override {
    for (std::size_t k = 0; k < wires_.size(); ++k) {
      SummedWire one{.wire = wires_[k], .sum = sums_[k].plain, .absolute = sums_[k].absolute};
      if (target_) {
        const at::Tensor length = context_.sites[*target_].length.to(at::kDouble);
        one.sum = one.sum * length;
        if (one.absolute.defined()) one.absolute = one.absolute * length;
      }
      found.push_back(std::move(one));
    }
  }

 private:
  static constexpr std::int64_t positions_at_once = 8192;

  struct Sums {
    at::Tensor plain, absolute;  // [C', C]
  };

  static std::int64_t width_of_hidden(const AttributionContext& context) {
    const std::vector<Matrix>& all = context.d.target->matrices();
    if (const Matrix* head = context.d.target->head()) return head->d_in();
    return context.anatomy ? all[context.anatomy->head].d_in() : all.back().d_out();
  }

  void add_targets(const AttributionRows& rows, const Range& targets, bool absolute) {
    const at::AutoGradMode record(true);
    const std::int64_t N = rows.B * rows.T, R = targets.size();
    FrozenExecutor frozen;
    CutExecutor cut(context_.d, context_.settings.complete ? &frozen : nullptr);
    const at::Tensor hidden = context_.d.target->hidden(rows.input.repeat({R, 1}), cut);
    const at::Tensor read = reads_hidden_ ? hidden : cut.reads[*target_];
    if (!read.requires_grad()) return;
    std::vector<at::Tensor> leaves;
    for (const Wire& wire : wires_) leaves.push_back(wire.source ? cut.writes[*wire.source] : cut.embedded);
    at::Tensor seed = V_.narrow(1, targets.begin, R).t().unsqueeze(1).expand({R, N, V_.size(0)});
    if (absolute) seed = seed * rows.sign[*target_].narrow(1, targets.begin, R).t().unsqueeze(2);
    const auto gradients = torch::autograd::grad(
        {read}, leaves, {seed.reshape({R * N, V_.size(0)}).to(read.scalar_type())}, /*retain_graph=*/false,
        /*create_graph=*/false, /*allow_unused=*/true);
    const at::NoGradGuard no_grad;
    for (std::size_t k = 0; k < wires_.size(); ++k) {
      if (!gradients[k].defined()) continue;
      at::Tensor to = (absolute ? sums_[k].absolute : sums_[k].plain).narrow(1, targets.begin, R);
      const at::Tensor G = gradients[k].to(context_.d.numerics.wide).view({R, N, -1});
      if (const auto& source = wires_[k].source) {
        const at::Tensor beta = (absolute ? rows.strong : rows.beta)[*source];
        to += (G.matmul(context_.sites[*source].U.t()) * beta).sum(1, false, at::kDouble).t();
      } else {
        const at::Tensor table = leaves[k].detach().narrow(0, 0, N);
        to.index_add_(0, rows.tokens, (G * table).sum(2, false, at::kDouble).t());
      }
    }
  }

  const AttributionContext& context_;
  std::vector<Wire> wires_;
  std::optional<std::size_t> target_;
  bool reads_hidden_ = false;
  at::Tensor V_;            // [width of what is read, C]
  std::vector<Sums> sums_;  // of each wire
};

}  // namespace

std::unique_ptr<AttributionForm> backward_form(const AttributionContext& context,
                                               const std::vector<Wire>& wires) {
  return std::make_unique<BackwardForm>(context, wires);
}

}  // namespace vpd
