#pragma once

#include "harvest_batch.hpp"

namespace vpd {

/// Adds what a batch shows to the columns of a harvest. Different columns may be added at the same time.
class ColumnWork {
 public:
  ColumnWork(Harvest::State& state, const HarvestBatch& batch);

  /// Everything about column c but the masses of all tokens, which are put into the plan.
  void add(std::size_t c);

  MassPlan take_plan() { return std::move(plan_); }

 private:
  void sums(HarvestColumn& column, std::size_t c);
  void input(HarvestColumn& column);
  void some_outputs(HarvestColumn& column) const;
  void all_outputs(std::size_t c);
  void together(HarvestColumn& column, std::size_t c) const;
  void examples(std::size_t c);
  void offer(std::size_t c, ExampleKind kind, std::span<const std::uint64_t> ranks);
  KeptExample example(std::size_t c, std::uint64_t rank, const Firing& firing) const;

  Harvest::State& state_;
  const HarvestBatch& batch_;
  std::vector<std::int32_t> bin_;  ///< position_bin() of each place in a row
  MassPlan plan_;

  std::span<const Firing> firings_;  ///< of the column that is being added
  std::vector<std::uint64_t> keys_, ranks_, positive_, negative_, strength_;
  std::vector<std::uint64_t> tokens_;  ///< keys of input()
  std::vector<std::int32_t> positions_;
  std::vector<std::uint8_t> groups_;
  std::vector<std::size_t> chosen_;
};

}  // namespace vpd
