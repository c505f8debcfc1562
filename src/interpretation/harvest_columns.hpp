#pragma once

#include "harvest_batch.hpp"

namespace vpd {

/// Adds what a batch shows to the columns of a harvest. Different columns may be added at the same time.
class ColumnWork {
 public:
  ColumnWork(Harvest::State& state, const HarvestBatch& batch) : state_(state), batch_(batch) {}

  /// Everything about column c but the masses of all tokens.
  void add(std::size_t c);
  /// Masses of all tokens in the blocks begin, …, end - 1, of every column: after add() of all.
  void add_masses(std::int64_t begin, std::int64_t end) const;

 private:
  float g(std::int64_t i) const { return batch_.firings.importance[static_cast<std::size_t>(i)]; }
  float a(std::int64_t i) const { return batch_.firings.activation[static_cast<std::size_t>(i)]; }
  std::int64_t position(std::int64_t i) const { return batch_.firings.position[static_cast<std::size_t>(i)]; }
  const LaneRows& lane(std::int64_t n) const {
    return batch_.lanes[static_cast<std::size_t>(batch_.lane_of[static_cast<std::size_t>(n)])];
  }

  void sums(HarvestColumn& column, std::size_t c);
  void input(HarvestColumn& column) const;
  void some_outputs(HarvestColumn& column) const;
  void together(HarvestColumn& column, std::size_t c) const;
  void examples(std::size_t c);
  void offer(std::size_t c, ExampleKind kind, std::uint64_t rank, std::int64_t i);

  Harvest::State& state_;
  const HarvestBatch& batch_;
  std::span<const std::int64_t> numbers_;  ///< of the column's firings
  std::vector<std::uint64_t> keys_;        ///< drawn for each of them
};

/// A probability, or a sum of them, as whole multiples of mass_unit.
inline std::int64_t mass_units(double p) { return static_cast<std::int64_t>(p / mass_unit + 0.5); }

}  // namespace vpd
