#pragma once

// A batch as a harvest looks at it: on the host, with a list of what fired.

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "harvest_state.hpp"
#include "output_mass.hpp"

namespace vpd {
/// Where a subcomponent fires.
struct Firing {
  std::int32_t position = 0, row = 0;  ///< of the batch
  float importance = 0.0f, activation = 0.0f;
};

/// A lane's positions.
struct LaneRows {
  std::int64_t first = 0;             ///< its first position in the batch
  at::Tensor importance, activation;  ///< float32 [n, Σ C]
  at::Tensor probability;  ///< float32 [n, k]: of the `likely` tokens, where an output side counts some
  at::Tensor likely;       ///< int64 [n, k]
  std::vector<std::int32_t> fired;   ///< columns, position by position, ascending
  std::vector<Firing> firings;       ///< theirs
  std::vector<std::int64_t> begin;   ///< [n]: numbers of a position's first firing
  std::vector<double> g, gg, a, aa;  ///< sums over positions, per column
  at::Tensor histogram;              ///< as Harvest::State has it, of these positions
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
  std::vector<std::int32_t> lane_of;  ///< [rows]
  ProbabilityBlocks probability;
  PositionTokens tokens;
  std::vector<char> half;  ///< of each row: State::half()

  std::vector<std::int32_t> fired;           ///< columns, position by position, ascending
  std::vector<std::int64_t> position_begin;  ///< [positions + 1]: places in `fired`
  std::vector<Firing> firings;               ///< by column, then by position
  std::vector<std::int64_t> places;          ///< of these firings in `fired`
  std::vector<std::int64_t> column_begin;    ///< [Σ C + 1]: numbers of firings

  std::int64_t positions() const { return B * T; }
  std::size_t group(const Firing& firing) const {
    const float a = firing.activation;
    const FiringSign sign = a > 0 ? FiringSign::positive : a < 0 ? FiringSign::negative : FiringSign::none;
    return group_of(sign, half[static_cast<std::size_t>(firing.row)]);
  }
  const LaneRows& lane(std::int32_t row) const {
    return lanes[static_cast<std::size_t>(lane_of[static_cast<std::size_t>(row)])];
  }
  std::span<const Firing> of(std::size_t column) const { return part(firings, column); }
  std::span<const std::int64_t> places_of(std::size_t column) const { return part(places, column); }

 private:
  template <class T>
  std::span<const T> part(const std::vector<T>& all, std::size_t column) const {
    const auto begin = static_cast<std::size_t>(column_begin[column]);
    return std::span(all).subspan(begin, static_cast<std::size_t>(column_begin[column + 1]) - begin);
  }
};

HarvestBatch look_at(const Batch& batch, const Harvest::State& state);

}  // namespace vpd
