#include "unlearn_choice.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <queue>
#include <set>

#include "statistics.hpp"

namespace vpd {
namespace {

/// A subcomponent that could come next.
struct Candidate {
  double score = 0.0;  // gain for the damage it adds, when it was last evaluated
  std::int64_t column = 0;
  std::size_t set_size = std::numeric_limits<std::size_t>::max();  // of the set it was evaluated beside
  double gain = 0.0, gain_error = 0.0;
  double damage = 0.0;         // of the set with it
  std::vector<double> metric;  // change of each prompt's, of the set with it

  bool operator<(const Candidate& other) const {
    return score != other.score ? score < other.score : column > other.column;
  }
};

class Choice {
 public:
  Choice(const Decomposition& d, const std::vector<AuditPrompt>& behaviour,
         const std::vector<AuditPrompt>& against, const UnlearnSettings& settings, Lanes& lanes,
         const Observer& observer)
      : d_(d),
        behaviour_(behaviour),
        against_(against),
        settings_(settings),
        lanes_(lanes),
        observer_(observer),
        metric_(behaviour.size()) {
    for (const AuditPrompt& prompt : against) positions_ += static_cast<double>(prompt.tokens.size());
  }

  ChosenSet choose() {
    admit_candidates();
    while (!waiting_.empty() && static_cast<std::int64_t>(columns_.size()) < settings_.most && !is_enough()) {
      observer_.announce(fmt::format("choosing a set: {} subcomponents, damage {:.2g} of {:.2g}",
                                     columns_.size(), damage_, settings_.budget));
      if (!is_fresh(waiting_.top())) {
        refresh();
        continue;
      }
      const Candidate best = waiting_.top();
      waiting_.pop();
      if (best.score <= 0.0) break;
      if (best.damage > settings_.budget || best.gain < least_gain(best)) continue;
      columns_.push_back(best.column);
      metric_ = best.metric;
      damage_ = best.damage;
      admit_candidates();
    }
    return {columns_, mean_of(metric_)};
  }

 private:
  bool is_fresh(const Candidate& candidate) const { return candidate.set_size == columns_.size(); }

  bool is_enough() const { return settings_.enough > 0.0 && -mean_of(metric_) >= settings_.enough; }

  /// The mean KL on the prompts against. Where their metric is to stay, too: the larger one of that and the
  /// same part of the budget that the largest change of a metric is of what is allowed.
  double damage_of(const AblationEffects& side) const {
    double damage = std::accumulate(side.kl.begin(), side.kl.end(), 0.0) / positions_;
    if (settings_.stay > 0.0)
      damage = std::max(damage, settings_.budget * largest_magnitude(side.metric) / settings_.stay);
    return damage;
  }

  /// What a member has to add: twice its standard error, and a hundredth of what is there.
  double least_gain(const Candidate& candidate) const {
    return std::max(2.0 * candidate.gain_error, -0.01 * mean_of(metric_));
  }

  /// Screens all subcomponents of the target without the set, and takes in those that are new; or, once,
  /// those of the prompts' graphs. What they would do is known to first order or not at all, so they are
  /// evaluated before they can be chosen.
  void admit_candidates() {
    if (settings_.audit.from == CandidatesFrom::graphs) {
      if (!known_.empty()) return;
      for (const std::int64_t column : graph_columns(
               kept_shares(d_, behaviour_, settings_.audit.graphs, lanes_, observer_), settings_.audit)) {
        known_.insert(column);
        waiting_.push({.score = std::numeric_limits<double>::infinity(), .column = column});
      }
      return;
    }
    const std::vector<RankOneEdit> edits = ablations_of(columns_, d_);
    const at::Tensor estimate = estimated_effects(d_, behaviour_, lanes_, edits, observer_),
                     against = estimated_effects(d_, against_, lanes_, edits, observer_);
    const auto* values = estimate.const_data_ptr<double>();
    for (const std::int64_t column : screened_columns(estimate, against, settings_.audit)) {
      if (!known_.insert(column).second) continue;
      waiting_.push({.score = -values[column] / audit_side_offset, .column = column});
    }
  }

  /// Evaluates the best of those whose figures are of an earlier set, some at a time.
  void refresh() {
    constexpr std::size_t at_once = 16;
    std::vector<Candidate> some;
    while (!waiting_.empty() && some.size() < at_once && !is_fresh(waiting_.top())) {
      some.push_back(waiting_.top());
      waiting_.pop();
    }
    std::vector<std::int64_t> columns;
    for (const Candidate& candidate : some) columns.push_back(candidate.column);
    const std::vector<RankOneEdit> edits = ablations_of(columns_, d_);
    const std::vector<AblationEffects> effects = ablation_effects(d_, behaviour_, columns, lanes_, observer_,
                                                                  edits),
                                       sides =
                                           ablation_effects(d_, against_, columns, lanes_, observer_, edits);
    for (std::size_t i = 0; i < some.size(); ++i) {
      Candidate& candidate = some[i];
      candidate.metric = effects[i].metric;
      std::vector<double> gains;
      for (std::size_t p = 0; p < metric_.size(); ++p) gains.push_back(metric_[p] - candidate.metric[p]);
      candidate.gain = mean_of(gains);
      candidate.gain_error = standard_error(gains);
      candidate.damage = damage_of(sides[i]);
      candidate.score = candidate.gain / (std::max(0.0, candidate.damage - damage_) + audit_side_offset);
      candidate.set_size = columns_.size();
      waiting_.push(std::move(candidate));
    }
  }

  const Decomposition& d_;
  const std::vector<AuditPrompt>&behaviour_, &against_;
  const UnlearnSettings& settings_;
  Lanes& lanes_;
  const Observer& observer_;
  double positions_ = 0.0;

  std::vector<std::int64_t> columns_;
  std::vector<double> metric_;  // change of each prompt's, of the set as it is
  double damage_ = 0.0;
  std::set<std::int64_t> known_;
  std::priority_queue<Candidate> waiting_;
};

}  // namespace

ChosenSet choose_set(const Decomposition& d, const std::vector<AuditPrompt>& behaviour,
                     const std::vector<AuditPrompt>& against, const UnlearnSettings& settings, Lanes& lanes,
                     const Observer& observer) {
  return Choice(d, behaviour, against, settings, lanes, observer).choose();
}

}  // namespace vpd
