#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vpd/interpretation/edit.hpp"
#include "vpd/interpretation/row_sums.hpp"
#include "vpd/passes/batch.hpp"

namespace vpd {

struct EffectSettings {
  double threshold = 0.1;              ///< important: an edited subcomponent's g is above
  std::int64_t near = 20;              ///< tokens on either side of such a position
  std::vector<std::int64_t> wanted{};  ///< tokens whose probability is to change
  std::int64_t resamples = 1000;       ///< of rows, for intervals
  std::uint64_t seed = 0;
};

/// What an edit of the target changes (docs/editing.md). KL is from the target to the edited one.
struct EditEffect {
  Interval near, far, all;  ///< KL
  Interval important;       ///< likewise, where an edited subcomponent is important
  double far_99 = 0.0;      ///< 99th percentile of KL over far positions
  Interval ce_change;       ///< of the next token
  /// Of the wanted tokens together, where important: before, after, and what was lost (position by position).
  Interval p_before, p_after, p_lost, ln_p_before, ln_p_after, ln_p_lost, argmax_before, argmax_after,
      argmax_lost;

  /// How much more it does where it is important than far away: important.mean / (far_99 + 1e-6).
  double specificity() const { return important.mean / (far_99 + 1e-6); }
};

/// Sums of a batch after the other, row by row.
class EffectMeasure {
 public:
  EffectMeasure(std::vector<RankOneEdit> edits, EffectSettings settings);
  void add(const Batch& batch);
  /// Without intervals, which take a while: means alone.
  EditEffect result(bool intervals = true) const;

  /// Of each position seen: KL.
  const std::vector<float>& kl() const { return kl_; }

 private:
  enum Figure {
    near_kl,
    far_kl,
    all_kl,
    important_kl,
    ce,
    p0,
    p1,
    p_less,
    ln0,
    ln1,
    ln_less,
    arg0,
    arg1,
    arg_less,
    figures
  };
  Interval interval(Figure figure, std::int64_t resamples) const;

  std::vector<RankOneEdit> edits_;
  std::vector<std::int64_t> columns_;
  EffectSettings settings_;
  std::vector<RowFigures> rows_;
  std::vector<float> kl_, far_kl_;
};

/// Random sets of subcomponents of the same sites as `columns`, for comparison.
struct ControlSets {
  std::vector<std::vector<std::int64_t>> sets;  ///< in the order of `columns`
  std::int64_t beyond = 0;  ///< sets with a member whose density is not within a quarter of its own
};
/// Members' densities are within a quarter of those whose place they take, or, where there are fewer such
/// sets than `count`, as near as there are. Drawn by `seed`; fewer where there are not as many others.
ControlSets control_sets(const Evidence& evidence, const std::vector<std::int64_t>& columns,
                         std::int64_t count, std::uint64_t seed);

}  // namespace vpd
