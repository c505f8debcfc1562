#include "vpd/interpretation/attention_pairs.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include <ATen/ATen.h>

namespace vpd {
namespace {

/// Every term of one head, turned: queries [terms, T, w] (with the scale) and keys likewise.
struct TurnedTerms {
  at::Tensor query, key;
};

/// The terms of one row, head after head.
class RowTerms {
 public:
  RowTerms(const AttentionTerms& terms, const at::Tensor& x)
      : terms_(terms),
        rotation_(terms.block.parts, x.size(0), terms.options),
        query_(terms.query.values(x, x.size(0))),
        key_(terms.key.values(x, x.size(0))) {}

  TurnedTerms of(std::int64_t head) const {
    return {rotation_.each(terms_.query.expanded(query_, head)) * terms_.scale(),
            rotation_.each(terms_.key.expanded(key_, terms_.block.key_head(head)))};
  }

 private:
  const AttentionTerms& terms_;
  Rotation rotation_;
  AttentionSide::Values query_, key_;
};

}  // namespace

at::Tensor pair_scores(const AttentionTerms& terms, const at::Tensor& x, std::int64_t head) {
  const TurnedTerms turned = RowTerms(terms, x).of(head);
  return at::einsum("ptw,ruw->prtu", {turned.query, turned.key}).tril();
}

at::Tensor causal_pattern(const at::Tensor& score) {
  const at::Tensor later = at::ones_like(score, at::kBool).triu(1);
  return score.masked_fill(later, -std::numeric_limits<double>::infinity()).softmax(-1);
}

LargestPairs largest_pairs(const AttentionTerms& terms, const at::Tensor& x, std::int64_t most) {
  const RowTerms row(terms, x);
  const std::int64_t H = terms.block.parts.shape.heads, T = x.size(0);
  const auto Q = static_cast<std::int64_t>(terms.query.terms().size()),
             K = static_cast<std::int64_t>(terms.key.terms().size());
  LargestPairs found;
  at::Tensor largest = at::zeros({Q, K}, terms.options);
  std::vector<at::Tensor> scores;
  for (std::int64_t h = 0; h < H; ++h) {
    const TurnedTerms turned = row.of(h);
    scores.push_back(turned.query.sum(0).matmul(turned.key.sum(0).t()).tril());
    // A query term after the other: all pairs at once would be Q times as large.
    for (std::int64_t i = 0; i < Q; ++i) {
      const at::Tensor given = turned.query[i].matmul(turned.key.transpose(1, 2)).tril();  // [K, T, T]
      largest[i].copy_(at::maximum(largest[i], given.abs().amax({1, 2})));
    }
  }
  found.score = at::stack(scores);
  const at::Tensor flat = largest.flatten().to(at::kDouble).cpu().contiguous();
  const auto* value = flat.const_data_ptr<double>();
  std::vector<std::int64_t> order(static_cast<std::size_t>(Q * K));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return value[a] > value[b]; });
  order.resize(static_cast<std::size_t>(std::min(most, Q * K)));
  const auto P = static_cast<std::int64_t>(order.size());
  found.contribution = at::zeros({P, H, T, T}, terms.options);
  for (std::int64_t h = 0; h < H; ++h) {
    const TurnedTerms turned = row.of(h);
    for (std::int64_t p = 0; p < P; ++p) {
      const std::int64_t pair = order[static_cast<std::size_t>(p)];
      found.contribution[p][h].copy_(turned.query[pair / K].matmul(turned.key[pair % K].t()).tril());
    }
  }
  for (const std::int64_t pair : order) {
    found.query.push_back(terms.query.terms()[static_cast<std::size_t>(pair / K)]);
    found.key.push_back(terms.key.terms()[static_cast<std::size_t>(pair % K)]);
  }
  found.rest = found.score - found.contribution.sum(0);
  return found;
}

StaticInteractions static_interactions(const AttentionTerms& terms, const at::Tensor& signs,
                                       std::span<const std::int64_t> offsets) {
  const auto usual = [&](const AttentionSide& side) {
    std::vector<double> sign;
    for (std::int64_t c = 0; c < side.columns(); ++c)
      sign.push_back(signs[side.terms()[static_cast<std::size_t>(c)]].item<double>());
    const at::Tensor length = side.reading() * at::tensor(sign, at::kDouble).to(terms.options);
    return side.vectors() * length.view({1, -1, 1});
  };
  const std::int64_t H = terms.block.parts.shape.heads,
                     last = *std::max_element(offsets.begin(), offsets.end());
  const Rotation rotation(terms.block.parts, last + 1, terms.options);
  const at::Tensor query = usual(terms.query) * terms.scale();
  const at::Tensor key = usual(terms.key).repeat_interleave(H / terms.block.parts.shape.key_heads, 0);
  std::vector<at::Tensor> strength;
  for (const std::int64_t offset : offsets)
    strength.push_back(rotation.by(query, offset).matmul(key.transpose(1, 2)));
  StaticInteractions found{.strength = at::stack(strength).to(at::kDouble)};
  found.mean = found.strength.mean({0, 2, 3});
  found.sd = (found.strength - found.mean.view({1, H, 1, 1})).square().mean({0, 2, 3}).sqrt();
  return found;
}

}  // namespace vpd
