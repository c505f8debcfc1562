#include "step_parts.hpp"

namespace vpd {

StepValues values_at(const RunConfig& config, std::int64_t step) {
  const std::int64_t steps = config.training.steps;
  StepValues values{.step = step,
                    .learning_rate = value_at(config.training.learning_rate, step, steps),
                    .powers = minimality_powers(config.objective, step, steps)};
  for (const TermConfig& term : config.objective) {
    TermValues& of_term = values.terms.emplace_back();
    of_term.coefficient = value_at(coefficient_of(term), step, steps);
    const AdversaryConfig* adversary = adversary_of(term);
    if (const auto* persistent = adversary ? std::get_if<PersistentAdversaryConfig>(adversary) : nullptr)
      of_term.ascent_rate = value_at(persistent->learning_rate, step, steps);
  }
  return values;
}

}  // namespace vpd
