#pragma once

// What the queries and keys of one block are made of: terms that add up to them exactly, so that the pairs of
// terms add up to the scores.
//
// Shapes: T positions, N = B T, H query heads, w their width, C subcomponents that are kept apart, P terms
// that are none, all of them after the C; R(t) the rotation at position t, so that R(t) q · R(u) k is
// R(t - u) q · k.

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/decomposition/decomposition.hpp"

namespace vpd {

/// Terms that are no subcomponent, in the place of a column.
enum class OtherTerm : std::int64_t {
  delta = -1,     ///< what the site's subcomponents leave of the matrix: all of it where it is no site
  bias = -2,      ///< of the matrix
  position = -3,  ///< that the target adds to queries and keys
  rest = -4,      ///< the site's subcomponents that are not kept apart, together
};

/// The attention of a block, and the sites among its matrices.
struct AttentionBlock {
  std::size_t number = 0;
  AttentionParts parts;
  std::optional<std::size_t> q, k, v, o;

  /// The site whose input is what q, k and v read.
  std::size_t reader() const { return q ? *q : *k; }
  /// The key head that a query head looks with.
  std::int64_t key_head(std::int64_t head) const { return head * parts.shape.key_heads / parts.shape.heads; }
};

/// Throws UsageError for a target without attention, a block that is not there, and one in which neither q
/// nor k is a site.
AttentionBlock attention_of(const Decomposition& decomposition, std::int64_t block);

/// R(t) of positions 0 to T - 1; nothing turns where the target has no rotation.
class Rotation {
 public:
  Rotation(const AttentionParts& parts, std::int64_t T, const at::TensorOptions& options);

  /// x [..., T, w], each position by its own angle.
  at::Tensor each(const at::Tensor& x) const { return turned(x, cosine_, sine_); }
  /// The same backwards.
  at::Tensor back(const at::Tensor& x) const { return cosine_.defined() ? turned(x, cosine_, -sine_) : x; }
  /// x [..., w], all by R(t).
  at::Tensor by(const at::Tensor& x, std::int64_t t) const;

 private:
  at::Tensor turned(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) const;

  at::Tensor cosine_, sine_;  // [T, w / 2]; undefined: no rotation
  bool adjacent_ = false;
};

/// Queries or keys of a block as sums of terms, before rotation and behind head norms, whose denominators are
/// held: everything here is linear in the terms.
class AttentionSide {
 public:
  enum class Kind { query, key };

  /// `columns` of the side's site, each kept apart, in this order; none where it is no site.
  AttentionSide(const Decomposition& decomposition, const AttentionBlock& block, Kind kind,
                std::vector<std::int64_t> columns);

  /// The columns, and then numbers of OtherTerm: those that there are.
  const std::vector<std::int64_t>& terms() const { return terms_; }
  std::int64_t columns() const { return C_; }
  std::int64_t others() const { return static_cast<std::int64_t>(terms_.size()) - C_; }
  std::int64_t heads() const { return heads_; }

  /// The terms of N positions. A subcomponent's at head h is factor times vectors()[h].
  struct Values {
    at::Tensor factor;  ///< [N, heads, C], or [N, 1, C] where all heads have the same
    at::Tensor others;  ///< [P, N, heads, w]

    at::Tensor factor_of(std::int64_t head) const { return factor.select(1, factor.size(1) > 1 ? head : 0); }
  };
  /// x [N, d]: what the block's q and k read, of rows of T positions.
  Values values(const at::Tensor& x, std::int64_t T) const;

  const at::Tensor& vectors() const { return vectors_; }  ///< [heads, C, w]: U, times a head norm's weight
  const at::Tensor& reading() const { return reading_; }  ///< [C]: ‖V_c‖

  /// All terms of a head one by one, [C + P, N, w].
  at::Tensor expanded(const Values& values, std::int64_t head) const;

 private:
  at::Tensor by_head(const at::Tensor& x) const;

  at::ScalarType type_;
  std::vector<std::int64_t> terms_;
  std::int64_t C_ = 0, heads_ = 0, w_ = 0;
  NormParts norm_;
  at::Tensor matrix_, bias_;  // [heads w, d], [heads w]
  at::Tensor V_, vectors_, reading_;
  at::Tensor positions_;              // [longest, heads w], or undefined
  std::vector<at::Tensor> matrices_;  // of Δ and of the rest, [heads w, d]
};

/// Both sides of a block's scores.
struct AttentionTerms {
  AttentionTerms(const Decomposition& decomposition, AttentionBlock of,
                 const std::vector<std::int64_t>& query_columns,
                 const std::vector<std::int64_t>& key_columns);

  AttentionBlock block;
  AttentionSide query, key;
  at::TensorOptions options;

  double scale() const;  ///< 1 / √w
};

/// Every column of a site; none of no site.
std::vector<std::int64_t> columns_of(const Sites& sites, std::optional<std::size_t> site);

}  // namespace vpd
