#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/passes/clean_pass.hpp"

namespace vpd {

/// A batch in which few rows come again and again: a pass over each of them, and which of them each row is.
struct RepeatedRows {
  CleanPass distinct;  ///< of U rows
  at::Tensor which;    ///< int64 [B]

  /// The pass over all B rows.
  CleanPass all() const;
  /// From rows [U T, …] to [B T, …]; on the graph of x.
  at::Tensor spread(const at::Tensor& x) const;
};

/// Clean passes of token rows, each computed once and kept: by itself, so that its numbers hang on nothing
/// that is beside it in a batch. For one thread.
class CleanPassCache {
 public:
  /// input int64 [B, T], on the CPU. Nothing where too few of its rows repeat for that to pay: which way is
  /// taken hangs on the batch alone.
  std::optional<RepeatedRows> look_up(const Decomposition& decomposition, const at::Tensor& input,
                                      bool keep_outputs, ComparedPositions compared);

 private:
  std::map<std::vector<std::int64_t>, CleanPass> passes_;
};

}  // namespace vpd
