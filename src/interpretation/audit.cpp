#include "vpd/interpretation/audit.hpp"

#include <algorithm>
#include <atomic>
#include <limits>
#include <numeric>
#include <set>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "statistics.hpp"
#include "vpd/base/error.hpp"
#include "vpd/decomposition/attribution_executor.hpp"
#include "vpd/passes/clean_pass.hpp"

namespace vpd {
namespace {

constexpr std::uint64_t stream_of_prompts = 3;

at::Tensor row_of(const AuditPrompt& prompt, const Decomposition& d) {
  return at::tensor(prompt.tokens, at::kLong).unsqueeze(0).to(d.numerics.device);
}

/// The gradient of the metric with respect to the output [T, V].
at::Tensor metric_gradient(const at::Tensor& output, const AuditPrompt& prompt) {
  at::Tensor gradient = at::zeros_like(output);
  at::Tensor last = gradient[-1];
  if (!prompt.contrast) last.sub_(output[-1].softmax(0));
  last[*prompt.target] += 1.0;
  if (prompt.contrast) last[*prompt.contrast] -= 1.0;
  return gradient;
}

/// Each row of a batch of one prompt without a subcomponent of its own.
class RowAblations final : public ForwardingExecutor {
 public:
  RowAblations(const Decomposition& d, const std::vector<std::int64_t>& columns, std::int64_t T,
               Executor& inner)
      : ForwardingExecutor(&inner), d_(d), T_(T) {
    rows_.resize(d.sites.size());
    for (std::size_t r = 0; r < columns.size(); ++r) {
      for (std::size_t i = 0; i < d.sites.size(); ++i) {
        const std::int64_t c = columns[r] - d.sites[i].offset;
        if (c >= 0 && c < d.sites[i].C) rows_[i].emplace_back(static_cast<std::int64_t>(r), c);
      }
    }
  }

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    at::Tensor y = inner().linear(matrix, x);
    const int site = d_.sites.of_matrix()[matrix.index];
    if (site < 0) return y;
    const auto i = static_cast<std::size_t>(site);
    for (const auto& [row, c] : rows_[i]) {
      const at::Tensor h =
          x.narrow(0, row * T_, T_).to(d_.numerics.wide).matmul(d_.components.V(i).select(1, c));
      y.narrow(0, row * T_, T_).sub_(at::outer(h, d_.components.U(i)[c]).to(y.scalar_type()));
    }
    return y;
  }
  at::Tensor embedding(const Matrix& matrix, const at::Tensor& tokens) override {
    at::Tensor y = inner().embedding(matrix, tokens);
    const int site = d_.sites.of_matrix()[matrix.index];
    if (site < 0) return y;
    const auto i = static_cast<std::size_t>(site);
    for (const auto& [row, c] : rows_[i]) {
      const at::Tensor h = d_.components.V(i).select(1, c).index_select(0, tokens.narrow(0, row * T_, T_));
      y.narrow(0, row * T_, T_).sub_(at::outer(h, d_.components.U(i)[c]).to(y.scalar_type()));
    }
    return y;
  }

 private:
  const Decomposition& d_;
  std::int64_t T_;
  std::vector<std::vector<std::pair<std::int64_t, std::int64_t>>> rows_;  // of each site: row, subcomponent
};

}  // namespace

at::Tensor estimated_effects(const Decomposition& d, const std::vector<AuditPrompt>& prompts, Lanes& lanes,
                             const std::vector<RankOneEdit>& edits, const Observer& observer) {
  std::vector<at::Tensor> parts(prompts.size());
  const BoundSubcomponents components = d.components.bind({});
  divide_work(prompts.size(), lanes, [&](std::size_t i) {
    if (!prompts[i].target) return;
    end_if_asked(observer.stop, "the screen of subcomponents");
    const at::AutoGradMode record(true);
    const at::Tensor row = row_of(prompts[i], d);
    const at::Tensor scores = at::zeros({row.numel(), d.sites.total_C()}, d.numerics.options());
    AttributionExecutor attribution(d.sites, components, scores);
    EditedExecutor edited(d, edits, edit_factors(edits, row.numel(), row.size(1), {}, d.numerics.options()),
                          &attribution);
    const at::Tensor output = d.target->forward(row, edited);
    torch::autograd::backward({output}, {metric_gradient(output.detach(), prompts[i])});
    parts[i] = -scores.sum(0, false, at::kDouble);
  });
  at::Tensor total = at::zeros({d.sites.total_C()}, at::dtype(at::kDouble).device(d.numerics.device));
  double count = 0.0;
  for (const at::Tensor& part : parts) {
    if (!part.defined()) continue;
    total = total + part;
    count += 1.0;
  }
  return (count > 0.0 ? total / count : total).cpu();
}

std::vector<AblationEffects> ablation_effects(const Decomposition& d, const std::vector<AuditPrompt>& prompts,
                                              const std::vector<std::int64_t>& columns, Lanes& lanes,
                                              const Observer& observer,
                                              const std::vector<RankOneEdit>& edits) {
  const double none = std::numeric_limits<double>::quiet_NaN();
  std::vector<std::size_t> first_position = {0};
  for (const AuditPrompt& prompt : prompts)
    first_position.push_back(first_position.back() + prompt.tokens.size());
  std::vector<AblationEffects> effects(
      columns.size(), {std::vector<double>(prompts.size(), none), std::vector<double>(prompts.size()),
                       std::vector<double>(prompts.size()), std::vector<float>(first_position.back())});
  divide_work(prompts.size(), lanes, [&](std::size_t p) {
    const at::NoGradGuard no_grad;
    const AuditPrompt& prompt = prompts[p];
    const at::Tensor row = row_of(prompt, d);
    const CleanPass clean = clean_pass(d, row);
    const at::Tensor& before = clean.output;
    const double metric = prompt.target ? prompt_metric(before[-1], prompt) : none;
    const auto T = row.size(1);
    // Logits of a lane's rows stay within 128 MiB.
    const auto at_once = static_cast<std::size_t>(
        std::clamp<std::int64_t>((std::int64_t{1} << 25) / (before.numel() * lanes.count()), 1, 32));
    const at::Tensor log_p = before.log_softmax(1), p_before = log_p.exp();
    for (std::size_t first = 0; first < columns.size(); first += at_once) {
      end_if_asked(observer.stop, "taking out subcomponents");
      const std::vector<std::int64_t> some(
          columns.begin() + static_cast<std::ptrdiff_t>(first),
          columns.begin() + static_cast<std::ptrdiff_t>(std::min(first + at_once, columns.size())));
      const auto R = static_cast<std::int64_t>(some.size());
      EditedExecutor edited(d, edits, edit_factors(edits, R * T, T, {}, d.numerics.options()));
      RowAblations executor(d, some, T, edited);
      // Nothing changes before the first block that has a site.
      PassStart start = clean.start;
      if (start.residual.defined()) start.residual = start.residual.repeat({R, 1});
      const at::Tensor after =
          d.target->forward(row.expand({R, T}).contiguous(), executor, start).view({R, T, -1});
      const at::Tensor kl =
          (p_before * (log_p - after.log_softmax(2))).sum(2, false, at::kDouble).cpu().contiguous();
      for (std::int64_t r = 0; r < R; ++r) {
        AblationEffects& effect = effects[first + static_cast<std::size_t>(r)];
        if (prompt.target) effect.metric[p] = prompt_metric(after[r][-1], prompt) - metric;
        const auto* values = kl.const_data_ptr<double>() + r * T;
        effect.kl[p] = std::accumulate(values, values + T, 0.0);
        effect.last_kl[p] = values[T - 1];
        std::copy(values, values + T,
                  effect.each_kl.begin() + static_cast<std::ptrdiff_t>(first_position[p]));
      }
    }
  });
  return effects;
}

PromptMeans prompt_means(const Decomposition& d, const std::vector<AuditPrompt>& prompts, Lanes& lanes) {
  const auto count = static_cast<std::int64_t>(prompts.size());
  const auto zeros = [&] { return at::zeros({count, d.sites.total_C()}, at::kDouble); };
  PromptMeans means{zeros(), zeros(), zeros()};
  divide_work(prompts.size(), lanes, [&](std::size_t p) {
    const at::NoGradGuard no_grad;
    const CleanPass clean = clean_pass(d, row_of(prompts[p], d));
    const Importance importance =
        causal_importance(d, clean, d.ci_parameters.bind({}), d.components.bind({}));
    const auto row = static_cast<std::int64_t>(p);
    means.importance[row].copy_(importance.lower.mean(0, false, at::kDouble));
    for (std::size_t i = 0; i < d.sites.size(); ++i) {
      const at::Tensor V = d.components.V(i);
      const at::Tensor h = d.sites[i].embedding ? at::embedding(V, clean.inputs[i])
                                                : clean.inputs[i].to(V.scalar_type()).matmul(V);
      const at::Tensor length = d.components.U(i).to(at::kDouble).norm(2, {1});
      d.sites.columns(means.activation[row], i).copy_(h.mean(0, false, at::kDouble) * length);
      d.sites.columns(means.absolute_activation[row], i).copy_(h.abs().mean(0, false, at::kDouble) * length);
    }
  });
  return means;
}

double area_under_curve(std::vector<double> a, std::vector<double> b) {
  if (a.empty() || b.empty()) return 0.5;
  std::sort(b.begin(), b.end());
  double sum = 0.0;
  for (const double x : a) {
    const auto below = std::lower_bound(b.begin(), b.end(), x),
               through = std::upper_bound(b.begin(), b.end(), x);
    sum += static_cast<double>(below - b.begin()) + 0.5 * static_cast<double>(through - below);
  }
  return sum / (static_cast<double>(a.size()) * static_cast<double>(b.size()));
}

std::vector<std::int64_t> screened_columns(const at::Tensor& estimate, const at::Tensor& estimate_against,
                                           const AuditSettings& settings) {
  const auto *e = estimate.const_data_ptr<double>(), *against = estimate_against.const_data_ptr<double>();
  std::vector<std::int64_t> columns(static_cast<std::size_t>(estimate.numel()));
  std::iota(columns.begin(), columns.end(), 0);
  const auto gain = [&](std::int64_t c) {
    return -e[c] - settings.against_weight * std::max(0.0, -against[c]);
  };
  std::stable_sort(columns.begin(), columns.end(),
                   [&](std::int64_t a, std::int64_t b) { return gain(a) > gain(b); });
  if (static_cast<std::int64_t>(columns.size()) > settings.candidates)
    columns.resize(static_cast<std::size_t>(settings.candidates));
  return columns;
}

std::vector<double> kept_shares(const Decomposition& d, const std::vector<AuditPrompt>& prompts,
                                const PruneSettings& settings, Lanes& lanes, const Observer& observer) {
  std::vector<std::vector<std::int64_t>> kept(prompts.size());
  std::vector<std::size_t> asked;
  for (std::size_t i = 0; i < prompts.size(); ++i)
    if (prompts[i].target) asked.push_back(i);
  std::atomic<std::size_t> done = 0;
  divide_work(asked.size(), lanes, [&](std::size_t i) {
    const AuditPrompt& prompt = prompts[asked[i]];
    const auto last = static_cast<std::int64_t>(prompt.tokens.size()) - 1;
    kept[asked[i]] = optimise_importance(d, at::tensor(prompt.tokens, at::kLong),
                                         {{.at = last, .token = prompt.target}}, settings, observer.stop)
                         .columns();
    const std::size_t now = ++done;
    if (i % static_cast<std::size_t>(lanes.count()) == 0)
      observer.announce(fmt::format("optimising importances: {} of {} prompts", now, asked.size()));
  });
  std::vector<double> shares(static_cast<std::size_t>(d.sites.total_C()));
  for (const auto& columns : kept)
    for (const std::int64_t column : columns)
      shares[static_cast<std::size_t>(column)] += 1.0 / static_cast<double>(asked.size());
  return shares;
}

std::vector<std::int64_t> graph_columns(const std::vector<double>& shares, const AuditSettings& settings) {
  std::vector<std::int64_t> columns;
  for (std::size_t c = 0; c < shares.size(); ++c)
    if (shares[c] >= settings.graph_share - 1e-9) columns.push_back(static_cast<std::int64_t>(c));
  VPD_CHECK(
      !columns.empty(), UsageError,
      "--candidates-from graphs: expected subcomponents that are kept in {:.0f} % of the prompts, found "
      "none; lower --graph-share, or take candidates from the screen",
      100.0 * settings.graph_share);
  std::stable_sort(columns.begin(), columns.end(), [&](std::int64_t a, std::int64_t b) {
    return shares[static_cast<std::size_t>(a)] > shares[static_cast<std::size_t>(b)];
  });
  if (static_cast<std::int64_t>(columns.size()) > settings.candidates)
    columns.resize(static_cast<std::size_t>(settings.candidates));
  return columns;
}

std::vector<std::string> groups_of(const std::vector<AuditPrompt>& prompts) {
  std::set<std::string> groups;
  for (const AuditPrompt& prompt : prompts)
    if (prompt.target && !prompt.group.empty()) groups.insert(prompt.group);
  return {groups.begin(), groups.end()};
}

std::vector<double> group_means(const std::vector<AuditPrompt>& prompts,
                                const std::vector<std::string>& groups, const std::vector<double>& values) {
  std::vector<double> means;
  for (const std::string& group : groups) {
    std::vector<double> own;
    for (std::size_t i = 0; i < prompts.size(); ++i)
      if (prompts[i].group == group) own.push_back(values[i]);
    means.push_back(mean_of(own));
  }
  return means;
}

void check_prompts(const PromptSplit& behaviour_split, const PromptSplit& against_split,
                   const AuditSettings& settings) {
  const std::vector<AuditPrompt>&behaviour = behaviour_split.report, &against = against_split.report;
  VPD_CHECK(!behaviour.empty() && !against.empty(), UsageError,
            "expected prompts of the behaviour and others against it, found an empty set");
  for (const std::vector<AuditPrompt>* half : {&behaviour_split.select, &behaviour_split.report})
    VPD_CHECK(
        std::any_of(half->begin(), half->end(), [](const AuditPrompt& p) { return p.target.has_value(); }),
        UsageError,
        "expected prompts of the behaviour with a target in both halves, found a half of {} without any; "
        "give more prompts",
        half->size());
  const auto contrasts = [](const std::vector<AuditPrompt>& prompts) {
    return std::count_if(prompts.begin(), prompts.end(),
                         [](const AuditPrompt& p) { return p.contrast.has_value(); });
  };
  for (const PromptSplit* split : {&behaviour_split, &against_split}) {
    const auto with = contrasts(split->report) + contrasts(split->select);
    const auto targets = std::count_if(split->report.begin(), split->report.end(),
                                       [](const AuditPrompt& p) { return p.target.has_value(); }) +
                         std::count_if(split->select.begin(), split->select.end(),
                                       [](const AuditPrompt& p) { return p.target.has_value(); });
    if (settings.one_metric)
      VPD_CHECK(with == 0 || with == targets, UsageError,
                "expected a contrast in every prompt with a target or in none, since their figures are "
                "averaged, found {} of {}",
                with, targets);
  }
  const bool same =
      behaviour.size() == against.size() &&
      std::equal(behaviour.begin(), behaviour.end(), against.begin(),
                 [](const AuditPrompt& a, const AuditPrompt& b) {
                   return a.tokens == b.tokens && a.target == b.target && a.contrast == b.contrast;
                 });
  VPD_CHECK(!same, UsageError, "expected two sets of prompts, found the same twice");
}

void check_behaviour(double probability, const AuditSettings& settings) {
  VPD_CHECK(probability >= settings.least_probability, UsageError,
            "expected a behaviour that the target shows, found a mean probability of {:.2g} for the targets, "
            "below {:g}: there is nothing to audit",
            probability, settings.least_probability);
}

AuditResult audit(const Decomposition& d, const PromptSplit& behaviour_split,
                  const PromptSplit& against_split, const AuditSettings& settings, Lanes& lanes,
                  const Observer& observer) {
  const std::vector<AuditPrompt>&behaviour = behaviour_split.report, &against = against_split.report;
  check_prompts(behaviour_split, against_split, settings);
  AuditResult result;
  const PromptFigures target = prompt_figures(d, behaviour, {}, lanes);
  result.metric = mean_of(target.metric);
  result.probability = mean_of(target.probability);
  result.groups = groups_of(behaviour);
  check_behaviour(result.probability, settings);

  observer.announce("screening all subcomponents");
  const at::Tensor estimate = estimated_effects(d, behaviour_split.select, lanes, {}, observer),
                   estimate_against = estimated_effects(d, against_split.select, lanes, {}, observer);
  const std::vector<std::int64_t> columns =
      settings.from == CandidatesFrom::screen
          ? screened_columns(estimate, estimate_against, settings)
          : graph_columns(kept_shares(d, behaviour_split.select, settings.graphs, lanes, observer), settings);
  const auto *e = estimate.const_data_ptr<double>(), *ea = estimate_against.const_data_ptr<double>();

  observer.announce(fmt::format("taking out each of {} candidates", columns.size()));
  const std::vector<AblationEffects> effects = ablation_effects(d, behaviour, columns, lanes, observer),
                                     sides = ablation_effects(d, against, columns, lanes, observer);
  const CircuitEffects circuit = circuit_effects(d, behaviour, columns, lanes, observer);
  double positions = 0.0;
  for (const AuditPrompt& prompt : against) positions += static_cast<double>(prompt.tokens.size());
  const PromptMeans mine = prompt_means(d, behaviour, lanes), theirs = prompt_means(d, against, lanes);
  const auto column_of_means = [](const at::Tensor& means, std::int64_t c) {
    const at::Tensor column = means.select(1, c).contiguous();
    return std::vector<double>(column.const_data_ptr<double>(),
                               column.const_data_ptr<double>() + column.numel());
  };
  const RandomKey key_of_resamples = make_key(settings.seed, RandomPurpose::control, stream_of_prompts);
  for (std::size_t i = 0; i < columns.size(); ++i) {
    AuditedSubcomponent one{.column = columns[i],
                            .estimate = e[columns[i]],
                            .estimate_against = ea[columns[i]],
                            .effect = mean_of(effects[i].metric),
                            .effect_in_circuit = mean_of(circuit.metric[i])};
    std::tie(one.effect_low, one.effect_high) =
        bootstrap_of_mean(effects[i].metric, key_of_resamples, settings.resamples);
    one.side = std::accumulate(sides[i].kl.begin(), sides[i].kl.end(), 0.0) / positions;
    one.score = -one.effect / (one.side + audit_side_offset);
    one.kl_wanted = mean_of(effects[i].last_kl);
    one.kl_elsewhere = quantile_of(sides[i].each_kl, 0.99);
    one.group_effects = group_means(behaviour, result.groups, effects[i].metric);
    const std::vector<double> g = column_of_means(mine.importance, columns[i]),
                              g_against = column_of_means(theirs.importance, columns[i]);
    one.importance = mean_of(g);
    one.importance_against = mean_of(g_against);
    one.auc_importance = area_under_curve(g, g_against);
    one.auc_activation = area_under_curve(column_of_means(mine.activation, columns[i]),
                                          column_of_means(theirs.activation, columns[i]));
    result.ranking.push_back(one);
  }
  std::stable_sort(
      result.ranking.begin(), result.ranking.end(),
      [](const AuditedSubcomponent& a, const AuditedSubcomponent& b) { return a.score > b.score; });
  return result;
}

}  // namespace vpd
