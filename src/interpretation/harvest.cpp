#include "vpd/interpretation/harvest.hpp"

#include <algorithm>
#include <bit>

#include <ATen/ATen.h>

#include "harvest_state.hpp"
#include "vpd/base/error.hpp"
#include "vpd/kernels/histogram.hpp"
#include "vpd/kernels/matrix_product.hpp"

namespace vpd {
namespace {

constexpr std::uint64_t stream_of_halves = 1, stream_of_examples = 2;

/// What fired in some rows of a batch, row by row, columns ascending.
struct Firings {
  std::vector<std::int32_t> column, position;  ///< position in the batch
  std::vector<float> importance, activation;

  std::size_t size() const { return column.size(); }
};

/// A lane's positions on the host.
struct LaneRows {
  std::int64_t first = 0;             ///< its first position in the batch
  at::Tensor importance, activation;  ///< float32 [n, Σ C]
  at::Tensor probability;             ///< float32 [n, V] or [n, k]; undefined without an output side
  at::Tensor likely;                  ///< int64 [n, k]: the tokens of `probability`, where it is of some
  Firings firings;
  std::vector<double> g, gg, a, aa;  ///< sums over positions, per column
  at::Tensor histogram;
};

at::Tensor activations(const Decomposition& d, const CleanPass& clean, const BoundSubcomponents& components,
                       const at::Tensor& write_norms) {
  const at::Tensor a = at::empty({clean.N(), d.sites.total_C()}, write_norms.options());
  for (std::size_t i = 0; i < d.sites.size(); ++i) {
    const at::Tensor V = components.V(i).value;
    const at::Tensor h =
        d.sites[i].embedding ? at::embedding(V, clean.inputs[i]) : matrix_product(clean.inputs[i], V);
    d.sites.columns(a, i).copy_(h);
  }
  return a.mul_(write_norms);
}

/// One pass over a lane's positions: sums of all, and a list of what fires.
void scan(LaneRows& lane, float threshold) {
  const std::int64_t n = lane.importance.size(0);
  const auto A = static_cast<std::size_t>(lane.importance.size(1));
  for (auto* sums : {&lane.g, &lane.gg, &lane.a, &lane.aa}) sums->assign(A, 0.0);
  std::vector<std::int32_t> fired(A);
  for (std::int64_t row = 0; row < n; ++row) {
    const float* __restrict g = lane.importance.const_data_ptr<float>() + row * static_cast<std::int64_t>(A);
    const float* __restrict a = lane.activation.const_data_ptr<float>() + row * static_cast<std::int64_t>(A);
    double *__restrict sum_g = lane.g.data(), *__restrict sum_gg = lane.gg.data(),
                       *__restrict sum_a = lane.a.data(), *__restrict sum_aa = lane.aa.data();
    for (std::size_t c = 0; c < A; ++c) {
      const double wide_g = g[c], wide_a = a[c];
      sum_g[c] += wide_g;
      sum_gg[c] += wide_g * wide_g;
      sum_a[c] += wide_a;
      sum_aa[c] += wide_a * wide_a;
    }
    std::size_t count = 0;
    for (std::size_t c = 0; c < A; ++c) {
      fired[count] = static_cast<std::int32_t>(c);
      count += g[c] > threshold ? 1 : 0;
    }
    for (std::size_t k = 0; k < count; ++k) {
      const auto c = static_cast<std::size_t>(fired[k]);
      lane.firings.column.push_back(fired[k]);
      lane.firings.position.push_back(static_cast<std::int32_t>(lane.first + row));
      lane.firings.importance.push_back(g[c]);
      lane.firings.activation.push_back(a[c]);
    }
  }
}

/// The firings of all lanes, and the same by columns.
struct BatchFirings {
  Firings rows;                            ///< by position, then by column
  std::vector<std::int64_t> row_begin;     ///< [positions + 1]
  std::vector<std::int64_t> of_column;     ///< numbers in `rows`, by column, then by position
  std::vector<std::int64_t> column_begin;  ///< [Σ C + 1]
};

BatchFirings collect(std::vector<LaneRows>& lanes, std::int64_t positions, std::size_t A) {
  BatchFirings all;
  for (LaneRows& lane : lanes) {
    const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
    append(all.rows.column, lane.firings.column);
    append(all.rows.position, lane.firings.position);
    append(all.rows.importance, lane.firings.importance);
    append(all.rows.activation, lane.firings.activation);
  }
  all.row_begin.assign(static_cast<std::size_t>(positions) + 1, 0);
  all.column_begin.assign(A + 1, 0);
  for (std::size_t i = 0; i < all.rows.size(); ++i) {
    ++all.row_begin[static_cast<std::size_t>(all.rows.position[i]) + 1];
    ++all.column_begin[static_cast<std::size_t>(all.rows.column[i]) + 1];
  }
  for (std::size_t n = 0; n < static_cast<std::size_t>(positions); ++n)
    all.row_begin[n + 1] += all.row_begin[n];
  for (std::size_t c = 0; c < A; ++c) all.column_begin[c + 1] += all.column_begin[c];
  all.of_column.resize(all.rows.size());
  std::vector<std::int64_t> next(all.column_begin.begin(), all.column_begin.end() - 1);
  for (std::size_t i = 0; i < all.rows.size(); ++i) {
    all.of_column[static_cast<std::size_t>(next[static_cast<std::size_t>(all.rows.column[i])]++)] =
        static_cast<std::int64_t>(i);
  }
  return all;
}

/// Tokens of each position of a batch: one, or, of features, those that are not 0.
struct PositionTokens {
  std::vector<std::int32_t> tokens;
  std::vector<std::int64_t> begin;  ///< [positions + 1]
  std::vector<std::int32_t> shown;  ///< the one that examples show, -1 where there is none
};

PositionTokens tokens_of(const Batch& batch) {
  PositionTokens found;
  found.begin.push_back(0);
  for (const LaneBatch& lane : batch.lanes) {
    const at::Tensor input = lane.clean.input.cpu().contiguous();
    if (!input.is_floating_point()) {
      const auto* ids = input.const_data_ptr<std::int64_t>();
      for (std::int64_t n = 0; n < input.numel(); ++n) {
        found.tokens.push_back(static_cast<std::int32_t>(ids[n]));
        found.shown.push_back(static_cast<std::int32_t>(ids[n]));
        found.begin.push_back(static_cast<std::int64_t>(found.tokens.size()));
      }
      continue;
    }
    const at::Tensor features = input.to(at::kFloat);
    const auto* x = features.const_data_ptr<float>();
    const std::int64_t width = features.size(1);
    for (std::int64_t n = 0; n < features.size(0); ++n, x += width) {
      std::int32_t largest = -1;
      for (std::int64_t v = 0; v < width; ++v) {
        if (x[v] == 0.0f) continue;
        found.tokens.push_back(static_cast<std::int32_t>(v));
        if (largest < 0 || std::abs(x[v]) > std::abs(x[largest])) largest = static_cast<std::int32_t>(v);
      }
      found.shown.push_back(largest);
      found.begin.push_back(static_cast<std::int64_t>(found.tokens.size()));
    }
  }
  return found;
}

/// One batch, as the columns see it.
class ColumnWork {
 public:
  ColumnWork(Harvest::State& state, const Batch& batch, const std::vector<LaneRows>& lanes,
             const BatchFirings& firings, const PositionTokens& tokens)
      : state_(state), batch_(batch), lanes_(lanes), firings_(firings), tokens_(tokens) {
    for (std::size_t l = 0; l < lanes.size(); ++l) {
      const std::int64_t n = lanes[l].importance.size(0);
      lane_of_.insert(lane_of_.end(), static_cast<std::size_t>(n), static_cast<std::int32_t>(l));
    }
    for (std::int64_t row = 0; row < batch.B; ++row) half_.push_back(state.half(batch.first + row));
  }

  void add(std::size_t c) {
    const auto begin = static_cast<std::size_t>(firings_.column_begin[c]);
    const auto end = static_cast<std::size_t>(firings_.column_begin[c + 1]);
    if (begin == end) return;
    numbers_ = {firings_.of_column.data() + begin, end - begin};
    sums(c);
    input(c);
    if (state_.settings.output_tokens == 0) {
      all_outputs(c);
    } else {
      some_outputs(c);
    }
    together(c);
    examples(c);
  }

 private:
  float g(std::int64_t i) const { return firings_.rows.importance[static_cast<std::size_t>(i)]; }
  float a(std::int64_t i) const { return firings_.rows.activation[static_cast<std::size_t>(i)]; }
  std::int64_t position(std::int64_t i) const { return firings_.rows.position[static_cast<std::size_t>(i)]; }
  std::int64_t row(std::int64_t i) const { return position(i) / batch_.T; }
  static FiringSign sign(float a) {
    return a > 0 ? FiringSign::positive : a < 0 ? FiringSign::negative : FiringSign::none;
  }
  std::size_t group(std::int64_t i) const {
    return group_of(sign(a(i)), half_[static_cast<std::size_t>(row(i))]);
  }
  const LaneRows& lane(std::int64_t n) const {
    return lanes_[static_cast<std::size_t>(lane_of_[static_cast<std::size_t>(n)])];
  }

  void sums(std::size_t c) {
    HarvestColumn& column = state_.columns[c];
    const bool first = column.firings() == 0;
    double signed_sum = 0.0, absolute_sum = 0.0;
    float least = first ? a(numbers_.front()) : column.activation_min;
    float most = first ? least : column.activation_max;
    std::int64_t last_row = -1;
    for (const std::int64_t i : numbers_) {
      const float value = a(i);
      ++(value > 0 ? column.positive : value < 0 ? column.negative : column.zero);
      signed_sum += value;
      absolute_sum += std::abs(value);
      least = std::min(least, value);
      most = std::max(most, value);
      column.rows += row(i) != last_row ? 1 : 0;
      last_row = row(i);
      const auto bin = static_cast<std::size_t>(position_bin(position(i) % batch_.T));
      ++state_.position_firings[bin * state_.A() + c];
    }
    column.firing_activation.add(signed_sum);
    column.firing_activation_abs.add(absolute_sum);
    column.activation_min = least;
    column.activation_max = most;
  }

  void input(std::size_t c) {
    CountMap& counts = state_.columns[c].input;
    for (const std::int64_t i : numbers_) {
      const auto n = static_cast<std::size_t>(position(i));
      for (std::int64_t k = tokens_.begin[n]; k < tokens_.begin[n + 1]; ++k)
        counts.add(count_key(tokens_.tokens[static_cast<std::size_t>(k)], group(i)), 1);
    }
  }

  void all_outputs(std::size_t c) {
    if (!state_.has_outputs) return;
    std::array<std::vector<const float*>, firing_groups> by_group;
    const std::int64_t V = state_.vocabulary;
    for (const std::int64_t i : numbers_) {
      const LaneRows& rows = lane(position(i));
      by_group[group(i)].push_back(rows.probability.const_data_ptr<float>() + (position(i) - rows.first) * V);
    }
    constexpr std::int64_t block = 256;
    for (std::size_t group = 0; group < firing_groups; ++group) {
      if (by_group[group].empty()) continue;
      std::vector<std::int64_t>& mass = state_.columns[c].mass[group];
      mass.resize(static_cast<std::size_t>(V));
      for (std::int64_t begin = 0; begin < V; begin += block) {
        const std::int64_t width = std::min(block, V - begin);
        float sum[block] = {};
        for (const float* p : by_group[group])
          for (std::int64_t v = 0; v < width; ++v) sum[v] += p[begin + v];
        std::int64_t* to = mass.data() + begin;
        for (std::int64_t v = 0; v < width; ++v)
          to[v] += static_cast<std::int64_t>(static_cast<double>(sum[v]) / mass_unit + 0.5);
      }
    }
  }

  void some_outputs(std::size_t c) {
    if (!state_.has_outputs) return;
    CountMap& mass = state_.columns[c].output;
    for (const std::int64_t i : numbers_) {
      const LaneRows& rows = lane(position(i));
      const std::int64_t k = rows.likely.size(1), n = position(i) - rows.first;
      const float* p = rows.probability.const_data_ptr<float>() + n * k;
      const std::int64_t* v = rows.likely.const_data_ptr<std::int64_t>() + n * k;
      for (std::int64_t j = 0; j < k; ++j) {
        mass.add(count_key(v[j], group(i)),
                 static_cast<std::int64_t>(static_cast<double>(p[j]) / mass_unit + 0.5));
      }
    }
  }

  void together(std::size_t c) {
    std::vector<std::int32_t>& counts = state_.columns[c].together;
    if (counts.empty()) counts.resize(state_.A() - c - 1);
    std::int32_t* from_next = counts.data();
    const auto base = static_cast<std::int32_t>(c + 1);
    for (const std::int64_t i : numbers_) {
      const std::int32_t* other = firings_.rows.column.data() + i + 1;
      const std::int32_t* end =
          firings_.rows.column.data() + firings_.row_begin[static_cast<std::size_t>(position(i)) + 1];
      for (; other < end; ++other) ++from_next[*other - base];
    }
  }

  void examples(std::size_t c) {
    const RandomKey key = make_key(state_.settings.seed, RandomPurpose::harvest, stream_of_examples);
    struct Candidate {
      std::uint64_t rank = ~std::uint64_t{0};
      std::int64_t firing = -1;
    };
    std::array<Candidate, example_kinds> best;
    const auto better = [&](ExampleKind kind, std::uint64_t rank, std::int64_t i) {
      Candidate& candidate = best[static_cast<std::size_t>(kind)];
      if (candidate.firing < 0 || rank < candidate.rank) candidate = {rank, i};
    };
    for (std::size_t k = 0; k < numbers_.size(); ++k) {
      const std::int64_t i = numbers_[k];
      const std::int64_t n = batch_.first * batch_.T + position(i);
      std::uint32_t words[4];
      random_words(key, static_cast<std::uint32_t>(c), static_cast<std::uint64_t>(n), 0, words);
      const std::uint64_t drawn = (std::uint64_t{words[1]} << 32 | words[0]) >> 1;
      if (a(i) > 0) better(ExampleKind::random_positive, drawn, i);
      if (a(i) < 0) better(ExampleKind::random_negative, drawn, i);
      better(ExampleKind::strongest, rank_of_strength(g(i) * std::abs(a(i))), i);
      if (k + 1 < numbers_.size() && row(numbers_[k + 1]) == row(i)) continue;
      for (std::size_t kind = 0; kind < example_kinds; ++kind) {
        if (best[kind].firing >= 0)
          offer(c, static_cast<ExampleKind>(kind), best[kind].rank, best[kind].firing);
        best[kind] = {};
      }
    }
  }

  void offer(std::size_t c, ExampleKind kind, std::uint64_t rank, std::int64_t i) {
    BottomK& sketch = state_.columns[c].examples[static_cast<std::size_t>(kind)];
    const std::size_t most = state_.most(kind);
    const std::int64_t in_batch = row(i), t = position(i) % batch_.T, w = state_.settings.window;
    const auto centre = static_cast<std::int32_t>(t);
    if (!sketch.takes(rank, batch_.first + in_batch, centre, most)) return;
    const auto width = static_cast<std::size_t>(2 * w + 1);
    KeptExample example{.rank = rank,
                        .row = batch_.first + in_batch,
                        .centre = centre,
                        .tokens = std::vector<std::int32_t>(width, -1),
                        .importance = std::vector<float>(width),
                        .activation = std::vector<float>(width)};
    for (std::int64_t s = std::max<std::int64_t>(0, t - w); s < std::min(batch_.T, t + w + 1); ++s) {
      const std::int64_t n = in_batch * batch_.T + s;
      const LaneRows& rows = lane(n);
      const auto at = static_cast<std::size_t>(s - t + w);
      const std::int64_t entry =
          (n - rows.first) * static_cast<std::int64_t>(state_.A()) + static_cast<std::int64_t>(c);
      example.tokens[at] = tokens_.shown[static_cast<std::size_t>(n)];
      example.importance[at] = rows.importance.const_data_ptr<float>()[entry];
      example.activation[at] = rows.activation.const_data_ptr<float>()[entry];
    }
    sketch.keep(std::move(example), most);
  }

  Harvest::State& state_;
  const Batch& batch_;
  const std::vector<LaneRows>& lanes_;
  const BatchFirings& firings_;
  const PositionTokens& tokens_;
  std::vector<std::int32_t> lane_of_;
  std::vector<char> half_;
  std::span<const std::int64_t> numbers_;  ///< of the column's firings
};

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
  std::vector<at::Tensor> norms;
  for (std::size_t i = 0; i < decomposition.sites.size(); ++i)
    norms.push_back(decomposition.components.U(i).to(at::kDouble).norm(2, {1}).to(at::kFloat));
  s.write_norms = at::cat(norms);
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
  const Decomposition& d = *s.decomposition;
  const HistogramBins bins{.bins = 20, .threshold = s.settings.threshold};
  std::vector<LaneRows> lanes(batch.lanes.size());
  batch.pool.run([&](int number) {
    const auto l = static_cast<std::size_t>(number);
    if (l >= lanes.size()) return;
    const at::NoGradGuard no_grad;
    const LaneBatch& from = batch.lanes[l];
    LaneRows& lane = lanes[l];
    lane.first = from.first_batch * batch.T;
    const auto on_host = [](const at::Tensor& x) { return x.to(at::kFloat).cpu().contiguous(); };
    lane.importance = on_host(from.importance.lower);
    lane.activation = on_host(activations(d, from.clean, batch.components, s.write_norms));
    lane.histogram = at::zeros_like(s.histogram);
    add_column_histogram(lane.importance, bins, lane.histogram);
    if (s.has_outputs) {
      at::Tensor p = from.clean.output.to(at::kFloat).softmax(1);
      if (s.settings.output_tokens > 0) {
        auto [likely, which] = p.topk(s.settings.output_tokens, 1);
        p = std::move(likely);
        lane.likely = which.cpu().contiguous();
      }
      lane.probability = on_host(p);
    }
    scan(lane, static_cast<float>(s.settings.threshold));
  });

  const BatchFirings firings = collect(lanes, batch.positions(), s.A());
  const PositionTokens tokens = tokens_of(batch);
  // Columns are divided among the lanes, as even in firings as whole columns allow.
  const auto workers = static_cast<std::int64_t>(batch.pool.count());
  batch.pool.run([&](int number) {
    ColumnWork work(s, batch, lanes, firings, tokens);
    const auto all = static_cast<std::int64_t>(firings.rows.size());
    const Range part = lane_range(all, number, static_cast<int>(workers));
    for (std::size_t c = 0; c < s.A(); ++c) {
      const std::int64_t begin = firings.column_begin[c];
      if (begin >= part.begin && begin < part.end) work.add(c);
    }
  });

  for (const LaneRows& lane : lanes) {
    s.histogram.add_(lane.histogram);
    if (!s.has_outputs) continue;
    const at::Tensor p = lane.probability;
    if (lane.likely.defined()) {
      const auto* v = lane.likely.const_data_ptr<std::int64_t>();
      const auto* x = p.const_data_ptr<float>();
      for (std::int64_t i = 0; i < p.numel(); ++i)
        s.output_marginal[static_cast<std::size_t>(v[i])] +=
            static_cast<std::int64_t>(static_cast<double>(x[i]) / mass_unit + 0.5);
    } else {
      const at::Tensor sums = p.sum(0, false, at::kDouble);
      const auto* x = sums.const_data_ptr<double>();
      for (std::size_t v = 0; v < s.output_marginal.size(); ++v)
        s.output_marginal[v] += static_cast<std::int64_t>(x[v] / mass_unit + 0.5);
    }
  }
  std::vector<double> total(s.A());
  const auto take = [&](std::vector<double> LaneRows::*part, WideSum HarvestColumn::*sum) {
    std::fill(total.begin(), total.end(), 0.0);
    for (const LaneRows& lane : lanes)
      for (std::size_t c = 0; c < s.A(); ++c) total[c] += (lane.*part)[c];
    for (std::size_t c = 0; c < s.A(); ++c) (s.columns[c].*sum).add(total[c]);
  };
  take(&LaneRows::g, &HarvestColumn::importance);
  take(&LaneRows::gg, &HarvestColumn::importance_square);
  take(&LaneRows::a, &HarvestColumn::activation);
  take(&LaneRows::aa, &HarvestColumn::activation_square);
  for (const std::int32_t token : tokens.tokens) ++s.input_marginal[static_cast<std::size_t>(token)];
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

std::int64_t suitable_harvest_rows(std::int64_t columns, std::int64_t T) {
  return std::clamp<std::int64_t>((std::int64_t{1} << 26) / (T * columns), 1, 64);
}

}  // namespace vpd
