#include "vpd/interpretation/head_summary.hpp"

#include <cmath>

#include <ATen/ATen.h>

#include "uniform_draws.hpp"
#include "vpd/base/error.hpp"
#include "vpd/interpretation/attention_pairs.hpp"

namespace vpd {
namespace {

/// Hands each head's pattern [B, T, T] of one block to `look(head, pattern)`.
template <class Look>
class PatternWatch final : public ForwardingExecutor {
 public:
  PatternWatch(std::size_t block, const Look& look, at::ScalarType type, Executor& below)
      : ForwardingExecutor(&below), block_(block), look_(look), type_(type) {}

  at::Tensor attention(const AttentionCall& call) override {
    if (call.block == block_) {
      const std::int64_t B = call.B, T = call.q.size(0) / B, w = call.q.size(1) / call.heads;
      const auto rows = [&](const at::Tensor& x, std::int64_t head) {
        return x.narrow(1, head * w, w).to(type_).view({B, T, w});
      };
      for (std::int64_t h = 0; h < call.heads; ++h) {
        const at::Tensor q = rows(call.q, h), k = rows(call.k, h * call.key_heads / call.heads);
        look_(h, causal_pattern(q.matmul(k.transpose(1, 2)) / std::sqrt(static_cast<double>(w))));
      }
    }
    return inner().attention(call);
  }

 private:
  std::size_t block_;
  const Look& look_;
  at::ScalarType type_;
};

template <class Look>
void watch_patterns(const Decomposition& d, std::size_t block, const at::Tensor& tokens,
                    const std::vector<RankOneEdit>& edits, const PassStart& start, const Look& look) {
  const at::NoGradGuard no_grad;
  EditedExecutor edited(
      d, edits, edit_factors(edits, tokens.numel(), tokens.size(1), at::Tensor(), d.numerics.options()));
  PatternWatch<Look> watch(block, look, d.numerics.wide, edited);
  d.target->hidden(tokens, watch, start);
}

std::int64_t heads_of(const Decomposition& d, std::size_t block) {
  return d.target->anatomy()->blocks[block].attention->shape.heads;
}

}  // namespace

at::Tensor head_norms(const Decomposition& d, std::size_t site, std::int64_t head_width, bool reads_heads) {
  const at::Tensor V = d.components.V(site).to(at::kDouble).t(), U = d.components.U(site).to(at::kDouble);
  const at::Tensor split = reads_heads ? V : U, whole = reads_heads ? U : V;
  return split.unflatten(1, at::IntArrayRef{-1, head_width}).norm(2, {2}) * whole.norm(2, {1}, true);
}

at::Tensor spread_of(const at::Tensor& norms) {
  const at::Tensor share = norms / norms.sum(1, true).clamp_min(1e-300);
  return -(at::xlogy(share, share)).sum(1);
}

AttentionByOffset::AttentionByOffset(const Decomposition& d, std::size_t block, std::int64_t T,
                                     std::vector<std::int64_t> offsets)
    : decomposition_(d), block_(block), T_(T), offsets_(std::move(offsets)) {
  sum_ = at::zeros({heads_of(d, block), static_cast<std::int64_t>(offsets_.size())}, at::kDouble);
}

at::Tensor AttentionByOffset::sums(const at::Tensor& tokens, const std::vector<RankOneEdit>& edits,
                                   const PassStart& start) const {
  const at::Tensor found = at::zeros_like(sum_, sum_.options().device(tokens.device()));
  watch_patterns(decomposition_, block_, tokens, edits, start,
                 [&](std::int64_t head, const at::Tensor& pattern) {
                   for (std::size_t i = 0; i < offsets_.size(); ++i)
                     found[head][static_cast<std::int64_t>(i)].add_(
                         pattern.diagonal(-offsets_[i], 1, 2).sum(at::kDouble));
                 });
  return found.cpu();
}

void AttentionByOffset::add(const at::Tensor& tokens, const std::vector<RankOneEdit>& edits,
                            const PassStart& start) {
  sum_ = sum_ + sums(tokens, edits, start);  // copies of this may share the tensor
  rows_ += tokens.size(0);
}

void AttentionByOffset::add(const Batch& batch, const std::vector<RankOneEdit>& edits) {
  std::vector<at::Tensor> parts(batch.lanes.size());
  batch.pool.run([&](int number) {
    const auto l = static_cast<std::size_t>(number);
    if (l >= batch.lanes.size()) return;  // fewer rows than lanes
    const CleanPass& clean = batch.lanes[l].clean;
    parts[l] = sums(clean.input, edits, clean.start);
  });
  for (const at::Tensor& part : parts) sum_ = sum_ + part;
  rows_ += batch.B;
}

at::Tensor AttentionByOffset::mean() const {
  std::vector<double> counts;
  for (const std::int64_t offset : offsets_) counts.push_back(static_cast<double>(rows_ * (T_ - offset)));
  return sum_ / at::tensor(counts, at::kDouble);
}

at::Tensor AttentionByOffset::behind(const Decomposition& d, std::size_t block, const at::Tensor& tokens,
                                     const std::vector<RankOneEdit>& edits, std::int64_t offset,
                                     std::int64_t first) {
  const at::Tensor found = at::zeros({heads_of(d, block)}, at::dtype(at::kDouble).device(tokens.device()));
  watch_patterns(d, block, tokens, edits, {}, [&](std::int64_t head, const at::Tensor& pattern) {
    const at::Tensor back = pattern.diagonal(-offset, 1, 2);  // [B, T - offset], of queries from offset on
    const std::int64_t skipped = first - offset;
    found[head].copy_(back.narrow(1, skipped, back.size(1) - skipped).to(at::kDouble).mean());
  });
  return found.cpu();
}

RandomTokens random_tokens(std::int64_t rows, std::int64_t T, std::int64_t vocabulary, std::uint64_t seed) {
  const auto draw = [&](std::uint64_t number, std::int64_t width) {
    const at::Tensor u = uniform_draws(seed, stream_of_random_tokens, number, {rows, width}, at::kDouble);
    return (u * static_cast<double>(vocabulary)).floor().to(at::kLong).clamp_max(vocabulary - 1);
  };
  const at::Tensor half = draw(1, T / 2);
  return {.any = draw(0, T), .repeated = at::cat({half, half}, 1)};
}

at::Tensor induction_scores(const Decomposition& d, std::size_t block, const at::Tensor& repeated,
                            const std::vector<RankOneEdit>& edits) {
  const std::int64_t half = repeated.size(1) / 2;
  VPD_CHECK(half >= 2, UsageError, "induction: expected rows of at least 4 tokens, found {}",
            repeated.size(1));
  return AttentionByOffset::behind(d, block, repeated, edits, half - 1, half);
}

ColumnFacts column_facts(const Evidence& evidence) {
  const std::int64_t columns = evidence.sites().total_C();
  ColumnFacts facts{.importance = at::zeros({columns}, at::kDouble),
                    .sign = at::ones({columns}, at::kDouble)};
  auto *importance = facts.importance.data_ptr<double>(), *sign = facts.sign.data_ptr<double>();
  for (std::int64_t column = 0; column < columns; ++column) {
    const SubcomponentFacts one = evidence.facts(column);
    importance[column] = one.mean_importance;
    sign[column] = one.sign;
  }
  return facts;
}

void ColumnMeasure::add(const Batch& batch) {
  const Decomposition& d = batch.decomposition;
  const at::Tensor sums = batch.sum_tensors([&](const LaneBatch& lane) {
    const at::Tensor& g = lane.importance.lower;
    std::vector<at::Tensor> h;
    for (std::size_t i = 0; i < d.sites.size(); ++i) {
      const at::Tensor V = d.components.V(i);
      h.push_back(d.sites[i].embedding ? at::embedding(V, lane.clean.inputs[i])
                                       : lane.clean.inputs[i].to(V.scalar_type()).matmul(V));
    }
    return at::stack(
        {g.sum(0, false, at::kDouble), (at::cat(h, 1) * g.gt(threshold_)).sum(0, false, at::kDouble)});
  });
  sums_ = sums_.defined() ? sums_ + sums : sums;
  positions_ += batch.positions();
}

ColumnFacts ColumnMeasure::facts() const {
  const at::Tensor sums = sums_.cpu();
  return {.importance = sums[0] / static_cast<double>(positions_),
          .sign = at::where(sums[1].lt(0), -1.0, 1.0).to(at::kDouble)};
}

}  // namespace vpd
