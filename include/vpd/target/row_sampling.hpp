#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/target/target.hpp"
#include "vpd/target/token_choice.hpp"

namespace vpd {

/// Rows of a language model's own distribution.
struct RowSampling {
  std::int64_t length = 0;                ///< tokens of a row, those of its beginning among them
  std::vector<std::int64_t> beginning{};  ///< of every row; none: a token that is drawn uniformly
  TokenChoice choice{};
  std::uint64_t seed = 0;
};

/// Throws UsageError for a target of features, for rows that are longer than it takes or no longer than their
/// beginning, and for tokens that it does not know.
void check_sampling(const Target& target, const RowSampling& sampling);

/// Rows first, …, first + count - 1: tokens int64 [count, length] on the CPU. Row r is a function of the
/// target, the sampling and r, but for rounding: products of another number of rows may round otherwise, and
/// where two tokens are that close to being drawn it may be the other one. `before` is called before token t
/// of the rows is drawn, and may throw.
at::Tensor sample_rows(const Target& target, const RowSampling& sampling, std::int64_t first,
                       std::int64_t count, const std::function<void(std::int64_t t)>& before = {});

}  // namespace vpd
