#include "harvest_batch.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include <ATen/ATen.h>

#include "kernels/histogram_kernel.hpp"
#include "vpd/kernels/histogram.hpp"
#include "vpd/kernels/matrix_product.hpp"

namespace vpd {
namespace {

at::Tensor activations(const Harvest::State& state, const CleanPass& clean) {
  const Sites& sites = state.decomposition->sites;
  const at::Tensor a = at::empty({clean.N(), sites.total_C()}, state.reads.front().options());
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const at::Tensor out = sites.columns(a, i);
    if (sites[i].embedding) {
      out.copy_(at::embedding(state.reads[i], clean.inputs[i]));
    } else {
      matrix_product_into(out, clean.inputs[i].to(state.reads[i].scalar_type()), state.reads[i],
                          /*accumulate=*/false);
    }
  }
  return a;
}

/// Adds `rows` rows x [rows, A] to sums of columns.
template <std::int64_t rows>
void add_rows(const float* __restrict x, std::int64_t A, double* __restrict sum, double* __restrict square) {
  for (std::int64_t c = 0; c < A; ++c) {
    double total = sum[c], squares = square[c];
#pragma GCC unroll 4
    for (std::int64_t r = 0; r < rows; ++r) {
      const double value = x[r * A + c];
      total += value;
      squares += value * value;
    }
    sum[c] = total;
    square[c] = squares;
  }
}

/// Writes the columns where x [A] is not 0 to `columns`, and returns their number. `flags` has A bytes and 7
/// more, which are 0.
std::size_t list_nonzero(const float* __restrict x, std::int64_t A, std::uint8_t* __restrict flags,
                         std::int32_t* columns) {
  for (std::int64_t c = 0; c < A; ++c) flags[c] = x[c] != 0.0f ? 1 : 0;
  std::size_t count = 0;
  for (std::int64_t eight = 0; eight < A; eight += 8) {
    std::uint64_t word = 0;
    for (std::memcpy(&word, flags + eight, sizeof word); word != 0; word &= word - 1)
      columns[count++] = static_cast<std::int32_t>(eight + std::countr_zero(word) / 8);
  }
  return count;
}

/// One pass over a lane's positions: sums of all, and a list of what fires. Most importances are 0, and those
/// take a comparison alone.
void scan(LaneRows& lane, std::int64_t T, const HistogramBins& bins) {
  const std::int64_t n = lane.importance.size(0), A = lane.importance.size(1);
  for (auto* sums : {&lane.g, &lane.gg, &lane.a, &lane.aa}) sums->assign(static_cast<std::size_t>(A), 0.0);
  const auto threshold = static_cast<float>(bins.threshold), width = static_cast<float>(bins.bins);
  double *sum_g = lane.g.data(), *sum_gg = lane.gg.data(), *sum_a = lane.a.data(), *sum_aa = lane.aa.data();
  auto* counts = lane.histogram.data_ptr<std::int64_t>();
  auto* above = counts + (bins.bins + 1) * A;
  std::vector<std::uint8_t> flags(static_cast<std::size_t>(A) + 7);
  std::vector<std::int32_t> there(static_cast<std::size_t>(A)), fired(static_cast<std::size_t>(A));
  const auto* a = lane.activation.const_data_ptr<float>();
  const auto* g = lane.importance.const_data_ptr<float>();
  constexpr std::int64_t at_once = 4;
  for (std::int64_t row = 0; row < n; ++row, a += A, g += A) {
    if (row % at_once == 0 && row + at_once <= n) {
      add_rows<at_once>(a, A, sum_a, sum_aa);
    } else if (row >= n / at_once * at_once) {
      add_rows<1>(a, A, sum_a, sum_aa);
    }
    const std::size_t nonzero = list_nonzero(g, A, flags.data(), there.data());
    std::size_t count = 0;
    for (std::size_t k = 0; k < nonzero; ++k) {
      const std::int32_t c = there[k];
      const double wide = g[c];
      sum_g[c] += wide;
      sum_gg[c] += wide * wide;
      ++counts[histogram_bin(g[c], width) * A + c];
      fired[count] = c;
      count += g[c] > threshold ? 1 : 0;
    }
    const auto position = static_cast<std::int32_t>(lane.first + row);
    const auto in_batch = static_cast<std::int32_t>(position / T);
    lane.begin.push_back(static_cast<std::int64_t>(lane.fired.size()));
    for (std::size_t k = 0; k < count; ++k) {
      const std::int32_t c = fired[k];
      ++above[c];
      lane.fired.push_back(c);
      lane.firings.push_back({position, in_batch, g[c], a[c]});
    }
  }
  // The rest was 0.
  std::fill_n(counts, A, n);
  for (std::int64_t k = 1; k <= bins.bins; ++k)
    for (std::int64_t c = 0; c < A; ++c) counts[c] -= counts[k * A + c];
}

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

/// Puts the lanes' firings one after the other, and sorts them by column.
void collect(HarvestBatch& batch, Lanes& pool, std::size_t A) {
  const std::size_t lanes = batch.lanes.size();
  std::vector<std::vector<std::int64_t>> next(lanes, std::vector<std::int64_t>(A));
  std::vector<std::int64_t> first(lanes);
  std::int64_t all = 0;
  for (std::size_t l = 0; l < lanes; ++l) {
    first[l] = all;
    all += static_cast<std::int64_t>(batch.lanes[l].fired.size());
  }
  std::int64_t place = 0;
  for (std::size_t c = 0; c < A; ++c) {
    batch.column_begin.push_back(place);
    for (std::size_t l = 0; l < lanes; ++l) {
      const at::Tensor& counts = batch.lanes[l].histogram;
      next[l][c] = place;
      place += counts.const_data_ptr<std::int64_t>()[(counts.size(0) - 1) * counts.size(1) +
                                                     static_cast<std::int64_t>(c)];
    }
  }
  batch.column_begin.push_back(all);
  batch.position_begin.resize(static_cast<std::size_t>(batch.positions()) + 1, all);
  batch.places.resize(static_cast<std::size_t>(all));
  batch.fired.resize(static_cast<std::size_t>(all));
  batch.firings.resize(static_cast<std::size_t>(all));
  pool.run([&](int number) {
    const auto l = static_cast<std::size_t>(number);
    if (l >= lanes) return;  // fewer rows than lanes
    LaneRows& lane = batch.lanes[l];
    std::copy(lane.fired.begin(), lane.fired.end(), batch.fired.begin() + first[l]);
    for (std::size_t n = 0; n < lane.begin.size(); ++n)
      batch.position_begin[static_cast<std::size_t>(lane.first) + n] = first[l] + lane.begin[n];
    for (std::size_t i = 0; i < lane.fired.size(); ++i) {
      const auto to = static_cast<std::size_t>(next[l][static_cast<std::size_t>(lane.fired[i])]++);
      batch.firings[to] = lane.firings[i];
      batch.places[to] = first[l] + static_cast<std::int64_t>(i);
    }
  });
}

/// Rows of probabilities that stay in the second-level cache between the softmax and what reads it.
std::int64_t rows_at_once(const at::Tensor& logits) {
  return logits.is_cpu() ? std::max<std::int64_t>(1, (std::int64_t{1} << 16) / logits.size(1))
                         : logits.size(0);
}

void look_at_output(LaneRows& lane, const at::Tensor& logits, const ProbabilityBlocks& blocks,
                    std::int64_t some) {
  const std::int64_t step = rows_at_once(logits);
  std::vector<at::Tensor> probability, likely;
  for (std::int64_t n = 0; n < logits.size(0); n += step) {
    const at::Tensor p = logits.narrow(0, n, std::min(step, logits.size(0) - n)).to(at::kFloat).softmax(1);
    if (some == 0) {
      blocks.put(lane.first + n, p.cpu());
      continue;
    }
    const auto [largest, which] = p.topk(some, 1);
    probability.push_back(largest.cpu());
    likely.push_back(which.cpu());
  }
  if (some == 0) return;
  lane.probability = at::cat(probability);
  lane.likely = at::cat(likely);
}

}  // namespace

HarvestBatch look_at(const Batch& batch, const Harvest::State& state) {
  HarvestBatch seen{.first_row = batch.first, .B = batch.B, .T = batch.T};
  const HistogramBins bins{.bins = 20, .threshold = state.settings.threshold};
  const std::int64_t some = state.settings.output_tokens;
  if (state.has_outputs && some == 0)
    seen.probability = ProbabilityBlocks(batch.positions(), state.vocabulary);
  seen.lanes.resize(batch.lanes.size());
  batch.pool.run([&](int number) {
    const auto l = static_cast<std::size_t>(number);
    if (l >= seen.lanes.size()) return;  // fewer rows than lanes
    const at::NoGradGuard no_grad;
    const LaneBatch& from = batch.lanes[l];
    LaneRows& lane = seen.lanes[l];
    lane.first = from.first_batch * batch.T;
    const auto on_host = [](const at::Tensor& x) { return x.to(at::kFloat).cpu().contiguous(); };
    lane.importance = on_host(from.importance.lower);
    lane.activation = on_host(activations(state, from.clean));
    lane.histogram = at::zeros_like(state.histogram);
    scan(lane, batch.T, bins);
    if (state.has_outputs) look_at_output(lane, from.clean.output, seen.probability, some);
  });
  for (std::size_t l = 0; l < seen.lanes.size(); ++l) {
    const auto rows = static_cast<std::size_t>(seen.lanes[l].importance.size(0) / batch.T);
    seen.lane_of.insert(seen.lane_of.end(), rows, static_cast<std::int32_t>(l));
  }
  for (std::int64_t row = 0; row < batch.B; ++row) seen.half.push_back(state.half(batch.first + row));
  seen.tokens = tokens_of(batch);
  collect(seen, batch.pool, state.A());
  return seen;
}

}  // namespace vpd
