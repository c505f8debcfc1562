#pragma once

// Attention scores as sums over pairs of a query's and a key's term.

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/interpretation/attention_terms.hpp"
#include "vpd/passes/batch.hpp"

namespace vpd {

/// Of one row, x [T, d]: [query terms, key terms, T, T], what each pair gives to the score of query t and key
/// u of a head; 0 where u > t. All pairs together are the score, exactly.
at::Tensor pair_scores(const AttentionTerms& terms, const at::Tensor& x, std::int64_t head);

/// Of scores [..., T, T]: the softmax over keys up to each query's position.
at::Tensor causal_pattern(const at::Tensor& score);

/// The pairs that give most anywhere to the scores of one row.
struct LargestPairs {
  std::vector<std::int64_t> query, key;  ///< [P], terms (columns, or OtherTerm), the largest first
  at::Tensor score;                      ///< [H, T, T]; 0 where u > t
  at::Tensor contribution;               ///< [P, H, T, T]
  at::Tensor rest;                       ///< [H, T, T], of all other pairs together
};
LargestPairs largest_pairs(const AttentionTerms& terms, const at::Tensor& x, std::int64_t most);

/// What a query subcomponent and a key subcomponent have to do with each other without any data: the score of
/// two positions that read exactly their directions, as long as V_c and with the usual sign.
struct StaticInteractions {
  at::Tensor strength;  ///< float64 [offsets, H, Q, K]
  at::Tensor mean, sd;  ///< float64 [H], over offsets and pairs: for standardising
};
/// `signs` [Σ C]: σ_c, 1 or -1.
StaticInteractions static_interactions(const AttentionTerms& terms, const at::Tensor& signs,
                                       std::span<const std::int64_t> offsets);

/// What pairs give to the scores of a data set. z is a head's score, D a pair's part of it; means are over
/// all queries t and keys u ≤ t of all rows unless said otherwise. All float64.
class PairSummary {
 public:
  /// T: positions of a row; `offsets` ascending. `terms` must outlive it.
  PairSummary(const AttentionTerms& terms, std::int64_t T, std::vector<std::int64_t> offsets,
              double threshold);

  void add(const Batch& batch);

  at::Tensor mean() const;   ///< [offsets, H, query terms, key terms]: of D where t - u is the offset
  at::Tensor share() const;  ///< [H, query terms, key terms]: Cov(D, z) / Var(z), which adds up to 1
  /// The same within queries: D and z less their means over a query's keys, which no softmax sees.
  at::Tensor share_within() const;
  at::Tensor both_mean() const;  ///< [H, Q, K]: of D where both subcomponents are important; 0: nowhere
  at::Tensor both_count() const { return sums_.both_count.to(at::kLong); }  ///< [Q, K]
  at::Tensor score_mean() const;                                            ///< [H]
  at::Tensor score_deviation() const;                                       ///< [H]

 private:
  struct Sums {
    at::Tensor by_offset;                          // [offsets, H, query terms, key terms]
    at::Tensor total, with_score, within_queries;  // [H, query terms, key terms]: Σ D, Σ D z, and of z less
                                                   // its mean over each query's keys
    at::Tensor both;                               // [H, Q, K]
    at::Tensor both_count;                         // [Q, K]
    at::Tensor score, square, square_within;       // [H]
  };
  Sums zeros() const;
  Sums sums_of(const LaneBatch& lane) const;
  struct Head;
  void add_head(const Head& head, Sums& sums) const;
  at::Tensor of_other_terms(const Head& head, const at::Tensor& weight) const;
  double pairs_of(std::int64_t rows) const { return static_cast<double>(rows * (T_ * (T_ + 1) / 2)); }

  const AttentionTerms& terms_;
  std::int64_t T_;
  std::vector<std::int64_t> offsets_;
  double threshold_;
  Rotation rotation_;
  at::Tensor query_terms_, key_terms_;  // [terms, channels]: which channels make a term
  std::int64_t rows_ = 0;
  Sums sums_;
};

/// Multiplications and additions of PairSummary for one row, in its matrix products.
double pair_summary_operations(const AttentionShape& shape, std::int64_t query_columns,
                               std::int64_t key_columns, std::int64_t T);

}  // namespace vpd
