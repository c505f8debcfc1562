#include "harvest_columns.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

namespace vpd {
namespace {

constexpr std::uint64_t stream_of_examples = 2;
constexpr std::int64_t width = ProbabilityBlocks::width;

/// Half of a block's row. A vector type, since GCC's unroll-and-jam leaves plain loops over rows scalar.
using HalfRow [[gnu::vector_size(sizeof(float) * width / 2)]] = float;

/// Adds the sum of chosen rows of a block to `mass`, of which `known` tokens are there.
void add_rows(const float* block, std::span<const std::int32_t> rows, std::int64_t* mass,
              std::int64_t known) {
  constexpr std::size_t at_once = 512;  // in float32: a relative error of 1e-6 at most
  double all[width] = {};
  for (std::size_t begin = 0; begin < rows.size(); begin += at_once) {
    HalfRow sum[2] = {};
    for (const std::int32_t row : rows.subspan(begin, std::min(at_once, rows.size() - begin))) {
      HalfRow p[2];
      std::memcpy(p, block + row * width, sizeof p);
      sum[0] += p[0];
      sum[1] += p[1];
    }
    for (std::int64_t v = 0; v < width / 2; ++v) {
      all[v] += static_cast<double>(sum[0][v]);
      all[v + width / 2] += static_cast<double>(sum[1][v]);
    }
  }
  for (std::int64_t v = 0; v < known; ++v) mass[v] += mass_units(all[v]);
}

}  // namespace

void ColumnWork::add(std::size_t c) {
  numbers_ = batch_.of(c);
  if (numbers_.empty()) return;
  HarvestColumn& column = state_.columns[c];
  sums(column, c);
  input(column);
  if (state_.has_outputs && state_.settings.output_tokens > 0) some_outputs(column);
  together(column, c);
  examples(c);
}

void ColumnWork::sums(HarvestColumn& column, std::size_t c) {
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
    const std::int64_t row = batch_.row_of(i);
    column.rows += row != last_row ? 1 : 0;
    last_row = row;
    const auto bin = static_cast<std::size_t>(position_bin(position(i) % batch_.T));
    ++state_.position_firings[bin * state_.A() + c];
  }
  column.firing_activation.add(signed_sum);
  column.firing_activation_abs.add(absolute_sum);
  column.activation_min = least;
  column.activation_max = most;
}

void ColumnWork::input(HarvestColumn& column) const {
  for (const std::int64_t i : numbers_) {
    const auto n = static_cast<std::size_t>(position(i));
    const std::size_t group = batch_.group(i);
    for (std::int64_t k = batch_.tokens.begin[n]; k < batch_.tokens.begin[n + 1]; ++k)
      column.input.add(count_key(batch_.tokens.tokens[static_cast<std::size_t>(k)], group), 1);
  }
}

void ColumnWork::some_outputs(HarvestColumn& column) const {
  for (const std::int64_t i : numbers_) {
    const LaneRows& rows = lane(position(i));
    const std::int64_t k = rows.likely.size(1), n = position(i) - rows.first;
    const float* p = rows.probability.const_data_ptr<float>() + n * k;
    const std::int64_t* v = rows.likely.const_data_ptr<std::int64_t>() + n * k;
    const std::size_t group = batch_.group(i);
    for (std::int64_t j = 0; j < k; ++j) column.output.add(count_key(v[j], group), mass_units(p[j]));
  }
}

void ColumnWork::together(HarvestColumn& column, std::size_t c) const {
  if (column.together.empty()) column.together.resize(state_.A() - c - 1);
  std::int32_t* from_next = column.together.data();
  const auto base = static_cast<std::int32_t>(c + 1);
  for (const std::int64_t i : numbers_) {
    const std::int32_t* other = batch_.firings.column.data() + i + 1;
    const std::int32_t* end =
        batch_.firings.column.data() + batch_.row_begin[static_cast<std::size_t>(position(i)) + 1];
    for (; other < end; ++other) ++from_next[*other - base];
  }
}

void ColumnWork::examples(std::size_t c) {
  const RandomKey key = make_key(state_.settings.seed, RandomPurpose::harvest, stream_of_examples);
  // Drawn in a loop of its own, which the compiler turns into vectors.
  keys_.resize(numbers_.size());
  const auto first = static_cast<std::uint64_t>(batch_.first_row * batch_.T);
  for (std::size_t k = 0; k < numbers_.size(); ++k)
    keys_[k] = first + static_cast<std::uint64_t>(position(numbers_[k]));
  const auto block = static_cast<std::uint32_t>(c);
  for (std::uint64_t& drawn : keys_) {
    std::uint32_t words[4];
    random_words(key, block, drawn, 0, words);
    drawn = (std::uint64_t{words[1]} << 32 | words[0]) >> 1;
  }

  struct Candidate {
    std::uint64_t rank = 0;
    std::int64_t firing = -1;
  };
  std::array<Candidate, example_kinds> best;
  const auto better = [&](ExampleKind kind, std::uint64_t rank, std::int64_t i) {
    Candidate& candidate = best[static_cast<std::size_t>(kind)];
    if (candidate.firing < 0 || rank < candidate.rank) candidate = {rank, i};
  };
  for (std::size_t k = 0; k < numbers_.size(); ++k) {
    const std::int64_t i = numbers_[k];
    if (a(i) > 0) better(ExampleKind::random_positive, keys_[k], i);
    if (a(i) < 0) better(ExampleKind::random_negative, keys_[k], i);
    better(ExampleKind::strongest, rank_of_strength(g(i) * std::abs(a(i))), i);
    if (k + 1 < numbers_.size() && batch_.row_of(numbers_[k + 1]) == batch_.row_of(i)) continue;
    for (std::size_t kind = 0; kind < example_kinds; ++kind) {
      if (best[kind].firing >= 0)
        offer(c, static_cast<ExampleKind>(kind), best[kind].rank, best[kind].firing);
      best[kind] = {};
    }
  }
}

void ColumnWork::offer(std::size_t c, ExampleKind kind, std::uint64_t rank, std::int64_t i) {
  BottomK& sketch = state_.columns[c].examples[static_cast<std::size_t>(kind)];
  const std::size_t most = state_.most(kind);
  const std::int64_t in_batch = batch_.row_of(i), row = batch_.first_row + in_batch;
  const std::int64_t T = batch_.T, t = position(i) % T, w = state_.settings.window;
  const auto centre = static_cast<std::int32_t>(t);
  if (!sketch.takes(rank, row, centre, most)) return;
  const auto width = static_cast<std::size_t>(2 * w + 1);
  KeptExample example{.rank = rank,
                      .row = row,
                      .centre = centre,
                      .tokens = std::vector<std::int32_t>(width, -1),
                      .importance = std::vector<float>(width),
                      .activation = std::vector<float>(width)};
  for (std::int64_t s = std::max<std::int64_t>(0, t - w); s < std::min(T, t + w + 1); ++s) {
    const std::int64_t n = in_batch * T + s;
    const LaneRows& rows = lane(n);
    const auto at = static_cast<std::size_t>(s - t + w);
    const std::int64_t entry =
        (n - rows.first) * static_cast<std::int64_t>(state_.A()) + static_cast<std::int64_t>(c);
    example.tokens[at] = batch_.tokens.shown[static_cast<std::size_t>(n)];
    example.importance[at] = rows.importance.const_data_ptr<float>()[entry];
    example.activation[at] = rows.activation.const_data_ptr<float>()[entry];
  }
  sketch.keep(std::move(example), most);
}

void ColumnWork::add_masses(std::int64_t begin, std::int64_t end) const {
  // Firings of a column by group; the groups' order is theirs in every block.
  std::vector<std::int32_t> positions(batch_.firings.size());
  std::vector<std::array<std::int64_t, firing_groups + 1>> groups(state_.A());
  for (std::size_t c = 0; c < state_.A(); ++c) {
    std::array<std::int64_t, firing_groups + 1>& bounds = groups[c];
    bounds.fill(0);
    for (const std::int64_t i : batch_.of(c)) ++bounds[batch_.group(i) + 1];
    bounds[0] = batch_.column_begin[c];
    for (std::size_t k = 0; k < firing_groups; ++k) bounds[k + 1] += bounds[k];
    std::array<std::int64_t, firing_groups> next{};
    std::copy_n(bounds.begin(), firing_groups, next.begin());
    for (const std::int64_t i : batch_.of(c))
      positions[static_cast<std::size_t>(next[batch_.group(i)]++)] = static_cast<std::int32_t>(position(i));
  }
  std::vector<std::int32_t> everywhere(static_cast<std::size_t>(batch_.positions()));
  std::iota(everywhere.begin(), everywhere.end(), 0);
  for (std::int64_t b = begin; b < end; ++b) {
    const float* block = batch_.probability.block(b);
    const std::int64_t first = b * width, known = std::min(width, state_.vocabulary - first);
    for (std::size_t c = 0; c < state_.A(); ++c) {
      for (std::size_t group = 0; group < firing_groups; ++group) {
        const auto from = static_cast<std::size_t>(groups[c][group]),
                   to = static_cast<std::size_t>(groups[c][group + 1]);
        if (from == to) continue;
        add_rows(block, std::span(positions).subspan(from, to - from),
                 state_.columns[c].mass[group].data() + first, known);
      }
    }
    add_rows(block, everywhere, state_.output_marginal.data() + first, known);
  }
}

}  // namespace vpd
