// Edges through the residual stream. A reader's input is x = w ⊙ s / r + b, where s is the stream (less its
// mean, for LayerNorm) and r² the mean of s² + ε. With the derivative of 1 / r, a source that wrote β U' at a
// position adds
//   β [ U' diag(w) V_c / r  -  (s · U') (V_cᵀ x - V_cᵀ b) / (d r²) ]
// to V_cᵀ x; without it, the first term alone. Both are sums of products of something of the source and
// something of the target at each position.

#include <ATen/ATen.h>

#include "attribution_forms.hpp"

namespace vpd {
namespace {

NormParts norm_of(const Anatomy& anatomy, std::size_t part) {
  if (part / 2 == anatomy.blocks.size()) return anatomy.last;
  const BlockParts& block = anatomy.blocks[part / 2];
  return part % 2 == 0 ? block.attention->norm : block.mlp->norm;
}

std::pair<std::size_t, NormPlace> place_of(const Anatomy& anatomy, std::size_t part) {
  const NormPlace place = part / 2 == anatomy.blocks.size() ? NormPlace::last
                          : part % 2 == 0                   ? NormPlace::attention
                                                            : NormPlace::mlp;
  return {part / 2, place};
}

class StreamForm final : public AttributionForm {
 public:
  StreamForm(const AttributionContext& context, std::vector<Wire> wires, std::size_t part)
      : context_(context),
        wires_(std::move(wires)),
        source_(wires_.front().source),
        norm_(norm_of(*context.anatomy, part)),
        place_(place_of(*context.anatomy, part)) {
    if (!source_) table_ = embedding_table();
    const std::int64_t d = written().size(1);
    const at::TensorOptions wide = context.d.numerics.options(), sums = wide.dtype(at::kDouble);
    std::vector<at::Tensor> V;
    for (const Wire& wire : wires_) {
      V.push_back(wire.target ? context.sites[*wire.target].V : at::eye(d, wide));
      widths_.push_back(V.back().size(1));
      if (wire.target) inner_ += widths_.back();
    }
    V_ = at::cat(V, 1);
    const std::int64_t sources = written().size(0), targets = V_.size(1);
    count_ = at::zeros({sources}, sums);
    if (bends()) second_ = at::zeros({sources, targets}, sums);
    if (!context.settings.absolute || inner_ == 0) return;
    absolute_ = at::zeros({sources, inner_}, sums);
    if (bends()) absolute_second_ = at::zeros({sources, inner_}, sums);
  }

  void add(const AttributionRows& rows) override {
    const Position at = position(rows);
    if (source_) {
      const at::Tensor& beta = rows.beta[*source_];
      count_ += (at.over_r.defined() ? beta * at.over_r : beta).sum(0, false, at::kDouble);
      if (bends()) add_product(second_, beta * pull(rows, at), at.read);
    } else {
      const at::Tensor over_r = at.over_r.defined() ? at.over_r.squeeze(1) : at::ones_like(rows.tokens);
      count_.index_add_(0, rows.tokens, over_r.to(at::kDouble));
      if (bends())
        second_.index_add_(0, rows.tokens, (pull(rows, at).unsqueeze(1) * at.read).to(at::kDouble));
    }
    if (absolute_.defined()) add_absolute(rows, at);
  }

  void finish(std::vector<SummedWire>& found) const override {
    at::Tensor W = written().to(at::kDouble), V = V_.to(at::kDouble);
    if (norm_.bias) W = W - W.mean(1, /*keepdim=*/true);
    if (norm_) V = weight().to(at::kDouble).unsqueeze(1) * V;
    const at::Tensor plain = W.matmul(V);
    const at::Tensor sum = count_.unsqueeze(1) * plain - (bends() ? second_ : at::zeros_like(plain));
    at::Tensor absolute;
    if (absolute_.defined())
      absolute =
          absolute_ * plain.narrow(1, 0, inner_) - (bends() ? absolute_second_ : at::zeros_like(absolute_));
    std::int64_t first = 0;
    for (std::size_t k = 0; k < wires_.size(); ++k) {
      SummedWire one{.wire = wires_[k], .sum = sum.narrow(1, first, widths_[k])};
      if (one.wire.target) {
        const at::Tensor length = context_.sites[*one.wire.target].length.to(at::kDouble);
        one.sum = one.sum * length;
        if (absolute.defined()) one.absolute = absolute.narrow(1, first, widths_[k]) * length;
      }
      found.push_back(std::move(one));
      first += widths_[k];
    }
  }

 private:
  /// What a position has for all sources.
  struct Position {
    at::Tensor s;       ///< [N, d]; all undefined without a norm
    at::Tensor over_r;  ///< [N, 1]: 1 / r
    at::Tensor read;    ///< [N, targets]: V_cᵀ (x - b)
  };

  /// Whether the derivative of 1 / r counts.
  bool bends() const { return norm_ && !context_.settings.complete; }
  at::Tensor weight() const { return norm_.weight->value.to(context_.d.numerics.wide); }
  const at::Tensor& written() const { return source_ ? context_.sites[*source_].U : table_; }

  at::Tensor embedding_table() const {
    return context_.d.target->matrices()[context_.anatomy->embedding]
        .table()
        .value.to(context_.d.numerics.wide)
        .contiguous();
  }

  Position position(const AttributionRows& rows) const {
    if (!norm_) return {};
    Position at{.s = rows.norms.at(place_).to(context_.d.numerics.wide)};
    if (norm_.bias) at.s = at.s - at.s.mean(1, /*keepdim=*/true);
    at.over_r = (at.s.square().mean(1, /*keepdim=*/true) + norm_.eps).rsqrt();
    if (!bends()) return at;
    std::vector<at::Tensor> read;
    for (const Wire& wire : wires_) {
      if (!wire.target) {
        read.push_back(weight() * at.s * at.over_r);
        continue;
      }
      at::Tensor h = rows.h[*wire.target];
      if (norm_.bias) h = h - norm_.bias->value.to(h.scalar_type()).matmul(context_.sites[*wire.target].V);
      read.push_back(h);
    }
    at.read = at::cat(read, 1);
    return at;
  }

  /// (s · U') / (d r²): [N, C'], or of each position's token [N].
  at::Tensor pull(const AttributionRows& rows, const Position& at) const {
    const at::Tensor scale = at.over_r.square() / static_cast<double>(at.s.size(1));
    if (source_) return at.s.matmul(written().t()) * scale;
    return (at.s * table_.index_select(0, rows.tokens)).sum(1) * scale.squeeze(1);
  }

  void add_absolute(const AttributionRows& rows, const Position& at) {
    std::vector<at::Tensor> signs;
    for (const Wire& wire : wires_)
      if (wire.target) signs.push_back(rows.sign[*wire.target]);
    const at::Tensor sign = at::cat(signs, 1), scaled = at.over_r.defined() ? sign * at.over_r : sign;
    const at::Tensor read = bends() ? sign * at.read.narrow(1, 0, inner_) : at::Tensor();
    if (source_) {
      const at::Tensor& beta = rows.strong[*source_];
      add_product(absolute_, beta, scaled);
      if (bends()) add_product(absolute_second_, beta * pull(rows, at), read);
    } else {
      absolute_.index_add_(0, rows.tokens, scaled.to(at::kDouble));
      if (bends())
        absolute_second_.index_add_(0, rows.tokens, (pull(rows, at).unsqueeze(1) * read).to(at::kDouble));
    }
  }

  static void add_product(at::Tensor sum, const at::Tensor& a, const at::Tensor& b) {
    sum += a.t().matmul(b).to(at::kDouble);
  }

  const AttributionContext& context_;
  std::vector<Wire> wires_;
  std::optional<std::size_t> source_;
  NormParts norm_;
  std::pair<std::size_t, NormPlace> place_;
  at::Tensor table_;  // rows of the embedding
  at::Tensor V_;      // [d, targets]
  std::vector<std::int64_t> widths_;
  std::int64_t inner_ = 0;  // targets that are subcomponents
  at::Tensor count_;        // Σ β / r
  at::Tensor second_, absolute_, absolute_second_;
};

}  // namespace

std::unique_ptr<AttributionForm> stream_form(const AttributionContext& context,
                                             const std::vector<Wire>& wires, std::size_t part) {
  return std::make_unique<StreamForm>(context, wires, part);
}

}  // namespace vpd
