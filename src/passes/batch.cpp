#include "vpd/passes/batch.hpp"

#include <algorithm>

#include <ATen/ATen.h>

#include "vpd/passes/attribution.hpp"

namespace vpd {

PassContext Batch::context(const LaneBatch& lane, const at::Tensor& importance) const {
  return {.decomposition = &decomposition,
          .clean = &lane.clean,
          .importance = importance.defined() ? importance : lane.importance.lower,
          .importance_gradient = {},
          .components = &components,
          .first_row = (number * B + lane.first_batch) * T};
}

RandomKey Batch::key(RandomPurpose purpose, std::uint64_t a, std::uint64_t b) const {
  return make_key(seed, purpose, std::uint64_t{1} << 63 | a, b);
}

at::Tensor Batch::sum_tensors(const std::function<at::Tensor(const LaneBatch&)>& work) const {
  end_if_asked(stop, "the pass over the data");
  std::vector<at::Tensor> parts(lanes.size());
  pool.run([&](int i) {
    const auto lane = static_cast<std::size_t>(i);
    if (lane >= lanes.size()) return;  // fewer rows than lanes
    const at::NoGradGuard no_grad;
    parts[lane] = work(lanes[lane]);
  });
  at::Tensor total = parts.front();
  for (std::size_t i = 1; i < parts.size(); ++i) total = total + parts[i];
  return total;
}

double Batch::sum(const std::function<at::Tensor(const LaneBatch&)>& work) const {
  return sum_tensors(work).item<double>();
}

at::Tensor largest_of(const Batch& batch, double kept) {
  if (batch.kept.defined()) return batch.kept;
  const Decomposition& d = batch.decomposition;
  const at::Tensor scores = at::zeros({batch.positions(), d.sites.total_C()}, d.numerics.options());
  batch.pool.run([&](int i) {
    if (static_cast<std::size_t>(i) >= batch.lanes.size()) return;  // fewer rows than lanes
    const LaneBatch& lane = batch.lanes[static_cast<std::size_t>(i)];
    attribute_squared_norm(d, lane.clean, batch.components,
                           scores.narrow(0, lane.first_batch * batch.T, lane.clean.N()));
  });
  keep_largest(scores, kept_count(kept, batch.positions(), d.sites));
  return batch.kept = scores;
}

BatchReader::BatchReader(const Decomposition& decomposition, const Dataset& data, Lanes& lanes,
                         Options options)
    : decomposition_(decomposition),
      data_(data),
      lanes_(lanes),
      options_(std::move(options)),
      components_(decomposition.components.bind({})),
      ci_parameters_(decomposition.ci_parameters.bind({})) {}

/// Batches end where the length of rows changes.
std::int64_t BatchReader::first_of(std::int64_t k) const {
  if (data_.one_length()) return k * options_.rows;
  std::int64_t first = 0;
  for (; k > 0 && first < data_.rows().value(); --k)
    first += std::min(options_.rows, data_.rows_alike(first));
  return first + k * options_.rows;
}

std::int64_t BatchReader::rows_of(std::int64_t k) const {
  const std::int64_t first = first_of(k), beyond = first + options_.rows;
  const std::int64_t there = std::min(data_.rows().value_or(beyond), options_.limit.value_or(beyond));
  const std::int64_t rows = std::clamp<std::int64_t>(there - first, 0, options_.rows);
  return rows == 0 ? 0 : std::min(rows, data_.rows_alike(first));
}

Batch BatchReader::read(std::int64_t k) const {
  const std::int64_t rows = rows_of(k), first = first_of(k);
  const at::Tensor input = data_.batch(first, rows);
  Batch batch{.decomposition = decomposition_,
              .pool = lanes_,
              .seed = options_.seed,
              .number = k,
              .first = first,
              .B = rows,
              .T = length_of(input),
              .components = components_,
              .lanes = {},
              .stop = options_.stop,
              .reader = this,
              .kept = {}};
  const int used = static_cast<int>(std::min<std::int64_t>(lanes_.count(), rows));
  batch.lanes.resize(static_cast<std::size_t>(used));
  lanes_.run([&](int i) {
    if (i >= used) return;
    const at::NoGradGuard no_grad;
    const Range part = lane_range(rows, i, used);
    LaneBatch& lane = batch.lanes[static_cast<std::size_t>(i)];
    lane.number = static_cast<std::size_t>(i);
    lane.first_batch = part.begin;
    lane.clean = clean_pass(decomposition_, input, part, options_.outputs, options_.compared);
    if (!options_.kept) {
      lane.importance = causal_importance(decomposition_, lane.clean, ci_parameters_, components_);
    }
  });
  if (!options_.kept) return batch;
  const at::Tensor kept = largest_of(batch, *options_.kept);
  for (LaneBatch& lane : batch.lanes) {
    const at::Tensor own = kept.narrow(0, lane.first_batch * batch.T, lane.clean.N());
    lane.importance = {own, own};
  }
  return batch;
}

}  // namespace vpd
