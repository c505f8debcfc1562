#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vpd/config/run.hpp"
#include "vpd/io/metrics_series.hpp"

// Known ways in which a decomposition goes wrong, read off the numbers that a run logs anyway.

namespace vpd {

enum class Verdict { ok, warning, unknown };

/// "ok", "warning", "unknown".
std::string_view name_of(Verdict verdict);

/// What is known about one cause of trouble.
struct HealthFinding {
  std::string cause;  ///< "ci_collapse", "density", ...
  Verdict verdict = Verdict::unknown;
  std::string evidence;  ///< what was measured, with numbers; what is missing where nothing is known
  std::string remedy;    ///< what to do about a warning, else empty
  std::vector<std::pair<std::string, double>> numbers;  ///< the evidence for programs
};

/// Where health ends. Every number has been held against two healthy runs: the published one of 67M
/// parameters (VPD; L0 205 of 38,912, 26 % alive, PGD 1.6 times the training adversary's loss) and the demo.
struct HealthThresholds {
  /// Logged steps that the shortest statement about training needs: a median of fewer is one step's noise.
  std::int64_t points = 3;
  /// A present value is the median over this last part of the steps made (and over `points` at least).
  double window = 0.1;
  /// Before this part of the run everything is on its way: importances start half on, adversaries cold.
  double settled = 0.1;
  /// From here on a run is late: p, at its published pace, has been below 1 for an eighth of the run.
  double late = 0.75;

  /// Almost all importances 0: fewer than this a site and position. Text needs 5 to 9 a site; the sparsest
  /// toys, features that are on in 5 % of their data, 0.05 and more.
  double collapsed_l0 = 0.01;
  /// A sparse decomposition (below this part of Σ C) whose own masks leave this part of the damage that
  /// removing every matrix does has thrown away what it needed. Healthy: 0.005.
  double sparse = 0.1;
  double damage = 0.5;
  /// Where removal was not measured: reconstruction this many times worse than before training with a third
  /// of the importances. Training makes it better by 3 to 10 times.
  double worse_than_start = 1.5;

  /// L0 above this part of Σ C late in training. Healthy: 0.005 to 0.05; toys with dense layers 0.25.
  double dense = 0.3;

  /// A fresh attack's loss over the training adversary's. Healthy: 1 to 1.6. Twice that where the training
  /// adversary meets a subset of the sites only and the attack all, or shares the masks with random sources.
  double attack_ratio = 4.0;
  /// An attack that does less than this part of what removing every matrix does is no bad one.
  double harmless_attack = 0.01;

  /// Alive subcomponents below this part of Σ C: the rest takes memory and time. Healthy: 0.2 and more.
  double alive = 0.05;

  /// Gradient of the causal-importance function over its running median, over at most so many logged steps
  /// and at least so many.
  double gradient_growth = 3.0;
  std::int64_t gradient_recent = 5;
  std::int64_t gradient_running = 200;
  std::int64_t gradient_points = 10;

  /// Part of an adversary's sources within 0.01 of 0 or 1: most of them. Healthy, whatever the scope: 0.22 to
  /// 0.31.
  double saturated = 0.5;

  /// Fall over the last tenth of the run, against the tenth before, of a reconstruction loss (whose batches
  /// differ by 10 to 20 %) and of L0 (the demo's, with p annealed to the last step: 0.05).
  double falling_loss = 0.25;
  double falling_l0 = 0.1;
  /// A loss below this part of its first value has arrived, however steeply it still falls.
  double arrived = 0.01;
  /// Part of p's (or gamma's) way that may be left.
  double annealing_left = 0.1;
};

/// What a run set out to do, as far as its health depends on it.
struct HealthSubject {
  struct Adversary {
    std::string label;        ///< of the term
    bool every_site = false;  ///< it meets all sites at once, as the attacks of `pgd` do
    bool alone = true;        ///< no random sources are merged with its own, as in no attack
    bool output = true;       ///< it is after the target's output, as `pgd` is
  };
  struct Annealing {
    std::string name;  ///< p, or gamma
    Annealed value;
  };

  std::int64_t steps = 0;                    ///< planned
  bool targeted = false;                     ///< what its few prompts do not need is to die
  std::vector<std::string> sites;            ///< empty: not known
  std::int64_t subcomponents = 0;            ///< Σ C; 0: not known
  std::vector<std::string> reconstructions;  ///< labels of the terms that train reconstruction
  std::vector<Adversary> adversaries;
  std::optional<std::string> attack;   ///< name of the pgd metric that is nearest to the standard one
  std::optional<Annealing> annealing;  ///< of importance_minimality's penalty
};
HealthSubject health_subject(const RunConfig& config, std::vector<std::string> sites,
                             std::int64_t subcomponents);

/// Steps made, as far as the metrics tell: one more than the last logged one, or those of an evaluation.
std::int64_t steps_made(const MetricsSeries& metrics);

/// One finding for each cause, always the same ones in the same order. A function of its arguments alone.
std::vector<HealthFinding> examine(const MetricsSeries& metrics, const HealthSubject& subject,
                                   const HealthThresholds& thresholds = {});

}  // namespace vpd
