#include "vpd/interpretation/intervention.hpp"

#include <algorithm>

#include <ATen/ATen.h>

#include "given_masks.hpp"
#include "vpd/adversary/fresh.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/passes/clean_pass.hpp"
#include "vpd/passes/reconstruction.hpp"
#include "vpd/target/row_sampling.hpp"

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

std::vector<std::int64_t> generate(const Decomposition& d, const std::vector<std::int64_t>& prompt,
                                   const std::vector<RankOneEdit>& edits,
                                   const InterventionSettings& settings, const GenerationSettings& generation,
                                   std::int64_t sample, const StopAsked& stop) {
  const auto begun = static_cast<std::int64_t>(prompt.size());
  const std::int64_t length = std::min(begun + generation.tokens, d.target->longest_sequence());
  if (length <= begun) return {};
  const TokenChoice choice{.temperature = generation.temperature, .top_p = generation.top_p};
  const auto end_early = [&](std::int64_t) { end_if_asked(stop, "the generation"); };
  if (edits.empty() && settings.context == EditContext::target) {
    const at::Tensor row =
        sample_rows(*d.target, {length, prompt, choice, generation.seed}, sample, 1, end_early)[0];
    return {row.const_data_ptr<std::int64_t>() + begun, row.const_data_ptr<std::int64_t>() + length};
  }
  std::vector<std::int64_t> row = prompt;
  for (std::int64_t t = begun; t < length; ++t) {
    end_early(t);
    const Intervened now = intervene(d, at::tensor(row, at::kLong).unsqueeze(0), edits, settings);
    row.push_back(
        choose_tokens(now.edited.narrow(0, t - 1, 1), choice,
                      {{generation.seed, static_cast<std::uint64_t>(sample), static_cast<std::uint64_t>(t)}})
            .front());
  }
  return {row.begin() + begun, row.end()};
}

}  // namespace vpd
