#include "vpd/interpretation/redundancy.hpp"

#include <cmath>
#include <limits>

#include <ATen/ATen.h>

#include "vpd/base/stop.hpp"
#include "vpd/interpretation/edit.hpp"
#include "vpd/interpretation/intervention.hpp"

namespace vpd {
namespace {

struct Said {
  std::vector<double> metric, probability;
};

Said in_circuit(const Decomposition& d, const std::vector<AuditPrompt>& prompts,
                const std::vector<RankOneEdit>& edits, Lanes& lanes) {
  Said said{std::vector<double>(prompts.size(), std::numeric_limits<double>::quiet_NaN()), {}};
  said.probability = said.metric;
  const std::vector<PromptBatch> batches = batch_prompts(prompts, d.numerics.device);
  divide_work(batches.size(), lanes, [&](std::size_t i) {
    const at::NoGradGuard no_grad;
    const at::Tensor& tokens = batches[i].tokens;
    const at::Tensor logits = intervene(d, tokens, edits, {.context = EditContext::components})
                                  .edited.view({tokens.size(0), tokens.size(1), -1});
    for (std::size_t b = 0; b < batches[i].which.size(); ++b) {
      const std::size_t p = batches[i].which[b];
      if (!prompts[p].target) continue;
      const at::Tensor last = logits[static_cast<std::int64_t>(b)][-1];
      said.metric[p] = prompt_metric(last, prompts[p]);
      said.probability[p] = std::exp(prompt_metric(last, {.tokens = {}, .target = prompts[p].target}));
    }
  });
  return said;
}

}  // namespace

CircuitEffects circuit_effects(const Decomposition& d, const std::vector<AuditPrompt>& prompts,
                               const std::vector<std::int64_t>& columns, Lanes& lanes,
                               const Observer& observer) {
  const Said whole = in_circuit(d, prompts, {}, lanes);
  CircuitEffects effects{.probability = whole.probability, .metric = {}};
  for (const std::int64_t column : columns) {
    end_if_asked(observer.stop, "taking subcomponents out of the circuit");
    std::vector<double> change = in_circuit(d, prompts, ablations_of({column}, d), lanes).metric;
    for (std::size_t p = 0; p < change.size(); ++p) change[p] -= whole.metric[p];
    effects.metric.push_back(std::move(change));
  }
  return effects;
}

}  // namespace vpd
