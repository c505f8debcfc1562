#include "harvest_columns.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace vpd {
namespace {

constexpr std::uint64_t stream_of_examples = 2;
/// Of a firing of the other sign: above all keys, which have 63 bits. (It is the rank of a strength of 0,
/// too.)
constexpr std::uint64_t no_rank = std::numeric_limits<std::uint64_t>::max();

}  // namespace

ColumnWork::ColumnWork(Harvest::State& state, const HarvestBatch& batch)
    : state_(state), batch_(batch), plan_(batch.positions()) {
  for (std::int64_t t = 0; t < batch.T; ++t) bin_.push_back(static_cast<std::int32_t>(position_bin(t)));
}

void ColumnWork::add(std::size_t c) {
  firings_ = batch_.of(c);
  if (firings_.empty()) return;
  HarvestColumn& column = state_.columns[c];
  groups_.clear();
  for (const Firing& firing : firings_) groups_.push_back(static_cast<std::uint8_t>(batch_.group(firing)));
  sums(column, c);
  input(column);
  if (state_.has_outputs) {
    if (state_.settings.output_tokens > 0) {
      some_outputs(column);
    } else {
      all_outputs(c);
    }
  }
  together(column, c);
  examples(c);
}

void ColumnWork::sums(HarvestColumn& column, std::size_t c) {
  const bool first = column.firings() == 0;
  double signed_sum = 0.0, absolute_sum = 0.0;
  float least = first ? firings_.front().activation : column.activation_min;
  float most = first ? least : column.activation_max;
  std::int64_t positive = 0, negative = 0, rows = 0;
  std::int32_t last_row = -1;
  for (const Firing& firing : firings_) {
    const float value = firing.activation;
    positive += value > 0 ? 1 : 0;
    negative += value < 0 ? 1 : 0;
    signed_sum += value;
    absolute_sum += std::abs(value);
    least = std::min(least, value);
    most = std::max(most, value);
    rows += firing.row != last_row ? 1 : 0;
    last_row = firing.row;
    const std::int64_t t = firing.position - firing.row * batch_.T;
    const auto bin = static_cast<std::size_t>(bin_[static_cast<std::size_t>(t)]);
    ++state_.position_firings[bin * state_.A() + c];
  }
  column.positive += positive;
  column.negative += negative;
  column.zero += static_cast<std::int64_t>(firings_.size()) - positive - negative;
  column.rows += rows;
  column.firing_activation.add(signed_sum);
  column.firing_activation_abs.add(absolute_sum);
  column.activation_min = least;
  column.activation_max = most;
}

void ColumnWork::input(HarvestColumn& column) {
  tokens_.clear();
  for (std::size_t k = 0; k < firings_.size(); ++k) {
    const auto n = static_cast<std::size_t>(firings_[k].position);
    for (std::int64_t i = batch_.tokens.begin[n]; i < batch_.tokens.begin[n + 1]; ++i) {
      tokens_.push_back(count_key(batch_.tokens.tokens[static_cast<std::size_t>(i)], groups_[k]));
      column.input.prefetch(tokens_.back());
    }
  }
  for (const std::uint64_t key : tokens_) column.input.add(key, 1);
}

void ColumnWork::some_outputs(HarvestColumn& column) const {
  for (std::size_t i = 0; i < firings_.size(); ++i) {
    const LaneRows& rows = batch_.lane(firings_[i].row);
    const std::int64_t k = rows.likely.size(1), n = firings_[i].position - rows.first;
    const float* p = rows.probability.const_data_ptr<float>() + n * k;
    const std::int64_t* v = rows.likely.const_data_ptr<std::int64_t>() + n * k;
    for (std::int64_t j = 0; j < k; ++j) column.output.prefetch(count_key(v[j], groups_[i]));
    for (std::int64_t j = 0; j < k; ++j) column.output.add(count_key(v[j], groups_[i]), mass_units(p[j]));
  }
}

void ColumnWork::all_outputs(std::size_t c) {
  positions_.clear();
  for (const Firing& firing : firings_) positions_.push_back(firing.position);
  plan_.add(static_cast<std::int32_t>(c), positions_, groups_);
}

void ColumnWork::together(HarvestColumn& column, std::size_t c) const {
  if (column.together.empty()) column.together.resize(state_.A() - c - 1);
  std::int32_t* from_next = column.together.data();
  const auto base = static_cast<std::int32_t>(c + 1);
  const std::span<const std::int64_t> places = batch_.places_of(c);
  for (std::size_t k = 0; k < firings_.size(); ++k) {
    const std::int32_t* other = batch_.fired.data() + places[k] + 1;
    const std::int32_t* end =
        batch_.fired.data() + batch_.position_begin[static_cast<std::size_t>(firings_[k].position) + 1];
    for (; other < end; ++other) ++from_next[*other - base];
  }
}

void ColumnWork::examples(std::size_t c) {
  const RandomKey key = make_key(state_.settings.seed, RandomPurpose::harvest, stream_of_examples);
  // Drawn in a loop of its own, which the compiler turns into vectors.
  const std::size_t count = firings_.size();
  keys_.resize(count);
  positive_.resize(count);
  negative_.resize(count);
  strength_.resize(count);
  const auto first = static_cast<std::uint64_t>(batch_.first_row * batch_.T);
  for (std::size_t k = 0; k < count; ++k) keys_[k] = first + static_cast<std::uint64_t>(firings_[k].position);
  const auto block = static_cast<std::uint32_t>(c);
  for (std::uint64_t& drawn : keys_) {
    std::uint32_t words[4];
    random_words(key, block, drawn, 0, words);
    drawn = (std::uint64_t{words[1]} << 32 | words[0]) >> 1;
  }
  for (std::size_t k = 0; k < count; ++k) {
    const float a = firings_[k].activation;
    positive_[k] = a > 0 ? keys_[k] : no_rank;
    negative_[k] = a < 0 ? keys_[k] : no_rank;
    strength_[k] = rank_of_strength(firings_[k].importance * std::abs(a));
  }
  offer(c, ExampleKind::random_positive, positive_);
  offer(c, ExampleKind::random_negative, negative_);
  offer(c, ExampleKind::strongest, strength_);
}

void ColumnWork::offer(std::size_t c, ExampleKind kind, std::span<const std::uint64_t> ranks) {
  BottomK& sketch = state_.columns[c].examples[static_cast<std::size_t>(kind)];
  const std::size_t most = state_.most(kind);
  const std::uint64_t last =
      kind == ExampleKind::strongest ? sketch.last_rank(most) : std::min(sketch.last_rank(most), no_rank - 1);
  chosen_.clear();
  for (std::size_t k = 0; k < ranks.size(); ++k)
    if (ranks[k] <= last) chosen_.push_back(k);
  // By rank, then by position: of a row the first is its candidate.
  std::sort(chosen_.begin(), chosen_.end(), [&](std::size_t a, std::size_t b) {
    return ranks[a] < ranks[b] || (ranks[a] == ranks[b] && a < b);
  });
  for (std::size_t i = 0, taken = 0; i < chosen_.size() && taken < most; ++i) {
    const Firing& firing = firings_[chosen_[i]];
    const auto before = std::span(chosen_).first(taken);
    if (std::any_of(before.begin(), before.end(),
                    [&](std::size_t k) { return firings_[k].row == firing.row; }))
      continue;
    chosen_[taken++] = chosen_[i];
    const std::int64_t row = batch_.first_row + firing.row;
    const auto centre = static_cast<std::int32_t>(firing.position - firing.row * batch_.T);
    if (!sketch.takes(ranks[chosen_[i]], row, centre, most)) return;
    sketch.keep(example(c, ranks[chosen_[i]], firing), most);
  }
}

KeptExample ColumnWork::example(std::size_t c, std::uint64_t rank, const Firing& firing) const {
  const std::int64_t T = batch_.T, w = state_.settings.window, row = firing.row,
                     t = firing.position - row * T;
  const auto width = static_cast<std::size_t>(2 * w + 1);
  KeptExample example{.rank = rank,
                      .row = batch_.first_row + row,
                      .centre = static_cast<std::int32_t>(t),
                      .tokens = std::vector<std::int32_t>(width, -1),
                      .importance = std::vector<float>(width),
                      .activation = std::vector<float>(width)};
  const LaneRows& rows = batch_.lane(firing.row);
  const auto* g = rows.importance.const_data_ptr<float>() + c;
  const auto* a = rows.activation.const_data_ptr<float>() + c;
  for (std::int64_t s = std::max<std::int64_t>(0, t - w); s < std::min(T, t + w + 1); ++s) {
    const std::int64_t n = row * T + s, entry = (n - rows.first) * static_cast<std::int64_t>(state_.A());
    const auto at = static_cast<std::size_t>(s - t + w);
    example.tokens[at] = batch_.tokens.shown[static_cast<std::size_t>(n)];
    example.importance[at] = g[entry];
    example.activation[at] = a[entry];
  }
  return example;
}

}  // namespace vpd
