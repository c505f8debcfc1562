#pragma once

// At some positions of a data set, which subcomponents are important.

#include <cstdint>
#include <vector>

#include "vpd/interpretation/bit_columns.hpp"
#include "vpd/passes/batch.hpp"

namespace vpd {

struct EventSettings {
  double threshold = 0.01;    ///< an event is an importance above
  std::int64_t per_row = 16;  ///< positions drawn of each row
  std::uint64_t seed = 0;     ///< of what is drawn
};

/// The positions of a row of T that are looked at, ascending: the `per_row` whose random numbers are
/// smallest.
std::vector<std::int64_t> sampled_positions(const EventSettings& settings, std::int64_t row, std::int64_t T);

/// Subcomponents with an event.
struct Events {
  BitColumns bits{0};
  std::vector<std::int32_t> subcomponents;  ///< of each column of `bits`: its column among the Σ C, ascending
};

/// Gathers events from the first rows of a data set. What it holds in the end depends neither on batches nor
/// on their order.
class EventSample {
 public:
  /// `rows` of T positions, of which settings.per_row, at most T, are looked at. `sites`: whether a site's
  /// subcomponents are.
  EventSample(const Sites& sites, const std::vector<bool>& chosen, std::int64_t rows, std::int64_t T,
              const EventSettings& settings);

  /// A batch that it has not seen; `batch.first` counts its rows in the data.
  void add(const Batch& batch);

  std::int64_t positions() const { return gathered_.positions(); }
  /// What was gathered, which it holds no more.
  Events take();

 private:
  EventSettings settings_;
  std::vector<bool> wanted_;         // by column among the Σ C
  std::vector<std::int32_t> place_;  // by column among the Σ C: in `gathered_`, or -1
  BitColumns gathered_;              // in the order in which columns had their first event
};

}  // namespace vpd
