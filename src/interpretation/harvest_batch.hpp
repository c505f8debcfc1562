#pragma once

// A batch as a harvest looks at it: on the host, with a list of what fired.

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "harvest_state.hpp"

namespace vpd {

/// What fired, position by position, columns ascending.
struct Firings {
  std::vector<std::int32_t> column, position;  ///< position in the batch
  std::vector<float> importance, activation;

  std::size_t size() const { return column.size(); }
};

/// A lane's positions.
struct LaneRows {
  std::int64_t first = 0;             ///< its first position in the batch
  at::Tensor importance, activation;  ///< float32 [n, Σ C]
  at::Tensor probability;  ///< float32 [n, k]: of the `likely` tokens, where an output side counts some
  at::Tensor likely;       ///< int64 [n, k]
  Firings firings;
  std::vector<double> g, gg, a, aa;  ///< sums over positions, per column
  at::Tensor histogram;              ///< as Harvest::State has it, of these positions
};

/// Probabilities of all tokens of a batch, in blocks of some tokens that lie close together: what a pass over
/// firings reads again and again stays in the cache.
class ProbabilityBlocks {
 public:
  static constexpr std::int64_t width = 32;  ///< tokens of a block

  ProbabilityBlocks() = default;
  ProbabilityBlocks(std::int64_t positions, std::int64_t V);

  /// Probabilities [n, V] of positions `first` and on.
  void put(std::int64_t first, const at::Tensor& probability) const;

  std::int64_t count() const { return blocks_.defined() ? blocks_.size(0) : 0; }
  std::int64_t positions() const { return blocks_.size(1); }
  /// [positions][width].
  const float* block(std::int64_t b) const {
    return blocks_.const_data_ptr<float>() + b * blocks_.size(1) * width;
  }

 private:
  at::Tensor blocks_;  // [blocks, positions, width], 0 behind the last token
};

/// Tokens of each position: one, or, of features, those that are not 0.
struct PositionTokens {
  std::vector<std::int32_t> tokens;
  std::vector<std::int64_t> begin;  ///< [positions + 1]
  std::vector<std::int32_t> shown;  ///< the one that examples show, -1 where there is none
};

struct HarvestBatch {
  std::int64_t first_row = 0, B = 0, T = 0;
  std::vector<LaneRows> lanes;
  std::vector<std::int32_t> lane_of;  ///< [positions]
  ProbabilityBlocks probability;
  PositionTokens tokens;
  std::vector<char> half;  ///< of each row: State::half()

  Firings firings;
  std::vector<std::int64_t> row_begin;     ///< [positions + 1]: numbers of firings
  std::vector<std::int64_t> of_column;     ///< numbers of firings, by column, then by position
  std::vector<std::int64_t> column_begin;  ///< [Σ C + 1]

  std::int64_t positions() const { return B * T; }
  std::int64_t row_of(std::int64_t firing) const {
    return firings.position[static_cast<std::size_t>(firing)] / T;
  }
  std::size_t group(std::int64_t firing) const;
  std::span<const std::int64_t> of(std::size_t column) const {
    const auto begin = static_cast<std::size_t>(column_begin[column]);
    return {of_column.data() + begin, static_cast<std::size_t>(column_begin[column + 1]) - begin};
  }
};

HarvestBatch look_at(const Batch& batch, const Harvest::State& state);

}  // namespace vpd
