#pragma once

// Claims about what a subcomponent does inside the target, as numbers: whether what it writes lies along the
// residual stream, and whether attention across certain tokens hangs on it.

#include <cstdint>
#include <optional>
#include <vector>

#include "vpd/interpretation/edit.hpp"
#include "vpd/interpretation/harvest.hpp"
#include "vpd/interpretation/row_sums.hpp"
#include "vpd/passes/batch.hpp"

namespace vpd {

struct MechanismSettings {
  double threshold = 0.1;                ///< important: an edited subcomponent's g is above
  bool along_stream = false;             ///< measure StreamFigures
  std::vector<std::int64_t> boundary{};  ///< tokens that attention is measured across; none: not measured
  std::int64_t resamples = 1000;         ///< of rows, for intervals
  std::uint64_t seed = 0;
};

/// Of what the edited subcomponents write, y = Σ (V_cᵀ x) U_c, and the residual stream s that it is added
/// to, in the target's own pass where one of them is important. Of those of sites that write the stream.
struct StreamFigures {
  Interval cosine;  ///< y · s / (‖y‖ ‖s‖)
  Interval gain;    ///< y · s / ‖s‖²: 0.1 makes the stream a tenth longer along itself
};

/// Attention of a query behind a boundary token to all keys before the last such token, mean over heads and
/// blocks: of the target, of the edited target, and the difference.
struct AcrossFigures {
  Interval before, after, change;
};

/// Sums of a batch after the other, row by row, of several sets of edits: one pass of the target serves them
/// all.
class MechanismMeasure {
 public:
  /// Throws UsageError where the stream is asked for and no subcomponent of the first set writes it.
  MechanismMeasure(const Decomposition& decomposition, std::vector<std::vector<RankOneEdit>> sets,
                   MechanismSettings settings);
  void add(const Batch& batch);

  std::optional<StreamFigures> stream(std::size_t set, bool intervals = true) const;
  std::optional<AcrossFigures> across(std::size_t set, bool intervals = true) const;

 private:
  enum Figure { cosine, gain, attended_before, attended_after, attended_change, figures };
  using Rows = std::vector<RowFigures>;
  std::vector<Rows> rows_of(const Decomposition& decomposition, const LaneBatch& lane) const;
  Interval interval(std::size_t set, Figure figure, bool intervals) const;

  std::vector<std::vector<RankOneEdit>> sets_;
  std::vector<std::vector<std::int64_t>> columns_;  // of each set
  MechanismSettings settings_;
  std::vector<StreamRole> roles_;  // of each matrix
  std::vector<Rows> rows_;         // of each set
};

}  // namespace vpd
