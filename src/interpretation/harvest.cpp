#include "vpd/interpretation/harvest.hpp"

#include <algorithm>
#include <bit>

#include <ATen/ATen.h>

#include "harvest_columns.hpp"
#include "vpd/base/error.hpp"
#include "vpd/kernels/histogram.hpp"

namespace vpd {
namespace {

constexpr std::uint64_t stream_of_halves = 1;

}  // namespace

std::int64_t position_bin(std::int64_t t) {
  if (t < 4) return t;
  const auto octave = static_cast<std::int64_t>(std::bit_width(static_cast<std::uint64_t>(t))) - 1;
  const std::int64_t start = std::int64_t{1} << octave;
  return 4 * (octave - 1) + 4 * (t - start) / start;
}

std::int64_t position_bins(std::int64_t T) { return std::max<std::int64_t>(16, position_bin(T - 1) + 1); }

std::vector<std::pair<std::uint64_t, std::int64_t>> HarvestColumn::output_mass() const {
  std::vector<std::pair<std::uint64_t, std::int64_t>> entries = output.sorted();
  std::size_t V = 0;
  for (const auto& group : mass) V = std::max(V, group.size());
  for (std::size_t v = 0; v < V; ++v) {
    for (std::size_t group = 0; group < firing_groups; ++group) {
      if (!mass[group].empty() && mass[group][v] != 0)
        entries.emplace_back(count_key(static_cast<std::int64_t>(v), group), mass[group][v]);
    }
  }
  return entries;
}

bool Harvest::State::half(std::int64_t row) const {
  std::uint32_t words[4];
  random_words(make_key(settings.seed, RandomPurpose::harvest, stream_of_halves), 0,
               static_cast<std::uint64_t>(row), 0, words);
  return (words[0] & 1) == 0;
}

nlohmann::ordered_json to_json(const HarvestSettings& settings) {
  return {{"threshold", settings.threshold},         {"window", settings.window},
          {"examples", settings.examples},           {"strongest", settings.strongest},
          {"output_tokens", settings.output_tokens}, {"seed", settings.seed}};
}

Harvest::Harvest(const Decomposition& decomposition, std::int64_t T, const HarvestSettings& settings)
    : state_(std::make_unique<State>()) {
  VPD_CHECK(settings.threshold >= 0.0 && settings.threshold < 1.0, UsageError,
            "expected a threshold of at least 0 and below 1, found {:g}", settings.threshold);
  State& s = *state_;
  const Target& target = *decomposition.target;
  s.decomposition = &decomposition;
  s.settings = settings;
  s.T = T;
  s.vocabulary = target.vocabulary_size() > 0 ? target.vocabulary_size() : target.features();
  s.has_outputs = target.vocabulary_size() > 0 && target.divergence() == Divergence::kl;
  if (!s.has_outputs) s.settings.output_tokens = 0;
  s.settings.output_tokens = std::min(s.settings.output_tokens, s.vocabulary);
  const auto A = static_cast<std::size_t>(decomposition.sites.total_C());
  for (std::size_t i = 0; i < decomposition.sites.size(); ++i) {
    const at::Tensor lengths = decomposition.components.U(i).to(at::kDouble).norm(2, {1});
    s.reads.push_back((decomposition.components.V(i).to(at::kDouble) * lengths).to(at::kFloat));
  }
  s.columns.resize(A);
  s.histogram = at::zeros({HistogramBins{.bins = 20}.rows(), static_cast<std::int64_t>(A)}, at::kLong);
  s.position_firings.resize(static_cast<std::size_t>(position_bins(T)) * A);
  s.input_marginal.resize(static_cast<std::size_t>(s.vocabulary));
  s.output_marginal.resize(static_cast<std::size_t>(s.output_vocabulary()));
}

Harvest::~Harvest() = default;
Harvest::Harvest(Harvest&&) noexcept = default;
Harvest& Harvest::operator=(Harvest&&) noexcept = default;

const HarvestSettings& Harvest::settings() const { return state_->settings; }
std::int64_t Harvest::positions() const { return state_->positions; }
std::int64_t Harvest::rows() const { return state_->rows; }
std::int64_t Harvest::alive() const {
  return std::count_if(state_->columns.begin(), state_->columns.end(),
                       [](const HarvestColumn& column) { return column.firings() > 0; });
}

double Harvest::firings() const {
  double sum = 0.0;
  for (const HarvestColumn& column : state_->columns) sum += static_cast<double>(column.firings());
  return sum;
}

void Harvest::add(const Batch& batch) {
  State& s = *state_;
  const HarvestBatch seen = look_at(batch, s);
  // Columns are divided among the lanes, as even in firings as whole columns allow, and then blocks of
  // tokens.
  const int workers = batch.pool.count();
  std::vector<MassPlan> plans(static_cast<std::size_t>(workers));
  batch.pool.run([&](int number) {
    ColumnWork work(s, seen);
    const Range part = lane_range(static_cast<std::int64_t>(seen.firings.size()), number, workers);
    for (std::size_t c = 0; c < s.A(); ++c) {
      if (seen.column_begin[c] >= part.begin && seen.column_begin[c] < part.end) work.add(c);
    }
    MassPlan& plan = plans[static_cast<std::size_t>(number)] = work.take_plan();
    plan.prepare(s.columns, s.vocabulary);
  });
  if (seen.probability.count() > 0) {
    batch.pool.run([&](int number) {
      const Range part = lane_range(seen.probability.count(), number, workers);

      for (std::int64_t b = part.begin; b < part.end; ++b)
        add_masses(seen.probability, b, plans, s.columns, s.output_marginal);
    });
  }
  std::vector<double> total(s.A());
  const auto take = [&](std::vector<double> LaneRows::*part, WideSum HarvestColumn::*sum) {
    std::fill(total.begin(), total.end(), 0.0);
    for (const LaneRows& lane : seen.lanes)
      for (std::size_t c = 0; c < s.A(); ++c) total[c] += (lane.*part)[c];
    for (std::size_t c = 0; c < s.A(); ++c) (s.columns[c].*sum).add(total[c]);
  };
  take(&LaneRows::g, &HarvestColumn::importance);
  take(&LaneRows::gg, &HarvestColumn::importance_square);
  take(&LaneRows::a, &HarvestColumn::activation);
  take(&LaneRows::aa, &HarvestColumn::activation_square);
  for (const LaneRows& lane : seen.lanes) {
    s.histogram.add_(lane.histogram);
    if (!lane.likely.defined()) continue;
    const auto* v = lane.likely.const_data_ptr<std::int64_t>();
    const auto* p = lane.probability.const_data_ptr<float>();
    for (std::int64_t i = 0; i < lane.likely.numel(); ++i)
      s.output_marginal[static_cast<std::size_t>(v[i])] += mass_units(p[i]);
  }
  for (const std::int32_t token : seen.tokens.tokens) ++s.input_marginal[static_cast<std::size_t>(token)];
  s.positions += batch.positions();
  s.rows += batch.B;
}

void Harvest::merge(const Harvest& other) {
  State& s = *state_;
  const State& o = *other.state_;
  VPD_CHECK(s.settings == o.settings && s.A() == o.A() && s.T == o.T, UsageError,
            "harvests of other settings, sites or rows cannot be merged");
  const auto add = [](auto& to, const auto& from) {
    if (to.empty()) {
      to = from;
    } else {
      for (std::size_t i = 0; i < from.size(); ++i) to[i] += from[i];
    }
  };
  for (std::size_t c = 0; c < s.A(); ++c) {
    HarvestColumn& to = s.columns[c];
    const HarvestColumn& from = o.columns[c];
    if (from.firings() > 0) {
      const bool first = to.firings() == 0;
      to.activation_min = first ? from.activation_min : std::min(to.activation_min, from.activation_min);
      to.activation_max = first ? from.activation_max : std::max(to.activation_max, from.activation_max);
    }
    to.positive += from.positive;
    to.negative += from.negative;
    to.zero += from.zero;
    to.rows += from.rows;
    for (WideSum HarvestColumn::*sum :
         {&HarvestColumn::importance, &HarvestColumn::importance_square, &HarvestColumn::activation,
          &HarvestColumn::activation_square, &HarvestColumn::firing_activation,
          &HarvestColumn::firing_activation_abs})
      (to.*sum).merge(from.*sum);
    to.input.merge(from.input);
    to.output.merge(from.output);
    for (std::size_t group = 0; group < firing_groups; ++group) add(to.mass[group], from.mass[group]);
    add(to.together, from.together);
    for (std::size_t kind = 0; kind < example_kinds; ++kind)
      to.examples[kind].merge(from.examples[kind], s.most(static_cast<ExampleKind>(kind)));
  }
  s.histogram.add_(o.histogram);
  add(s.position_firings, o.position_firings);
  add(s.input_marginal, o.input_marginal);
  add(s.output_marginal, o.output_marginal);
  s.positions += o.positions;
  s.rows += o.rows;
}

std::int64_t suitable_output_tokens(std::int64_t columns, std::int64_t vocabulary) {
  return static_cast<double>(columns) * static_cast<double>(vocabulary) <= 0x1p26 ? 0 : 50;
}

std::int64_t suitable_harvest_rows(std::int64_t columns, std::int64_t T, std::int64_t vocabulary) {
  return std::clamp<std::int64_t>((std::int64_t{1} << 26) / (T * (columns + 2 * vocabulary)), 1, 64);
}

}  // namespace vpd
