#include "explain_plan.hpp"

#include <algorithm>
#include <charconv>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/interpretation/prompt_importance.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

// The paper's settings for two prompts and 12 blocks (C 96 and 64, 30,000 steps of 128 rows), for as many
// steps as a laptop makes in an hour: a larger rate, fewer rows.
constexpr std::int64_t default_blocks = 10, subcomponents = 32, hidden = 256;
constexpr std::int64_t rows_of_a_prompt = 8, fewest_rows = 16, most_rows = 128, background_batch = 4;
// The paper's persistent adversary is beaten by so short a run where it stands, and nowhere else; one that
// begins anew at each step meets the run from everywhere. A few ascents for most of the run, and at its end
// as many as it takes to find what is left (docs/explain.md).
constexpr std::int64_t early_ascents = 4, late_ascents = 16;
constexpr double late_from = 0.8, ascent_length = 1.5;
constexpr auto mean_ascents =
    static_cast<std::int64_t>(late_from * early_ascents + (1.0 - late_from) * late_ascents);
constexpr std::int64_t fewest_steps = 100, most_steps = 10'000;
constexpr double training_share = 0.5;  // of the time; graphs, removals and baselines take the rest
constexpr double graph_share = 0.15, one_by_one_share = 0.05, removal_share = 0.25;

/// What the names of block b's matrices begin with, "layers.3.".
std::string block_prefix(const Architecture& target, std::int64_t b) {
  const std::string number = fmt::format(".{}.", b);
  for (const MatrixShape& matrix : target.matrices) {
    const std::size_t at = matrix.name.find(number);
    if (matrix.in_block && at != std::string::npos) return matrix.name.substr(0, at + number.size());
  }
  throw UsageError(fmt::format("expected matrices of block {} in the target, found none", b));
}

std::int64_t blocks_of(const Architecture& target) {
  return static_cast<std::int64_t>(target.blocks.size()) - 1;  // the last entry is what is behind them
}

/// What nothing needs has to be gone at the end, however few steps there are: it shrinks by e^-4 over the
/// run. Left over, random subcomponents are what an adversary breaks the model with.
double decay_in(std::int64_t steps) {
  constexpr double mean_rate = 0.55 * 2e-3, exponent = 4.0;  // of the cosine below
  return std::max(0.1, exponent / (mean_rate * static_cast<double>(steps)));
}

/// 0 up to `from`, then a line to `to`.
Schedule rise(double from, double to_value, double end) {
  return {.points = {{0.0, 0.0}, {from, to_value}, {1.0, end}}};
}

}  // namespace

std::pair<std::int64_t, std::int64_t> explained_layers(const std::string& layers,
                                                       const Architecture& target) {
  const std::int64_t blocks = blocks_of(target);
  VPD_CHECK(blocks > 0, UsageError,
            "expected a target with blocks, found one without: decompose it with a "
            "configuration of your own (`vpd decompose`)");
  if (layers.empty()) return {std::max<std::int64_t>(0, blocks - default_blocks), blocks};
  std::pair<std::int64_t, std::int64_t> range;
  const char *first = layers.data(), *end = first + layers.size();
  const auto begin = std::from_chars(first, end, range.first);
  bool fine = begin.ec == std::errc() && begin.ptr != end && *begin.ptr == ':';
  if (fine) {
    const auto last = std::from_chars(begin.ptr + 1, end, range.second);
    fine = last.ec == std::errc() && last.ptr == end;
  }
  VPD_CHECK(fine && range.first >= 0 && range.first < range.second && range.second <= blocks, UsageError,
            "--layers: expected FIRST:END of the target's blocks 0 to {}, such as 0:{}, found {}", blocks - 1,
            blocks, quote_foreign(layers));
  return range;
}

RunConfig explain_configuration(const ExplainPlan& plan, const Architecture& target,
                                const fs::path& directory) {
  RunConfig run;
  run.seed = plan.seed;
  run.target = plan.target;
  const PromptsData prompts{.path = directory / explain_prompts,
                            .sequence_length = plan.longest,
                            .positions = ComparedPositions::last,
                            .tokenizer = plan.tokenizer};
  run.data.train = run.data.eval = prompts;
  run.data.background =
      TokensData{.path = plan.background, .sequence_length = plan.background_length, .shuffle = true};
  for (std::int64_t b = plan.layers.first; b < plan.layers.second; ++b)
    run.sites.push_back({.pattern = block_prefix(target, b) + "*", .C = subcomponents});
  run.causal_importance = GlobalSharedMlpCiConfig{.hidden_dims = {hidden}};

  const RoutingConfig subsets = UniformKSubsetRoutingConfig{};
  using Points = decltype(Schedule::points);
  const Annealed p{2.0, 1.0};
  const auto attack = [](std::optional<std::string> name, std::int64_t ascents, Points coefficient) {
    return AdversarialReconTerm{
        .name = std::move(name),
        .coefficient = {.points = std::move(coefficient)},
        .adversary = FreshAdversaryConfig{.steps = ascents,
                                          .step_size = ascent_length / static_cast<double>(ascents),
                                          .scope = FreshScope::per_datapoint}};
  };
  run.objective = {StochasticReconTerm{.coefficient = {.start = 1.0}, .routing = subsets},
                   plan.awake
                       ? attack(std::nullopt, mean_ascents, {{0.0, 0.5}, {1.0, 0.5}})
                       : attack(std::nullopt, early_ascents,
                                {{0.0, 0.0}, {0.2, 0.0}, {0.2, 0.5}, {late_from, 0.5}, {late_from, 0.0}}),
                   ImportanceMinimalityTerm{.coefficient = rise(0.2, 4e-3, 1e-3), .p = p},
                   StochasticReconTerm{.name = "background",
                                       .coefficient = {.start = 1.0},
                                       .routing = subsets,
                                       .rows = TermRows::background,
                                       .delta = 1.0},
                   ImportanceMinimalityTerm{.name = "background_minimality",
                                            .coefficient = rise(0.2, 8e-3, 2e-3),
                                            .rows = TermRows::background,
                                            .p = p}};
  if (!plan.awake)
    run.objective.push_back(
        attack("late_adversary", late_ascents, {{0.0, 0.0}, {late_from, 0.0}, {late_from, 0.5}}));

  run.training.steps = plan.steps;
  run.training.batch_size = std::clamp(rows_of_a_prompt * plan.rows, fewest_rows, most_rows);
  run.training.background_batch_size = background_batch;
  run.training.learning_rate = {.start = 2e-3, .schedule = ScheduleShape::cosine, .final_fraction = 0.1};
  run.training.gradient_clip.components = 0.01;
  run.training.unused_decay = decay_in(plan.steps);
  run.evaluation.batch_size = std::min<std::int64_t>(32, std::max<std::int64_t>(plan.rows, 8));
  run.evaluation.batches = 8;
  run.evaluation.metrics = {CeKlMetric{.rounding_thresholds = {0.0, 0.1}}, CiL0Metric{.threshold = 0.0},
                            AliveMetric{}, LossesMetric{},
                            PgdMetric{.name = "pgd_20", .steps = 20, .step_size = 0.1}};
  run.output.log_every = std::max<std::int64_t>(1, plan.steps / 60);
  run.output.checkpoint_every = std::max<std::int64_t>(1, plan.steps / 4);
  run.output.keep = 1;
  check(run);
  return run;
}

std::int64_t explain_steps(double minutes, double step_seconds) {
  const double there = training_share * 60.0 * minutes / step_seconds;
  VPD_CHECK(
      there >= static_cast<double>(fewest_steps), UsageError,
      "--budget: expected enough minutes for {} steps of {:.2f} s, which are {:.1f} of the {:.0f} % that "
      "training has, found {:g}; give more, or fewer --layers",
      fewest_steps, step_seconds, fewest_steps * step_seconds / 60.0 / training_share, 100.0 * training_share,
      minutes);
  return std::min(most_steps, static_cast<std::int64_t>(there));
}

MeasuringScale measuring_scale(double minutes, std::size_t prompts, double step_seconds,
                               double operations_per_second, std::int64_t parameters,
                               std::int64_t row_length) {
  const double operations = 60.0 * minutes * operations_per_second,
               forward = 2.0 * static_cast<double>(parameters);  // of a position
  MeasuringScale scale;
  // Both wait for the weights, so what counts is how often they are read: by the ascents, and by the passes
  // whose losses are taken, of which a step of training has three and one of pruning two.
  const double pruning_seconds =
      step_seconds * static_cast<double>(PruneSettings{}.ascents + 2) / static_cast<double>(mean_ascents + 3);
  constexpr std::int64_t fewest_graph_steps = 100;
  scale.graph_steps = std::clamp(static_cast<std::int64_t>(graph_share * 60.0 * minutes /
                                                           static_cast<double>(prompts) / pruning_seconds),
                                 fewest_graph_steps, scale.graph_steps);
  // Fewer positions say less of a 99th percentile; below 1,000 rather fewer subcomponents.
  constexpr double fewest_positions = 1'000;
  const double positions = one_by_one_share * operations / forward;
  while (scale.subcomponents > 8 && positions / static_cast<double>(scale.subcomponents) < fewest_positions)
    scale.subcomponents /= 2;
  scale.positions = std::clamp<std::int64_t>(
      static_cast<std::int64_t>(positions / static_cast<double>(scale.subcomponents)), 512, scale.positions);
  // A removal of one prompt: a choice, which takes about as much as 150 passes over half of the rows, and of
  // two baselines 16 fits, each step of which takes three.
  const double each = removal_share * operations / static_cast<double>(prompts) / forward;
  const auto rows_at = [&](std::int64_t fit_steps) {
    return static_cast<std::int64_t>(each / (150.0 + 96.0 * static_cast<double>(fit_steps)) /
                                     (0.5 * static_cast<double>(row_length)));
  };
  constexpr std::int64_t enough_rows = 16, fewest_fit_steps = 25;
  while (scale.fit_steps > fewest_fit_steps && rows_at(scale.fit_steps) < enough_rows) scale.fit_steps /= 2;
  scale.removal_rows = std::clamp<std::int64_t>(rows_at(scale.fit_steps), 8, scale.removal_rows);
  return scale;
}

}  // namespace vpd
