#pragma once

// The measures themselves, as functions of matrices (method, section 8).

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace vpd {

/// importance [n, C]: causal importances on n probes with one active feature each, C at least n. After the
/// best assignment of a column to each row: entries elsewhere above `tolerance`, plus assigned ones below 1 -
/// tolerance.
std::int64_t identity_error(const at::Tensor& importance, double tolerance);

/// Of the same: columns beyond the k heaviest with an entry above `tolerance`, plus columns among these k
/// without one of at least 1 - tolerance.
std::int64_t dense_error(const at::Tensor& importance, std::int64_t k, double tolerance);

/// A feature's weights beside the subcomponent, of those that anything needs, that points most their way.
struct BestMatch {
  double cosine = 0.0;  ///< mean over the features of the largest cosine
  double ratio = 0.0;   ///< mean over the features of that subcomponent's length over the feature's
};

/// W [d_out, n] has a column for each of n features, V [n, C] and U [C, d_out] are its subcomponents. The
/// feature's weights are its column; of a subcomponent U_c V_cᵀ the same column is compared (SPD), or, with
/// `whole`, all of it against a matrix that is that column and zero elsewhere. `needed` bool [C]: a
/// subcomponent that no input needs may point anywhere, however short it is, and is passed over. Without any
/// both are 0.
BestMatch best_match(const at::Tensor& W, const at::Tensor& V, const at::Tensor& U, const at::Tensor& needed,
                     bool whole);

}  // namespace vpd
