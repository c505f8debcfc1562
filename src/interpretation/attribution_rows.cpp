#include "attribution_rows.hpp"

#include <cmath>
#include <limits>

#include <ATen/ATen.h>

namespace vpd {
namespace {

/// Keeps what norms read, what matrices in front of activation functions gave, and what attention mixed.
class WiringRecorder final : public ForwardingExecutor {
 public:
  WiringRecorder(AttributionRows& rows, const std::vector<bool>& kept) : rows_(rows), kept_(kept) {}

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    at::Tensor y = inner().linear(matrix, x);
    if (kept_[matrix.index]) rows_.outputs[matrix.index] = y;
    return y;
  }
  at::Tensor norm(const NormCall& call, const at::Tensor& x) override {
    rows_.norms[{call.block, call.place}] = x;
    return inner().norm(call, x);
  }
  AddedNorm add_norm(const NormCall& call, const at::Tensor& x, const at::Tensor& added) override {
    AddedNorm y = inner().add_norm(call, x, added);
    rows_.norms[{call.block, call.place}] = y.sum;
    return y;
  }
  at::Tensor attention(const AttentionCall& call) override {
    calls.emplace(call.block, call);
    return inner().attention(call);
  }

  std::map<std::size_t, AttentionCall> calls;

 private:
  AttributionRows& rows_;
  const std::vector<bool>& kept_;
};

std::vector<bool> in_front_of_activations(const AttributionContext& context) {
  std::vector<bool> kept(context.d.target->matrices().size());
  for (const BlockParts& block : context.anatomy->blocks) {
    if (!block.mlp) continue;
    kept[block.mlp->in] = true;
    if (block.mlp->gate) kept[*block.mlp->gate] = true;
  }
  return kept;
}

AttentionSeen seen(const AttentionCall& call, at::ScalarType type) {
  const std::int64_t T = call.q.size(0) / call.B, width = call.q.size(1) / call.heads;
  const auto heads = [&](const at::Tensor& x, std::int64_t count) {
    const at::Tensor each = x.to(type).view({call.B, T, count, width}).transpose(1, 2);
    return (count == call.heads ? each : each.repeat_interleave(call.heads / count, 1)).contiguous();
  };
  AttentionSeen a{
      .q = heads(call.q, call.heads), .k = heads(call.k, call.key_heads), .v = heads(call.v, call.key_heads)};
  at::Tensor score = a.q.matmul(a.k.transpose(2, 3)) / std::sqrt(static_cast<double>(width));
  if (call.causal)
    score = score.masked_fill(at::ones({T, T}, score.options().dtype(at::kBool)).triu(1),
                              -std::numeric_limits<double>::infinity());
  a.pattern = score.softmax(3);
  a.average = a.pattern.matmul(a.v);
  return a;
}

}  // namespace

AttributionRows::AttributionRows(const AttributionContext& context, const LaneBatch& lane,
                                 std::int64_t row_length)
    : B(lane.clean.B()), T(row_length), input(lane.clean.input) {
  const Decomposition& d = context.d;
  const at::ScalarType wide = d.numerics.wide;
  if (!input.is_floating_point()) tokens = input.reshape({-1});
  for (std::size_t i = 0; i < d.sites.size(); ++i) {
    const SiteVectors& site = context.sites[i];
    const at::Tensor& x = lane.clean.inputs[i];
    h.push_back(d.sites[i].embedding ? at::embedding(site.V, x) : x.to(wide).matmul(site.V));
    const at::Tensor g =
        d.sites.columns(lane.importance.lower, i).index_select(1, site.columns.to(x.device()));
    beta.push_back(g * h.back());
    if (!context.settings.absolute) continue;
    const at::Tensor fires = g.gt(context.settings.threshold).to(wide);
    strong.push_back(beta.back() * fires);
    sign.push_back(h.back().sign() * fires);
  }
  if (!context.anatomy) return;
  const std::vector<bool> kept = in_front_of_activations(context);
  WiringRecorder recorder(*this, kept);
  d.target->hidden(input, recorder);
  for (auto& [matrix, y] : outputs) y = y.to(wide);
  for (const auto& [block, call] : recorder.calls) attention.emplace(block, seen(call, wide));
}

}  // namespace vpd
