#include "harvest_batch.hpp"

#include <cmath>

#include <ATen/ATen.h>

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

/// One pass over a lane's positions: sums of all, and a list of what fires.
void scan(LaneRows& lane, float threshold) {
  const std::int64_t n = lane.importance.size(0), A = lane.importance.size(1);
  for (auto* sums : {&lane.g, &lane.gg, &lane.a, &lane.aa}) sums->assign(static_cast<std::size_t>(A), 0.0);
  std::vector<std::int32_t> fired(static_cast<std::size_t>(A));
  for (std::int64_t row = 0; row < n; ++row) {
    const float* __restrict g = lane.importance.const_data_ptr<float>() + row * A;
    const float* __restrict a = lane.activation.const_data_ptr<float>() + row * A;
    double *__restrict sum_g = lane.g.data(), *__restrict sum_gg = lane.gg.data(),
                       *__restrict sum_a = lane.a.data(), *__restrict sum_aa = lane.aa.data();
    for (std::int64_t c = 0; c < A; ++c) {
      const double wide_g = g[c], wide_a = a[c];
      sum_g[c] += wide_g;
      sum_gg[c] += wide_g * wide_g;
      sum_a[c] += wide_a;
      sum_aa[c] += wide_a * wide_a;
    }
    std::size_t count = 0;
    for (std::int64_t c = 0; c < A; ++c) {
      fired[count] = static_cast<std::int32_t>(c);
      count += g[c] > threshold ? 1 : 0;
    }
    for (std::size_t k = 0; k < count; ++k) {
      lane.firings.column.push_back(fired[k]);
      lane.firings.position.push_back(static_cast<std::int32_t>(lane.first + row));
      lane.firings.importance.push_back(g[fired[k]]);
      lane.firings.activation.push_back(a[fired[k]]);
    }
  }
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

/// Puts the lanes' firings one after the other, and finds those of each position and of each column.
void collect(HarvestBatch& batch, std::size_t A) {
  Firings& all = batch.firings;
  for (LaneRows& lane : batch.lanes) {
    const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
    append(all.column, lane.firings.column);
    append(all.position, lane.firings.position);
    append(all.importance, lane.firings.importance);
    append(all.activation, lane.firings.activation);
    lane.firings = {};
  }
  const auto positions = static_cast<std::size_t>(batch.positions());
  batch.row_begin.assign(positions + 1, 0);
  batch.column_begin.assign(A + 1, 0);
  for (std::size_t i = 0; i < all.size(); ++i) {
    ++batch.row_begin[static_cast<std::size_t>(all.position[i]) + 1];
    ++batch.column_begin[static_cast<std::size_t>(all.column[i]) + 1];
  }
  for (std::size_t n = 0; n < positions; ++n) batch.row_begin[n + 1] += batch.row_begin[n];
  for (std::size_t c = 0; c < A; ++c) batch.column_begin[c + 1] += batch.column_begin[c];
  batch.of_column.resize(all.size());
  std::vector<std::int64_t> next(batch.column_begin.begin(), batch.column_begin.end() - 1);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto place = static_cast<std::size_t>(next[static_cast<std::size_t>(all.column[i])]++);
    batch.of_column[place] = static_cast<std::int64_t>(i);
  }
}

}  // namespace

ProbabilityBlocks::ProbabilityBlocks(std::int64_t positions, std::int64_t V)
    : blocks_(at::empty({(V + width - 1) / width, positions, width})) {
  if (V % width != 0) blocks_[blocks_.size(0) - 1].zero_();
}

void ProbabilityBlocks::put(std::int64_t first, const at::Tensor& probability) const {
  const std::int64_t n = probability.size(0), V = probability.size(1), whole = V / width;
  const at::Tensor places = blocks_.narrow(1, first, n);
  if (whole > 0)
    places.narrow(0, 0, whole)
        .copy_(probability.narrow(1, 0, whole * width).view({n, whole, width}).transpose(0, 1));
  if (V % width != 0)
    places[whole].narrow(1, 0, V % width).copy_(probability.narrow(1, whole * width, V % width));
}

std::size_t HarvestBatch::group(std::int64_t firing) const {
  const float a = firings.activation[static_cast<std::size_t>(firing)];
  const FiringSign sign = a > 0 ? FiringSign::positive : a < 0 ? FiringSign::negative : FiringSign::none;
  return group_of(sign, half[static_cast<std::size_t>(row_of(firing))]);
}

HarvestBatch look_at(const Batch& batch, const Harvest::State& state) {
  HarvestBatch seen{.first_row = batch.first, .B = batch.B, .T = batch.T};
  const HistogramBins bins{.bins = 20, .threshold = state.settings.threshold};
  const bool all_tokens = state.has_outputs && state.settings.output_tokens == 0;
  if (all_tokens) seen.probability = ProbabilityBlocks(batch.positions(), state.vocabulary);
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
    add_column_histogram(lane.importance, bins, lane.histogram);
    if (state.has_outputs) {
      const at::Tensor p = from.clean.output.to(at::kFloat).softmax(1);
      if (all_tokens) {
        seen.probability.put(lane.first, on_host(p));
      } else {
        const auto [likely, which] = p.topk(state.settings.output_tokens, 1);
        lane.probability = on_host(likely);
        lane.likely = which.cpu().contiguous();
      }
    }
    scan(lane, static_cast<float>(state.settings.threshold));
  });
  for (std::size_t l = 0; l < seen.lanes.size(); ++l) {
    const auto n = static_cast<std::size_t>(seen.lanes[l].importance.size(0));
    seen.lane_of.insert(seen.lane_of.end(), n, static_cast<std::int32_t>(l));
  }
  for (std::int64_t row = 0; row < batch.B; ++row) seen.half.push_back(state.half(batch.first + row));
  seen.tokens = tokens_of(batch);
  collect(seen, state.A());
  return seen;
}

}  // namespace vpd
