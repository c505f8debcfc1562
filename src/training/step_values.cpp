#include <spdlog/fmt/fmt.h>

#include "step_parts.hpp"

namespace vpd {
namespace {

AscentRule late_rule(AscentRule rule, LateBlock& late, std::size_t term, std::int64_t ascent) {
  const auto make_late = [&](const char* what, LateNumber& value) {
    value = late.number(fmt::format("{} of ascent {} of term {}", what, ascent, term), value.value);
  };
  make_late("rate", rule.rate);
  make_late("unbias1", rule.unbias1);
  make_late("unbias2", rule.unbias2);
  return rule;
}

}  // namespace

StepValues values_at(const RunConfig& config, const std::vector<StepStream>& streams, std::int64_t step,
                     const std::vector<StepTerm>& terms, std::int64_t updates, LateBlock& late) {
  const std::int64_t steps = config.training.steps;
  StepValues values{.step = step, .late = &late};
  std::size_t penalties = 0;
  for (const StepStream& stream : streams) {
    values.minimality.push_back(minimality_sums(stream.objective, step, steps));
    for (MinimalitySum& sum : values.minimality.back()) {
      Penalty& penalty = sum.penalty;
      penalty.p = late.number(fmt::format("exponent of penalty {}", penalties), penalty.p.value);
      penalty.gamma = late.number(fmt::format("gamma of penalty {}", penalties), penalty.gamma.value);
      ++penalties;
    }
  }
  values.components.rate = value_at(config.training.learning_rate, step, steps);
  values.components.count = updates + 1;
  if (late.on_cuda()) {  // on a CPU the optimizer would read them back, with fewer digits
    values.components.late_rate = late.scalar("learning rate", values.components.rate);
    values.components.late_count = late.scalar("updates", static_cast<double>(values.components.count));
  }
  values.causal_importance = values.components;
  for (const StepTerm& term : terms) {
    TermValues& of_term = values.terms.emplace_back();
    of_term.coefficient = value_at(term.plan.coefficient, step, steps);
    of_term.asleep = !term.plan.minimality() && sleeps_at(term.plan.coefficient, step, steps);
    const auto* masks = term.plan.masks<AdversarialMasks>();
    if (masks && masks->merged) {
      const double fraction = value_at(masks->merged->adversarial_fraction, step, steps);
      of_term.adversarial_fraction =
          late.number(fmt::format("adversarial fraction of term {}", term.number), fraction);
    }
    if (!term.persistent) continue;
    const PersistentAdversaryConfig& adversary = term.persistent->config();
    const double rate = value_at(adversary.learning_rate, step, steps);
    for (std::int64_t i = 0; i <= adversary.warmup_steps; ++i) {
      const AscentRule now = term.persistent->rule(rate, term.persistent->ascents + i + 1);
      of_term.ascents.push_back(late_rule(now, late, term.number, i));
    }
  }
  return values;
}

}  // namespace vpd
