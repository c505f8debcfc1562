#include "vpd/interpretation/intervention.hpp"

#include <algorithm>
#include <numeric>

#include <ATen/ATen.h>

#include "given_masks.hpp"
#include "vpd/adversary/fresh.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/passes/clean_pass.hpp"
#include "vpd/passes/reconstruction.hpp"

namespace vpd {
namespace {

constexpr std::uint64_t stream_of_masks = 5, stream_of_attacks = 6;

/// m = g + (1 - g) r of sources as a layout has them, one row a position.
ColumnMasks masks_of(const Decomposition& d, const at::Tensor& g, const FreshSources& sources) {
  ColumnMasks masks{at::empty_like(g),
                    at::empty({g.size(0), static_cast<std::int64_t>(d.sites.size())}, g.options())};
  for (std::size_t i = 0; i < d.sites.size(); ++i) {
    const at::Tensor r = site_columns(sources.values, sources.layout, i), own = d.sites.columns(g, i);
    d.sites.columns(masks.columns, i).copy_(own + (1.0 - own) * r.narrow(1, 0, d.sites[i].C));
    masks.delta.select(1, static_cast<std::int64_t>(i))
        .copy_(d.delta_component ? r.select(1, d.sites[i].C) : at::zeros({g.size(0)}, g.options()));
  }
  return masks;
}

ColumnMasks masks_for(const Decomposition& d, const CleanPass& clean, const at::Tensor& g,
                      const std::vector<RankOneEdit>& edits, const InterventionSettings& settings) {
  const auto zeros = [&](std::int64_t columns) { return at::zeros({clean.N(), columns}, g.options()); };
  const auto L = static_cast<std::int64_t>(d.sites.size());
  if (settings.context == EditContext::components) return {g.gt(0.0).to(g.scalar_type()), zeros(L)};
  if (settings.context == EditContext::keep_only) {
    ColumnMasks masks{zeros(g.size(1)), zeros(L)};
    const at::Tensor rows = masks.columns.view({clean.B(), clean.T(), g.size(1)});
    for (const KeptNode& node : settings.kept) {
      at::Tensor column = rows.select(2, node.column);
      if (node.position) column = column.select(1, *node.position);
      column.fill_(1.0);
    }
    return masks;
  }
  const bool attacks = settings.context == EditContext::adversarial;
  const FreshAdversaryConfig each{.steps = settings.attack_steps,
                                  .step_size = settings.attack_step_size,
                                  .scope = FreshScope::per_datapoint};
  FreshSources sources = start_fresh(
      each, d.sites, clean.B(), clean.T(),
      make_key(settings.seed, RandomPurpose::control, attacks ? stream_of_attacks : stream_of_masks),
      d.numerics);
  if (!attacks) return masks_of(d, g, sources);
  at::Tensor attacked = g.clone();
  for (const std::int64_t column : edited_columns(edits)) attacked.select(1, column).zero_();
  const BoundSubcomponents components = d.components.bind({});
  const PassContext context{
      .decomposition = &d, .clean = &clean, .importance = attacked, .components = &components};
  for (std::int64_t step = 0; step < settings.attack_steps; ++step) {
    reconstruct(context, use_fresh(sources, 0, clean.T(), sources.gradient), {},
                1.0 / static_cast<double>(clean.N()));
    step_fresh(sources, settings.attack_step_size);
  }
  return masks_of(d, attacked, sources);
}

struct ContextName {
  EditContext context;
  const char* name;
};
constexpr ContextName contexts[] = {{EditContext::target, "target"},
                                    {EditContext::components, "components"},
                                    {EditContext::stochastic, "stochastic"},
                                    {EditContext::adversarial, "adversarial"},
                                    {EditContext::keep_only, "keep-only"}};

}  // namespace

std::string name_of(EditContext context) {
  for (const ContextName& one : contexts)
    if (one.context == context) return one.name;
  return {};
}

EditContext parse_context(const std::string& text) {
  std::vector<std::string> names;
  for (const ContextName& one : contexts) {
    if (text == one.name) return one.context;
    names.emplace_back(one.name);
  }
  throw UsageError(fmt::format("--in: expected {}, found {}", join_words(names), quote_foreign(text)));
}

Intervened intervene(const Decomposition& d, const at::Tensor& tokens, const std::vector<RankOneEdit>& edits,
                     const InterventionSettings& settings, bool want_importance) {
  const at::NoGradGuard no_grad;
  const CleanPass clean = clean_pass(d, tokens.to(d.numerics.device));
  const bool masked = settings.context != EditContext::target;
  const bool conditional = std::any_of(edits.begin(), edits.end(),
                                       [](const RankOneEdit& e) { return e.where.importance.has_value(); });
  Intervened result{.target = clean.output};
  if (masked || conditional || want_importance)
    result.importance = causal_importance(d, clean, d.ci_parameters.bind({}), d.components.bind({})).lower;
  std::vector<at::Tensor> factors =
      edit_factors(edits, clean.N(), clean.T(), result.importance, d.numerics.options());
  if (!masked) {
    EditedExecutor executor(d, edits, std::move(factors));
    result.edited = d.target->forward(clean.input, executor);
    return result;
  }
  const ColumnMasks masks = [&] {
    const at::AutoGradMode record(settings.context == EditContext::adversarial);
    return masks_for(d, clean, result.importance, edits, settings);
  }();
  for (std::size_t i = 0; i < edits.size(); ++i) {
    if (edits[i].read.defined()) factors[i] = factors[i] * masks.columns.select(1, edits[i].column);
  }
  GivenMasks given(d, masks);
  EditedExecutor executor(d, edits, std::move(factors), &given);
  result.edited = d.target->forward(clean.input, executor);
  return result;
}

at::Tensor token_divergence(const at::Tensor& target, const at::Tensor& edited) {
  const at::Tensor p = target.to(at::kDouble).log_softmax(1), q = edited.to(at::kDouble).log_softmax(1);
  return (p.exp() * (p - q)).sum(1);
}

namespace {

std::int64_t chosen_token(const at::Tensor& logits, const GenerationSettings& settings, const RandomKey& key,
                          std::int64_t step) {
  if (settings.temperature <= 0.0) return logits.argmax().item<std::int64_t>();
  const at::Tensor p = (logits.to(at::kDouble) / settings.temperature).softmax(0).cpu();
  const auto [sorted, order] = p.sort(/*stable=*/true, 0, /*descending=*/true);
  const auto* value = sorted.const_data_ptr<double>();
  double together = 0.0;
  std::int64_t count = 0;
  while (count < sorted.size(0) && (count == 0 || together < settings.top_p)) together += value[count++];
  std::uint32_t words[4];
  random_words(key, 0, static_cast<std::uint64_t>(step), 0, words);
  double left = static_cast<double>(words[0]) * 0x1p-32 * together;
  for (std::int64_t i = 0; i < count; ++i) {
    left -= value[i];
    if (left < 0.0) return order[i].item<std::int64_t>();
  }
  return order[count - 1].item<std::int64_t>();
}

}  // namespace

std::vector<std::int64_t> generate(const Decomposition& d, const std::vector<std::int64_t>& prompt,
                                   const std::vector<RankOneEdit>& edits,
                                   const InterventionSettings& settings, const GenerationSettings& generation,
                                   std::int64_t sample, const StopAsked& stop) {
  const RandomKey key =
      make_key(generation.seed, RandomPurpose::generate, static_cast<std::uint64_t>(sample));
  std::vector<std::int64_t> row = prompt;
  for (std::int64_t step = 0; step < generation.tokens; ++step) {
    if (static_cast<std::int64_t>(row.size()) >= d.target->longest_sequence()) break;
    end_if_asked(stop, "the generation");
    const at::Tensor tokens = at::tensor(row, at::kLong).unsqueeze(0);
    const Intervened now = intervene(d, tokens, edits, settings);
    row.push_back(chosen_token(now.edited[now.edited.size(0) - 1], generation, key, step));
  }
  return {row.begin() + static_cast<std::ptrdiff_t>(prompt.size()), row.end()};
}

}  // namespace vpd
