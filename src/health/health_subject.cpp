#include <algorithm>
#include <cmath>

#include "vpd/health/health.hpp"

namespace vpd {

HealthSubject health_subject(const RunConfig& config, std::vector<std::string> sites,
                             std::int64_t subcomponents) {
  HealthSubject subject{.steps = config.training.steps,
                        .targeted = config.data.background.has_value(),
                        .sites = std::move(sites),
                        .subcomponents = subcomponents};
  for (const TermPlan& term : plan_of(config.objective)) {
    if (const MinimalityPlan* plan = term.minimality(); plan && !plan->frequency) {
      const auto* smooth = std::get_if<SmoothL0PenaltyConfig>(&*plan->penalty);
      subject.annealing =
          smooth ? HealthSubject::Annealing{"gamma", smooth->gamma} : HealthSubject::Annealing{"p", *plan->p};
    }
    const ReconstructionPlan* plan = term.reconstruction();
    if (!plan || term.coefficient.largest() == 0.0) continue;
    subject.reconstructions.push_back(term.label);
    const auto* masks = term.masks<AdversarialMasks>();
    if (!masks) continue;
    subject.adversaries.push_back({.label = term.label,
                                   .every_site = std::holds_alternative<AllRoutingConfig>(plan->routing),
                                   .alone = !masks->merged,
                                   .output = plan->comparison == Comparison::output});
  }
  // An attack of many more steps than 20 finds tens of times the divergence in a healthy decomposition, one
  // of few steps or short ones less than there is.
  double nearest = std::log(2.0) + 1e-9;
  for (const MetricConfig& metric : config.evaluation.metrics) {
    const auto* pgd = std::get_if<PgdMetric>(&metric);
    if (!pgd || pgd->steps == 0 || static_cast<double>(pgd->steps) * pgd->step_size < 0.5) continue;
    const double distance = std::abs(std::log(static_cast<double>(pgd->steps) / 20.0));
    if (distance > nearest || (subject.attack && distance == nearest)) continue;
    nearest = distance;
    subject.attack = pgd->name;
  }
  return subject;
}

std::int64_t steps_made(const MetricsSeries& metrics) {
  std::int64_t made = 0;
  const std::vector<MetricPoint>& logged = metrics.of("train/loss/total");
  if (!logged.empty()) made = logged.back().step + 1;
  for (const std::string& name : metrics.names("eval/")) made = std::max(made, metrics.of(name).back().step);
  return made;
}

}  // namespace vpd
