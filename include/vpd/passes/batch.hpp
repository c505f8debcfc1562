#pragma once

// Batches of a data set, divided among lanes, with their clean passes and causal importances: what
// evaluation and interpretation look at.

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/base/stop.hpp"
#include "vpd/io/dataset.hpp"
#include "vpd/machine/lanes.hpp"
#include "vpd/passes/reconstruction.hpp"

namespace vpd {

class BatchReader;

/// A lane's rows of a batch.
struct LaneBatch {
  std::size_t number = 0;        ///< of the lane
  std::int64_t first_batch = 0;  ///< number of its first row in the batch
  CleanPass clean;
  Importance importance;
};

struct Batch {
  const Decomposition& decomposition;
  Lanes& pool;
  std::uint64_t seed = 0;   ///< of random draws
  std::int64_t number = 0;  ///< of the batch, counted from 0
  std::int64_t first = 0;   ///< position of its first row in the data set
  std::int64_t B = 0, T = 0;
  BoundSubcomponents components;  ///< frozen
  std::vector<LaneBatch> lanes;   ///< those that have rows
  StopAsked stop;                 ///< asked before every pass
  const BatchReader* reader = nullptr;
  mutable at::Tensor kept;  ///< what largest_of() gives, once it has been asked for

  std::int64_t positions() const { return B * T; }
  /// Of those, the ones at which outputs are compared.
  std::int64_t compared() const {
    return lanes.front().clean.compared == ComparedPositions::last ? B : B * T;
  }

  /// What a masked pass over a lane's rows reads; `importance` in place of the lane's own where defined.
  PassContext context(const LaneBatch& lane, const at::Tensor& importance = {}) const;

  /// The key of draws that are the same in every pass over the data.
  RandomKey key(RandomPurpose purpose, std::uint64_t a, std::uint64_t b = 0) const;

  /// Σ over lanes of work(lane), computed side by side without gradients. Throws Interrupted once `stop` says
  /// so.
  at::Tensor sum_tensors(const std::function<at::Tensor(const LaneBatch&)>& work) const;
  double sum(const std::function<at::Tensor(const LaneBatch&)>& work) const;
};

/// 1 for the `kept` subcomponents a position, in the mean over the batch, whose gradient attributions are the
/// largest, and 0 elsewhere: wide [B T, Σ C] (method, section 5).
at::Tensor largest_of(const Batch& batch, double kept);

/// Reads batches in order or by their numbers, each time anew. What it is given must outlive it.
class BatchReader {
 public:
  struct Options {
    std::int64_t rows = 1;                                ///< of a batch
    std::uint64_t seed = 0;                               ///< of random draws
    bool outputs = false;                                 ///< keep what the sites gave
    ComparedPositions compared = ComparedPositions::all;  ///< where outputs are kept and compared
    std::optional<double> kept{};         ///< importances are largest_of() in place of the function's
    std::optional<std::int64_t> limit{};  ///< rows of the data that are read, the first ones; nothing: all
    StopAsked stop{};
  };

  BatchReader(const Decomposition& decomposition, const Dataset& data, Lanes& lanes, Options options);

  /// Rows of batch k: fewer at the end of the data, and none behind it.
  std::int64_t rows_of(std::int64_t k) const;
  Batch read(std::int64_t k) const;
  /// Where row `row` of a batch lies (Dataset::place()).
  std::optional<RowPlace> place(const Batch& batch, std::int64_t row) const {
    return data_.place(batch.first + row);
  }

 private:
  std::int64_t first_of(std::int64_t k) const;

  const Decomposition& decomposition_;
  const Dataset& data_;
  Lanes& lanes_;
  Options options_;
  BoundSubcomponents components_;         // frozen
  std::vector<Parameter> ci_parameters_;  // likewise
};

}  // namespace vpd
