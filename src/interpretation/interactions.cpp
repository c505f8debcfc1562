#include "vpd/interpretation/interactions.hpp"

#include <algorithm>
#include <utility>

#include <ATen/ATen.h>

#include "activation_slopes.hpp"
#include "firing_pairs.hpp"

namespace vpd {
namespace {

/// x / y, and 0 where y is.
at::Tensor quotient(const at::Tensor& x, const at::Tensor& y) {
  return at::where(y.gt(0.0), x / at::where(y.gt(0.0), y, at::ones_like(y)), at::zeros_like(x));
}

/// What a matrix gives, wide [N, d_out].
at::Tensor output_of(const Matrix& matrix, const at::Tensor& x) {
  const at::Tensor y = x.matmul(matrix.weight.value.to(x.scalar_type()).t());
  return matrix.bias.value.defined() ? y + matrix.bias.value.to(x.scalar_type()) : y;
}

}  // namespace

std::optional<ActivationInput> activation_input(const Target& target, std::size_t matrix) {
  const std::optional<Anatomy> anatomy = target.anatomy();
  if (!anatomy) return std::nullopt;
  for (const BlockParts& block : anatomy->blocks) {
    if (!block.mlp) continue;
    const MlpParts& mlp = *block.mlp;
    if (mlp.in == matrix) return ActivationInput{.kind = mlp.activation, .other = mlp.gate, .gate = false};
    if (mlp.gate == matrix) return ActivationInput{.kind = mlp.activation, .other = mlp.in, .gate = true};
  }
  return std::nullopt;
}

InteractionSums::InteractionSums(const Decomposition& decomposition, std::vector<Pair> pairs,
                                 double threshold, bool curvature)
    : d_(decomposition),
      pairs_(std::move(pairs)),
      threshold_(threshold),
      curvature_(curvature),
      firings_(decomposition.sites.size()) {
  const auto zeros = [](std::vector<std::int64_t> shape) { return at::zeros(shape, at::kDouble); };
  for (const Pair& pair : pairs_) {
    const std::int64_t C = d_.sites[pair.rows].C, other = d_.sites[pair.columns].C;
    sums_.push_back(
        {zeros({C, other}), curvature ? zeros({C, other}) : at::Tensor(), zeros({C}), zeros({C})});
    for (const std::size_t site : {pair.rows, pair.columns})
      firings_[site] = at::zeros({d_.sites[site].C}, at::kLong);
  }
}

at::Tensor InteractionSums::sizes(const LaneBatch& lane, std::size_t site) const {
  const at::Tensor V = d_.components.V(site);
  const at::Tensor h = lane.clean.inputs[site].to(V.scalar_type()).matmul(V);
  return (d_.sites.columns(lane.importance.lower, site) * h).abs();
}

void InteractionSums::add_bends(const LaneBatch& lane, const Pair& pair, Sums& sums) const {
  const std::vector<Matrix>& all = d_.target->matrices();
  const std::size_t matrix = d_.sites[pair.rows].matrix;
  const ActivationInput input = *activation_input(*d_.target, matrix);
  const at::Tensor x = lane.clean.inputs[pair.rows].to(d_.numerics.wide);
  // |∂²f| of each neuron: of the row twice, and of row and column.
  at::Tensor twice, both;
  if (!input.other) {
    twice = both = curvature_of(input.kind, output_of(all[matrix], x)).abs();
  } else if (input.gate) {
    const at::Tensor gate = output_of(all[matrix], x);
    twice = (curvature_of(input.kind, gate) * output_of(all[*input.other], x)).abs();
    both = pair.rows == pair.columns ? twice : slope_of(input.kind, gate).abs();
  } else {
    return;  // what is gated enters by itself in no other power than the first
  }
  const at::Tensor U = d_.components.U(pair.rows).abs(), p = sizes(lane, pair.rows);
  sums.own += (twice.matmul(U.square().t()) * p.square()).sum(0, false, at::kDouble).cpu();
  add_firing_pairs(sums.bends, p.cpu(), pair.rows == pair.columns ? p.cpu() : sizes(lane, pair.columns).cpu(),
                   both.cpu(), U.cpu(), d_.components.U(pair.columns).abs().cpu());
}

void InteractionSums::add(const Batch& batch) {
  for (std::size_t site = 0; site < firings_.size(); ++site) {
    if (!firings_[site].defined()) continue;
    firings_[site] += batch
                          .sum_tensors([&](const LaneBatch& lane) {
                            return d_.sites.columns(lane.importance.lower, site).gt(threshold_).sum(0);
                          })
                          .cpu();
  }
  for (std::size_t k = 0; k < pairs_.size(); ++k) {
    const Pair& pair = pairs_[k];
    Sums& sums = sums_[k];
    const std::int64_t C = d_.sites[pair.rows].C;
    // Squares of the rows stand beside the products, so that each lane gives one tensor.
    const at::Tensor total = batch.sum_tensors([&](const LaneBatch& lane) {
      const at::Tensor rows = sizes(lane, pair.rows),
                       columns = pair.rows == pair.columns ? rows : sizes(lane, pair.columns);
      return at::cat(
          {rows.t().matmul(columns).to(at::kDouble), rows.square().sum(0, false, at::kDouble).view({C, 1})},
          1);
    });
    sums.products += total.narrow(1, 0, total.size(1) - 1).cpu();
    sums.squares += total.select(1, total.size(1) - 1).cpu();
    if (!curvature_) continue;
    std::vector<Sums> lanes(batch.lanes.size());
    for (Sums& one : lanes) one = {{}, at::zeros_like(sums.bends), {}, at::zeros_like(sums.own)};
    batch.pool.run([&](int i) {
      const at::NoGradGuard no_grad;
      const auto lane = static_cast<std::size_t>(i);
      if (lane < lanes.size()) add_bends(batch.lanes[lane], pair, lanes[lane]);
    });
    for (const Sums& one : lanes) {
      sums.bends += one.bends;
      sums.own += one.own;
    }
  }
}

std::vector<Interactions> InteractionSums::interactions() const {
  std::vector<Interactions> found;
  for (std::size_t k = 0; k < pairs_.size(); ++k) {
    const auto [rows, columns] = pairs_[k];
    const Sums& sums = sums_[k];
    const auto U = [&](std::size_t site) { return d_.components.U(site).to(at::kDouble).cpu(); };
    const at::Tensor ours = U(rows);
    Interactions one{.rows = rows, .columns = columns};
    one.weight_overlap =
        quotient(ours.abs().matmul(U(columns).abs().t()), ours.square().sum(1, /*keepdim=*/true));
    one.activation_overlap = quotient(sums.products, sums.squares.unsqueeze(1).expand_as(sums.products));
    one.strength = one.weight_overlap * one.activation_overlap;
    if (curvature_) {
      // The row's own: on the diagonal where there is one.
      const at::Tensor own = rows == columns ? sums.bends.diagonal() : sums.own;
      one.curvature = quotient(sums.bends, own.unsqueeze(1).expand_as(sums.bends));
    }
    one.row_firings = firings_[rows];
    one.column_firings = firings_[columns];
    found.push_back(std::move(one));
  }
  return found;
}

}  // namespace vpd
