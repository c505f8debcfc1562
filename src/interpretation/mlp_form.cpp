// Edges through an elementwise function φ: a source that adds β U' to what it reads adds Σ_i φ'(u_i) β U'_i
// V_ic behind it, or, with the function held, the secant in place of the slope. Of a gated one, silu(gate) ⊙
// up, the other factor stands beside; held, each factor gets half of the product.

#include <ATen/ATen.h>

#include "activation_slopes.hpp"
#include "attribution_forms.hpp"
#include "firing_pairs.hpp"

namespace vpd {
namespace {

class MlpForm final : public AttributionForm {
 public:
  MlpForm(const AttributionContext& context, const Wire& wire)
      : context_(context), wire_(wire), matrix_(context.d.sites[*wire.source].matrix) {
    for (const BlockParts& block : context.anatomy->blocks)
      if (block.mlp && (block.mlp->in == matrix_ || block.mlp->gate == matrix_)) mlp_ = *block.mlp;
    const SiteVectors &source = context.sites[*wire.source], &target = context.sites[*wire.target];
    sum_ = at::zeros(source.U.sizes(), source.U.options().dtype(at::kDouble));
    if (context.settings.absolute) absolute_ = at::zeros({source.U.size(0), target.V.size(1)}, at::kDouble);
  }

  void add(const AttributionRows& rows) override {
    const at::Tensor m = multiplier(rows);
    sum_ += rows.beta[*wire_.source].t().matmul(m).to(at::kDouble);
    if (absolute_.defined())
      add_firing_pairs(absolute_, rows.strong[*wire_.source].cpu(), rows.sign[*wire_.target].cpu(), m.cpu(),
                       context_.sites[*wire_.source].U.cpu(), context_.sites[*wire_.target].V.t().cpu());
  }

  void finish(std::vector<SummedWire>& found) const override {
    const SiteVectors &source = context_.sites[*wire_.source], &target = context_.sites[*wire_.target];
    const at::Tensor length = target.length.to(at::kDouble);
    SummedWire one{.wire = wire_,
                   .sum = (sum_ * source.U.to(at::kDouble)).matmul(target.V.to(at::kDouble)) * length};
    if (absolute_.defined()) one.absolute = absolute_.to(length.device()) * length;
    found.push_back(std::move(one));
  }

 private:
  /// What a change of each neuron's input is multiplied by [N, neurons].
  at::Tensor multiplier(const AttributionRows& rows) const {
    const bool complete = context_.settings.complete;
    const at::Tensor& in = rows.outputs.at(mlp_.in);
    if (!mlp_.gate) return complete ? secant_of(mlp_.activation, in) : slope_of(mlp_.activation, in);
    const at::Tensor& gate = rows.outputs.at(*mlp_.gate);
    if (matrix_ == mlp_.in) {
      const at::Tensor factor = value_of(Activation::silu, gate);
      return complete ? 0.5 * factor : factor;
    }
    return complete ? 0.5 * secant_of(Activation::silu, gate) * in : slope_of(Activation::silu, gate) * in;
  }

  const AttributionContext& context_;
  Wire wire_;
  std::size_t matrix_;
  MlpParts mlp_;
  at::Tensor sum_;       // [C', neurons]
  at::Tensor absolute_;  // [C', C]
};

}  // namespace

std::unique_ptr<AttributionForm> mlp_form(const AttributionContext& context, const Wire& wire) {
  return std::make_unique<MlpForm>(context, wire);
}

}  // namespace vpd
