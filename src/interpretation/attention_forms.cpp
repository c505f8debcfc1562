// Edges through attention. Values are mixed: a source that adds β U' to them at s adds Σ_h A^h_ts β U'^h ·
// V^h to what is read at t. Queries and keys change the pattern: δo_t = Σ_s A_ts δz_ts (v_s - ō_t), z the
// scores and ō the values that the pattern mixes. There only the few sources that are important at a position
// are looked at, each in one pass to what it changes.

#include <cmath>

#include <ATen/ATen.h>

#include "attribution_forms.hpp"
#include "vpd/kernels/rotary.hpp"

namespace vpd {
namespace {

/// The block whose attention a wire runs through.
std::size_t block_of(const AttributionContext& context, const Wire& wire) {
  const std::size_t o = context.d.sites[*wire.target].matrix;
  std::size_t b = 0;
  while (!context.anatomy->blocks[b].attention || context.anatomy->blocks[b].attention->o != o) ++b;
  return b;
}

class AttentionForm : public AttributionForm {
 protected:
  AttentionForm(const AttributionContext& context, const Wire& wire)
      : context_(context),
        wire_(wire),
        block_(block_of(context, wire)),
        parts_(*context.anatomy->blocks[block_].attention),
        source_(context.sites[*wire.source]),
        target_(context.sites[*wire.target]) {
    if (context.settings.absolute) absolute_ = at::zeros({source_.U.size(0), target_.V.size(1)}, sums());
  }

  at::TensorOptions sums() const { return source_.U.options().dtype(at::kDouble); }
  std::int64_t heads() const { return parts_.shape.heads; }
  /// V of the reader by head [K, d_head, C].
  at::Tensor read_by_head(const at::Tensor& V) const { return V.view({heads(), -1, V.size(1)}); }

  void put(std::vector<SummedWire>& found, const at::Tensor& sum) const {
    const at::Tensor length = target_.length.to(at::kDouble);
    SummedWire one{.wire = wire_, .sum = sum * length};
    if (absolute_.defined()) one.absolute = absolute_ * length;
    found.push_back(std::move(one));
  }

  const AttributionContext& context_;
  Wire wire_;
  std::size_t block_;
  AttentionParts parts_;
  const SiteVectors &source_, &target_;
  at::Tensor absolute_;
};

class ValuesForm final : public AttentionForm {
 public:
  ValuesForm(const AttributionContext& context, const Wire& wire) : AttentionForm(context, wire) {
    received_ = at::zeros({heads(), source_.U.size(0)}, sums());
    overlap_ = overlap(context.d.numerics.wide);
  }

  void add(const AttributionRows& rows) override {
    const AttentionSeen& seen = rows.attention.at(block_);
    const at::Tensor& beta = rows.beta[*wire_.source];
    // How much attention each position gets, of all that look at it.
    const at::Tensor received = seen.pattern.sum(2).transpose(0, 1).reshape({heads(), -1});
    received_ += received.matmul(beta).to(at::kDouble);
    if (!absolute_.defined()) return;
    const at::Tensor strong = rows.strong[*wire_.source].view({rows.B, 1, rows.T, -1}),
                     sign = rows.sign[*wire_.target];
    const at::Tensor mixed =
        seen.pattern.matmul(strong).transpose(0, 1).reshape({heads(), rows.B * rows.T, -1});
    absolute_ += (mixed.transpose(1, 2).matmul(sign) * overlap_).sum(0, false, at::kDouble);
  }

  void finish(std::vector<SummedWire>& found) const override {
    put(found, (received_.unsqueeze(2) * overlap(at::kDouble)).sum(0));
  }

 private:
  /// U'^h · V^h: [K, C', C].
  at::Tensor overlap(at::ScalarType type) const {
    const at::Tensor U = source_.U.to(type).view({source_.U.size(0), parts_.shape.key_heads, -1});
    return U.repeat_interleave(heads() / parts_.shape.key_heads, 1)
        .transpose(0, 1)
        .matmul(read_by_head(target_.V.to(type)));
  }

  at::Tensor received_;  // [K, C']
  at::Tensor overlap_;
};

/// How much x's norm changes where x changes by δ: both [M, d].
at::Tensor norm_change(const NormParts& norm, const at::Tensor& x, const at::Tensor& change) {
  const at::Tensor s = norm.bias ? x - x.mean(1, true) : x,
                   moved = norm.bias ? change - change.mean(1, true) : change;
  const at::Tensor square = s.square().mean(1, true) + norm.eps;
  const at::Tensor along = (s * moved).mean(1, true) / square;
  return norm.weight->value.to(x.scalar_type()) * (moved - s * along) * square.rsqrt();
}

class ScoresForm final : public AttentionForm {
 public:
  ScoresForm(const AttributionContext& context, const Wire& wire)
      : AttentionForm(context, wire),
        queries_(wire.route == WireRoute::queries),
        norm_(queries_ ? parts_.q_norm : parts_.k_norm) {
    sum_ = at::zeros({source_.U.size(0), target_.V.size(0)}, sums());
  }

  void add(const AttributionRows& rows) override {
    for (std::int64_t b = 0; b < rows.B; ++b) add_row(rows, b);
  }

  void finish(std::vector<SummedWire>& found) const override {
    put(found, sum_.matmul(target_.V.to(at::kDouble)));
  }

 private:
  /// Of each head of queries, what sources c at positions t add to the queries or keys there: [K, F, d_head].
  at::Tensor changes(const AttributionRows& rows, std::int64_t b, const at::Tensor& t,
                     const at::Tensor& c) const {
    const std::int64_t own = queries_ ? heads() : parts_.shape.key_heads;
    const std::int64_t F = t.size(0), width = source_.U.size(1) / own;
    at::Tensor change = source_.U.index_select(0, c);
    if (norm_) {
      const at::Tensor before = rows.norms.at({block_, queries_ ? NormPlace::query : NormPlace::key})
                                    .to(change.scalar_type())
                                    .view({rows.B, rows.T, own * width})[b];
      change = norm_change(norm_, before.index_select(0, t).view({-1, width}), change.view({-1, width}));
    }
    change = change.view({F, own * width});
    if (parts_.rotary) {
      const RotaryTable all = parts_.rotary(rows.T);
      change = rotate(change.contiguous(),
                      {all.cosine.index_select(0, t), all.sine.index_select(0, t), all.adjacent},
                      /*inverse=*/false);
    }
    change = change.view({F, own, width});
    return (own == heads() ? change : change.repeat_interleave(heads() / own, 1)).transpose(0, 1);
  }

  void add_row(const AttributionRows& rows, std::int64_t b) {
    const AttentionSeen& seen = rows.attention.at(block_);
    const at::Tensor q = seen.q[b], k = seen.k[b], v = seen.v[b], pattern = seen.pattern[b],
                     average = seen.average[b];
    const auto of_row = [&](const at::Tensor& x) { return x.narrow(0, b * rows.T, rows.T); };
    const at::Tensor beta = of_row(rows.beta[*wire_.source]), there = beta.nonzero();
    if (there.size(0) == 0) return;
    const at::Tensor t = there.select(1, 0).contiguous(), c = there.select(1, 1).contiguous();
    const auto weight = [&](const at::Tensor& x) {
      return x.reshape({-1}).index_select(0, t * x.size(1) + c).unsqueeze(1);
    };
    const at::Tensor change = changes(rows, b, t, c);
    const at::Tensor scores =
        change.matmul((queries_ ? k : q).transpose(1, 2)) / std::sqrt(static_cast<double>(change.size(2)));
    const at::Tensor weighed =
        scores * (queries_ ? pattern.index_select(1, t) : pattern.index_select(2, t).transpose(1, 2));
    const at::Tensor all = weighed.sum(2, /*keepdim=*/true);
    const at::Tensor moved = queries_ ? weighed.matmul(v) - all * average.index_select(1, t)
                                      : all * v.index_select(1, t) - weighed.matmul(average);
    const at::Tensor flat = moved.transpose(0, 1).reshape({t.size(0), -1});
    sum_.index_add_(0, c, (flat * weight(beta)).to(at::kDouble));
    if (!absolute_.defined()) return;
    const at::Tensor sign = of_row(rows.sign[*wire_.target]);
    at::Tensor change_of_size;  // [F, C]
    if (queries_) {
      change_of_size = flat.matmul(target_.V) * sign.index_select(0, t);
    } else {
      const at::Tensor V = read_by_head(target_.V);
      change_of_size = (v.index_select(1, t).matmul(V) * weighed.matmul(sign)).sum(0) -
                       weighed.matmul(sign * average.matmul(V)).sum(0);
    }
    absolute_.index_add_(0, c, (change_of_size * weight(of_row(rows.strong[*wire_.source]))).to(at::kDouble));
  }

  bool queries_;
  NormParts norm_;
  at::Tensor sum_;  // [C', K d_head]: what sources add to what is read
};

}  // namespace

std::unique_ptr<AttributionForm> values_form(const AttributionContext& context, const Wire& wire) {
  return std::make_unique<ValuesForm>(context, wire);
}
std::unique_ptr<AttributionForm> scores_form(const AttributionContext& context, const Wire& wire) {
  return std::make_unique<ScoresForm>(context, wire);
}

}  // namespace vpd
