// Sums over data of what pairs give. At an offset τ the pair (i, j) gives f_ti f_uj (R(τ) U_i · U_j) with the
// factors f, so that sums over positions are a product of factors, times numbers of the pair alone. Terms
// that are no subcomponent are w channels each, whose vectors are the unit vectors.

#include <ATen/ATen.h>

#include "vpd/interpretation/attention_pairs.hpp"

namespace vpd {
namespace {

/// Which channels make which term, [terms, channels].
at::Tensor channels_of(const AttentionSide& side, std::int64_t w) {
  const at::Tensor own = at::eye(side.columns(), at::kDouble);
  const at::Tensor others = at::eye(side.others(), at::kDouble).repeat_interleave(w, 1);
  return at::block_diag({own, others});
}

/// The vectors of a head's channels, [channels, w].
at::Tensor channel_vectors(const AttentionSide& side, std::int64_t head) {
  const at::Tensor own = side.vectors()[head];
  return at::cat({own, at::eye(own.size(1), own.options()).repeat({side.others(), 1})});
}

/// Their factors, [N, channels].
at::Tensor channel_factors(const AttentionSide::Values& values, std::int64_t head) {
  return at::cat({values.factor_of(head), values.others.select(2, head).permute({1, 0, 2}).flatten(1)}, 1);
}

/// Where the subcomponents of a side are important, [N, columns].
at::Tensor firings(const at::Tensor& importance, const AttentionSide& side, double threshold) {
  if (side.columns() == 0) return at::zeros({importance.size(0), 0}, importance.options());
  const std::vector<std::int64_t> columns(side.terms().begin(), side.terms().begin() + side.columns());
  const at::Tensor which = at::tensor(columns, at::kLong).to(importance.device());
  return importance.index_select(1, which).gt(threshold);
}

}  // namespace

PairSummary::PairSummary(const AttentionTerms& terms, std::int64_t T, std::vector<std::int64_t> offsets,
                         double threshold)
    : terms_(terms),
      T_(T),
      offsets_(std::move(offsets)),
      threshold_(threshold),
      rotation_(terms.block.parts, T, terms.options),
      query_terms_(channels_of(terms.query, terms.block.parts.shape.head_width).to(terms.options.device())),
      key_terms_(channels_of(terms.key, terms.block.parts.shape.head_width).to(terms.options.device())),
      sums_(zeros()) {}

/// One head's rows of a lane. Factors are [T, B, …]: those of an offset are then one stretch of memory.
struct PairSummary::Head {
  std::int64_t number = 0, Q = 0, K = 0;
  at::Tensor q, k;                  // [T, B, channels]
  at::Tensor q_own, k_own;          // [T, B, Q], [T, B, K]: of subcomponents alone
  at::Tensor q_fires, k_fires;      // likewise: 1 where they are important, else 0
  at::Tensor q_others, k_others;    // [terms, B, T, w]: terms that are no subcomponent
  at::Tensor q_vectors, k_vectors;  // [channels, w], the queries' with the scale
};

PairSummary::Sums PairSummary::zeros() const {
  const at::TensorOptions wide = terms_.options.dtype(at::kDouble);
  const std::int64_t H = terms_.block.parts.shape.heads, q = query_terms_.size(0), k = key_terms_.size(0),
                     Q = terms_.query.columns(), K = terms_.key.columns();
  return {.by_offset = at::zeros({static_cast<std::int64_t>(offsets_.size()), H, q, k}, wide),
          .total = at::zeros({H, q, k}, wide),
          .with_score = at::zeros({H, q, k}, wide),
          .within_queries = at::zeros({H, q, k}, wide),
          .both = at::zeros({H, Q, K}, wide),
          .both_count = at::zeros({Q, K}, wide),
          .score = at::zeros({H}, wide),
          .square = at::zeros({H}, wide),
          .square_within = at::zeros({H}, wide)};
}

/// Σ_tu W_tu D_tu, W [B, T, T] and 0 behind the query, of the pairs in which one term or both are no
/// subcomponent; 0 of the others. (R(t) q) · Σ_u W_tu R(u) k_u is a product of vectors at one position.
at::Tensor PairSummary::of_other_terms(const Head& head, const at::Tensor& weight) const {
  const auto Q = head.Q, K = head.K, w = head.q_vectors.size(1);
  const auto gathered = [&](const at::Tensor& others, const at::Tensor& W) {  // [terms, B, T, w]
    return rotation_.back(W.matmul(rotation_.each(others)));
  };
  const at::Tensor at_query = gathered(head.k_others, weight),
                   at_key = gathered(head.q_others, weight.transpose(1, 2));
  // Of subcomponents [T, B, C] with vectors at their positions [terms, B, T, w]: [C, terms].
  const auto along = [&](const at::Tensor& own, const at::Tensor& there, const at::Tensor& vectors) {
    const at::Tensor rows = there.permute({2, 1, 0, 3}).flatten(0, 1).flatten(1);  // [N, terms w]
    const at::Tensor sums = own.flatten(0, 1).t().matmul(rows).unflatten(1, at::IntArrayRef{-1, w});
    return (sums * vectors.unsqueeze(1)).sum({2}, false, at::kDouble);
  };
  const at::Tensor found =
      at::zeros({Q + head.q_others.size(0), K + head.k_others.size(0)}, terms_.options.dtype(at::kDouble));
  found.narrow(0, 0, Q)
      .narrow(1, K, head.k_others.size(0))
      .copy_(along(head.q_own, at_query, head.q_vectors.narrow(0, 0, Q)));
  found.narrow(0, Q, head.q_others.size(0))
      .narrow(1, 0, K)
      .copy_(along(head.k_own, at_key, head.k_vectors.narrow(0, 0, K)).t());
  found.narrow(0, Q, head.q_others.size(0))
      .narrow(1, K, head.k_others.size(0))
      .copy_(head.q_others.flatten(1).matmul(at_query.flatten(1).t()));
  return found;
}

void PairSummary::add_head(const Head& head, Sums& sums) const {
  const std::int64_t h = head.number, Q = head.Q, K = head.K, B = head.q.size(1);
  const at::TensorOptions options = terms_.options;
  // The scores [B, T, T] (query, key), less their mean, which comes back below: the products are of the type
  // of the weights, and would lose what a large mean hides.
  const auto whole = [&](const at::Tensor& factors, const at::Tensor& vectors) {
    return rotation_.each(factors.matmul(vectors).transpose(0, 1));
  };
  const at::Tensor seen = at::ones({T_, T_}, options).tril();
  at::Tensor z = whole(head.q, head.q_vectors).matmul(whole(head.k, head.k_vectors).transpose(1, 2)) * seen;
  const at::Tensor sum = z.sum(at::kDouble), centre = sum / pairs_of(B);
  sums.score[h].add_(sum);
  sums.square[h].add_(z.to(at::kDouble).square().sum());
  const at::Tensor keys = at::arange(1, T_ + 1, options).view({1, T_, 1});  // that each query sees
  const at::Tensor within = (z - z.sum(2, true) / keys) * seen;
  sums.square_within[h].add_(within.to(at::kDouble).square().sum());
  z = (z - centre.to(z.scalar_type())) * seen;

  const auto by_time = [](const at::Tensor& x) { return x.permute({1, 2, 0}).contiguous(); };  // [T, T, B]
  const at::Tensor z_in_time = by_time(z), within_in_time = by_time(within);
  const at::Tensor q_important = head.q_own * head.q_fires, k_important = head.k_own * head.k_fires;
  const at::Tensor total = at::zeros({head.q.size(2), head.k.size(2)}, options.dtype(at::kDouble)),
                   with_score = at::zeros({Q, K}, total.options()),
                   within_queries = at::zeros_like(with_score);
  std::size_t listed = 0;
  for (std::int64_t offset = 0; offset < T_; ++offset) {
    const auto queries = [&](const at::Tensor& x) { return x.narrow(0, offset, T_ - offset); };
    const auto of_pairs = [&](const at::Tensor& left, const at::Tensor& right) {
      return left.flatten(0, 1).t().matmul(right.narrow(0, 0, T_ - offset).flatten(0, 1));
    };
    const at::Tensor vectors = rotation_.by(head.q_vectors, offset).matmul(head.k_vectors.t());
    const at::Tensor given = of_pairs(queries(head.q), head.k) * vectors;  // [channels, channels]
    total.add_(given);
    if (listed < offsets_.size() && offsets_[listed] == offset)
      sums.by_offset[static_cast<std::int64_t>(listed++)][h].add_(
          query_terms_.matmul(given.to(at::kDouble)).matmul(key_terms_.t()));
    const at::Tensor own = vectors.narrow(0, 0, Q).narrow(1, 0, K);
    const auto weighted = [&](const at::Tensor& scores) {
      const at::Tensor weight = scores.diagonal(-offset, 0, 1).t().unsqueeze(2);  // [T - offset, B, 1]
      return of_pairs(queries(head.q_own) * weight, head.k_own) * own;
    };
    with_score.add_(weighted(z_in_time));
    within_queries.add_(weighted(within_in_time));
    sums.both[h].add_(of_pairs(queries(q_important), k_important) * own);
  }
  const at::Tensor given = query_terms_.matmul(total).matmul(key_terms_.t());
  sums.total[h].add_(given);
  const auto put = [&](const at::Tensor& to, const at::Tensor& of_subcomponents, const at::Tensor& weight) {
    to.narrow(0, 0, Q).narrow(1, 0, K).add_(of_subcomponents);
    to.add_(of_other_terms(head, weight));
  };
  put(sums.with_score[h], with_score, z);
  sums.with_score[h].add_(given * centre);
  put(sums.within_queries[h], within_queries, within);
}

PairSummary::Sums PairSummary::sums_of(const LaneBatch& lane) const {
  const at::NoGradGuard no_grad;
  const at::Tensor& x = lane.clean.inputs[terms_.block.reader()];
  const std::int64_t B = lane.clean.B();
  const AttentionSide::Values query = terms_.query.values(x, T_), key = terms_.key.values(x, T_);
  const auto in_time = [&](const at::Tensor& rows) {  // [N, …] -> [T, B, …]
    return rows.unflatten(0, at::IntArrayRef{B, T_}).transpose(0, 1).contiguous();
  };
  const at::Tensor
      q_fires = in_time(firings(lane.importance.lower, terms_.query, threshold_)).to(terms_.options.dtype()),
      k_fires = in_time(firings(lane.importance.lower, terms_.key, threshold_)).to(terms_.options.dtype());
  const auto others = [&](const AttentionSide::Values& values, std::int64_t head) {
    return values.others.select(2, head).unflatten(1, at::IntArrayRef{B, T_});
  };
  Sums sums = zeros();
  for (std::int64_t h = 0; h < terms_.block.parts.shape.heads; ++h) {
    const std::int64_t key_head = terms_.block.key_head(h);
    add_head({.number = h,
              .Q = terms_.query.columns(),
              .K = terms_.key.columns(),
              .q = in_time(channel_factors(query, h)),
              .k = in_time(channel_factors(key, key_head)),
              .q_own = in_time(query.factor_of(h)),
              .k_own = in_time(key.factor_of(key_head)),
              .q_fires = q_fires,
              .k_fires = k_fires,
              .q_others = others(query, h) * terms_.scale(),
              .k_others = others(key, key_head),
              .q_vectors = channel_vectors(terms_.query, h) * terms_.scale(),
              .k_vectors = channel_vectors(terms_.key, key_head)},
             sums);
  }
  sums.both_count.add_(
      q_fires.flatten(0, 1).to(at::kDouble).t().matmul(k_fires.to(at::kDouble).cumsum(0).flatten(0, 1)));
  return sums;
}

void PairSummary::add(const Batch& batch) {
  std::vector<Sums> parts(batch.lanes.size());
  batch.pool.run([&](int number) {
    const auto l = static_cast<std::size_t>(number);
    if (l < batch.lanes.size()) parts[l] = sums_of(batch.lanes[l]);
  });
  for (const Sums& part : parts) {
    sums_.by_offset.add_(part.by_offset);
    sums_.total.add_(part.total);
    sums_.with_score.add_(part.with_score);
    sums_.within_queries.add_(part.within_queries);
    sums_.both.add_(part.both);
    sums_.both_count.add_(part.both_count);
    sums_.score.add_(part.score);
    sums_.square.add_(part.square);
    sums_.square_within.add_(part.square_within);
  }
  rows_ += batch.B;
}

at::Tensor PairSummary::mean() const {
  std::vector<double> counts;
  for (const std::int64_t offset : offsets_) counts.push_back(static_cast<double>(rows_ * (T_ - offset)));
  const at::Tensor count = at::tensor(counts, at::kDouble).to(sums_.by_offset.device());
  return sums_.by_offset / count.view({-1, 1, 1, 1});
}

at::Tensor PairSummary::score_mean() const { return sums_.score / pairs_of(rows_); }

at::Tensor PairSummary::score_deviation() const {
  return at::clamp_min(sums_.square / pairs_of(rows_) - score_mean().square(), 0.0).sqrt();
}

at::Tensor PairSummary::share() const {
  const at::Tensor centre = score_mean().view({-1, 1, 1});
  return (sums_.with_score - sums_.total * centre) / pairs_of(rows_) /
         score_deviation().square().view({-1, 1, 1});
}

at::Tensor PairSummary::share_within() const {
  return sums_.within_queries / sums_.square_within.view({-1, 1, 1});
}

at::Tensor PairSummary::both_mean() const { return sums_.both / sums_.both_count.clamp_min(1.0); }

double pair_summary_operations(const AttentionShape& shape, std::int64_t query_columns,
                               std::int64_t key_columns, std::int64_t T) {
  // At each offset a product of all channels (Δ and the rest are w each) and three of subcomponents.
  const double w = static_cast<double>(shape.head_width), Q = static_cast<double>(query_columns),
               K = static_cast<double>(key_columns), t = static_cast<double>(T);
  const double products = (Q + 2.0 * w) * (K + 2.0 * w) + 3.0 * Q * K;
  return static_cast<double>(shape.heads) * (t * (t + 1.0) * products + 20.0 * t * t * w);
}

}  // namespace vpd
