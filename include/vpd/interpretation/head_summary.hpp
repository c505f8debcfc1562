#pragma once

// What the heads of one block do: how subcomponents spread over them, and how far back they look.

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/interpretation/attention_terms.hpp"
#include "vpd/interpretation/edit.hpp"
#include "vpd/interpretation/evidence.hpp"
#include "vpd/passes/batch.hpp"

namespace vpd {

/// Of every subcomponent of a site and every head, float64 [C, heads]: ‖U^h_c‖ ‖V_c‖ of a matrix that gives
/// heads (q, k, v), ‖V^h_c‖ ‖U_c‖ of one that reads them (`reads_heads`: o).
at::Tensor head_norms(const Decomposition& decomposition, std::size_t site, std::int64_t head_width,
                      bool reads_heads);
/// Of norms [C, heads]: the entropy of their shares, nats [C]; 0 is one head alone, ln(heads) all alike.
at::Tensor spread_of(const at::Tensor& norms);

/// Attention by how far back the key is, of a block's heads.
class AttentionByOffset {
 public:
  /// T: positions of a row. The decomposition must outlive it.
  AttentionByOffset(const Decomposition& decomposition, std::size_t block, std::int64_t T,
                    std::vector<std::int64_t> offsets);

  /// One pass of the target over tokens [B, T], edited.
  void add(const at::Tensor& tokens, const std::vector<RankOneEdit>& edits, const PassStart& start = {});
  /// Over a batch's rows, its lanes side by side.
  void add(const Batch& batch, const std::vector<RankOneEdit>& edits);

  /// [H, offsets]: attention to the key that many positions before, mean over rows and the queries that have
  /// one.
  at::Tensor mean() const;
  /// [H]: the same of one offset, over queries from a position on alone: for a row that repeats itself.
  static at::Tensor behind(const Decomposition& decomposition, std::size_t block, const at::Tensor& tokens,
                           const std::vector<RankOneEdit>& edits, std::int64_t offset, std::int64_t first);

 private:
  at::Tensor sums(const at::Tensor& tokens, const std::vector<RankOneEdit>& edits,
                  const PassStart& start) const;

  const Decomposition& decomposition_;
  std::size_t block_;
  std::int64_t T_;
  std::vector<std::int64_t> offsets_;
  std::int64_t rows_ = 0;
  at::Tensor sum_;  // float64 [H, offsets], on the CPU
};

/// Rows of tokens that mean nothing, int64 [rows, T].
struct RandomTokens {
  at::Tensor any;       ///< each drawn by itself
  at::Tensor repeated;  ///< T / 2 tokens drawn, and the same once more
};
RandomTokens random_tokens(std::int64_t rows, std::int64_t T, std::int64_t vocabulary, std::uint64_t seed);

/// How far each head looks from a token to the one behind its last occurrence, [H], in rows of two equal
/// halves. Throws UsageError for rows shorter than 4.
at::Tensor induction_scores(const Decomposition& decomposition, std::size_t block, const at::Tensor& repeated,
                            const std::vector<RankOneEdit>& edits);

/// Of every column: its mean importance, and the sign σ_c of its activations, that of their sum where it
/// fires.
struct ColumnFacts {
  at::Tensor importance;  ///< float64 [Σ C]
  at::Tensor sign;        ///< float64 [Σ C], 1 or -1
};
ColumnFacts column_facts(const Evidence& evidence);
/// The same from batches of data, where there is no harvest.
class ColumnMeasure {
 public:
  explicit ColumnMeasure(double threshold) : threshold_(threshold) {}
  void add(const Batch& batch);
  ColumnFacts facts() const;

 private:
  double threshold_;
  std::int64_t positions_ = 0;
  at::Tensor sums_;  // float64 [2, Σ C]: importances, activations where it fires
};

}  // namespace vpd
