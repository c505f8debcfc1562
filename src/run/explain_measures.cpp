#include "explain_measures.hpp"

#include <algorithm>
#include <numeric>
#include <tuple>

#include <ATen/ATen.h>

#include "interpretation/statistics.hpp"
#include "vpd/decomposition/columns.hpp"
#include "vpd/interpretation/audit.hpp"
#include "vpd/interpretation/redundancy.hpp"
#include "vpd/io/tokens.hpp"

namespace vpd {
namespace {

/// Mean and 99th percentile.
std::pair<double, double> summary(const std::vector<float>& kl) {
  const double mean =
      std::accumulate(kl.begin(), kl.end(), 0.0) / static_cast<double>(std::max<std::size_t>(1, kl.size()));
  return {mean, quantile_of(kl, 0.99)};
}

}  // namespace

QuestionPrompts question_prompts(const std::vector<ExplainedPrompt>& prompts,
                                 const std::filesystem::path& background, std::int64_t length,
                                 std::int64_t positions, std::int64_t chose) {
  QuestionPrompts found;
  for (const ExplainedPrompt& prompt : prompts)
    found.asked.push_back({.tokens = prompt.tokens, .target = prompt.next.front()});
  const TokenDataset data(background, length, /*shuffle=*/false, 0);
  // Of so few that all of them chose, all are measured.
  const std::int64_t others = data.sequences() > chose ? data.sequences() - chose : data.sequences();
  const std::int64_t rows = std::min(others, (positions + length - 1) / length);
  const at::Tensor tokens = data.batch(data.sequences() - rows, rows).contiguous();
  for (std::int64_t r = 0; r < rows; ++r) {
    const auto* first = tokens.const_data_ptr<std::int64_t>() + r * length;
    found.elsewhere.push_back({.tokens = {first, first + length}});
  }
  return found;
}

bool ExplainedSubcomponent::made_up_for() const {
  for (std::size_t p = 0; p < in_target.size(); ++p)
    if (RedundancyCheck{.in_target = in_target[p], .in_circuit = in_circuit[p]}.made_up_for()) return true;
  return false;
}

RemovalFigures removal_figures(const EditSource& source, const QuestionPrompts& prompts,
                               const std::vector<std::int64_t>& columns) {
  const Decomposition& d = source.run.decomposition;
  Lanes& lanes = *source.run.lanes;
  const Alteration alteration = columns.empty() ? Alteration() : without_subcomponents(columns, d);
  RemovalFigures found{.before = prompt_figures(d, prompts.asked, {}, lanes).probability,
                       .after = prompt_figures(d, prompts.asked, alteration, lanes).probability};
  std::vector<float> kl;
  for (const std::vector<float>& row : prompt_figures(d, prompts.elsewhere, alteration, lanes).kl)
    kl.insert(kl.end(), row.begin(), row.end());
  found.positions = static_cast<std::int64_t>(kl.size());
  std::tie(found.kl_mean, found.kl_99) = summary(kl);
  return found;
}

std::vector<ExplainedSubcomponent> subcomponent_figures(const EditSource& source,
                                                        const QuestionPrompts& prompts,
                                                        const std::vector<std::int64_t>& columns,
                                                        const Observer& observer) {
  const Decomposition& d = source.run.decomposition;
  Lanes& lanes = *source.run.lanes;
  const std::vector<AblationEffects> asked = ablation_effects(d, prompts.asked, columns, lanes, observer),
                                     elsewhere =
                                         ablation_effects(d, prompts.elsewhere, columns, lanes, observer);
  const CircuitEffects circuit = circuit_effects(d, prompts.asked, columns, lanes, observer);
  std::vector<ExplainedSubcomponent> found;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const auto [mean, percentile] = summary(elsewhere[i].each_kl);
    found.push_back({.key = to_text(subcomponent_at(columns[i], d.sites), d.sites),
                     .kl = asked[i].last_kl,
                     .in_target = asked[i].metric,
                     .in_circuit = circuit.metric[i],
                     .kl_mean = mean,
                     .kl_99 = percentile});
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.specificity() > b.specificity(); });
  return found;
}

}  // namespace vpd
