#include "vpd/pretraining/pretrain.hpp"

#include <cmath>
#include <memory>
#include <optional>
#include <utility>
#include <variant>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "vpd/base/error.hpp"

namespace vpd {
namespace {

std::vector<TensorSpec> specs_where(const NamedTensors& weights, const PretrainTask& task, bool matrices) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, weight] : weights) {
    if (task.trains(name) && (weight.dim() == 2) == matrices) specs.push_back({name, weight.sizes().vec()});
  }
  return specs;
}

/// The models make the copies in the type of matrix products that they need.
Numerics masters_alone(Numerics numerics) {
  numerics.compute = numerics.wide;
  return numerics;
}

AdamWConfig adamw_config(const PretrainOptimizerConfig& optimizer, bool decays) {
  const auto& adamw = std::get<PretrainAdamWConfig>(optimizer);
  return {.beta1 = adamw.beta1,
          .beta2 = adamw.beta2,
          .eps = adamw.eps,
          .weight_decay = decays ? adamw.weight_decay : 0.0};
}

}  // namespace

struct Pretraining::Lane {
  at::Tensor matrices_gradient, vectors_gradient;  // as flat as the parameters
  std::unique_ptr<Target> model;
  at::Tensor loss;
};

Pretraining::Pretraining(const PretrainConfig& config, const NamedTensors& weights, const Numerics& numerics,
                         Lanes& lanes)
    : config_(config),
      task_(make_pretrain_task(config.model)),
      numerics_(numerics),
      pool_(lanes),
      matrices_(specs_where(weights, *task_, true), masters_alone(numerics)),
      vectors_(specs_where(weights, *task_, false), masters_alone(numerics)),
      matrices_state_(AdamWState::for_parameters(matrices_)),
      vectors_state_(AdamWState::for_parameters(vectors_)) {
  for (const auto& [name, weight] : weights) {
    if (!task_->trains(name)) fixed_.emplace_back(name, weight.to(numerics.device, numerics.wide));
    parts_.push_back(!task_->trains(name) ? Part::fixed : weight.dim() == 2 ? Part::matrix : Part::vector);
  }
  const NamedTensors masters = this->weights();
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (parts_[i] != Part::fixed) at::Tensor(masters[i].second).copy_(weights[i].second);
  }
  for (int i = 0; i < pool_.count(); ++i) {
    lanes_.push_back({matrices_.make_gradient(), vectors_.make_gradient(), nullptr, {}});
  }
  make_models();
}

Pretraining::~Pretraining() = default;

// A model's weights are the masters themselves where matrix products are of the masters' type, and follow
// every update. In another type they are copies, so that the models have to be made again.
void Pretraining::make_models() {
  const NamedTensors values = weights();
  for (Lane& lane : lanes_) {
    const NamedTensors gradients =
        in_order(matrices_.named(lane.matrices_gradient), vectors_.named(lane.vectors_gradient), {});
    lane.model = task_->make(values, numerics_, gradients);
  }
}

NamedTensors Pretraining::in_order(const NamedTensors& matrices, const NamedTensors& vectors,
                                   const NamedTensors& fixed) const {
  NamedTensors tensors;
  std::size_t matrix = 0, vector = 0, other = 0;
  for (const Part part : parts_) {
    if (part == Part::matrix) tensors.push_back(matrices[matrix++]);
    if (part == Part::vector) tensors.push_back(vectors[vector++]);
    if (part == Part::fixed && !fixed.empty()) tensors.push_back(fixed[other++]);
  }
  return tensors;
}

NamedTensors Pretraining::weights() const {
  return in_order(matrices_.named(matrices_.flat()), vectors_.named(vectors_.flat()), fixed_);
}

NamedTensors Pretraining::gradients() const {
  const Lane& lane = lanes_.front();
  return in_order(matrices_.named(lane.matrices_gradient), vectors_.named(lane.vectors_gradient), {});
}

at::Tensor Pretraining::mean_loss(const at::Tensor& input, bool trains) {
  const std::int64_t B = rows_of(input), T = length_of(input);
  const auto predictions = static_cast<double>(task_->predictions(B, T));
  const std::int64_t most_rows = task_->rows_at_once(T);
  pool_.run([&](int number) {
    const at::AutoGradMode record(trains);
    Lane& lane = lanes_[static_cast<std::size_t>(number)];
    lane.loss = at::zeros({}, numerics_.options().dtype(at::kDouble));
    if (trains) {
      lane.matrices_gradient.zero_();
      lane.vectors_gradient.zero_();
    }
    for_each_part(lane_range(B, number, pool_.count()), most_rows, [&](const Range& part) {
      const at::Tensor rows = page_locked(input.narrow(0, part.begin, part.size()), numerics_.device);
      const at::Tensor sum =
          task_->summed_loss(*lane.model, rows.to(numerics_.device, /*non_blocking=*/true));
      if (trains) torch::autograd::backward({sum}, {at::full_like(sum, 1.0 / predictions)});
      lane.loss.add_(sum.detach());
    });
  });
  at::Tensor loss = lanes_.front().loss;
  for (std::size_t i = 1; i < lanes_.size(); ++i) loss = loss + lanes_[i].loss;
  return loss / predictions;
}

PretrainStepResult Pretraining::backward(const at::Tensor& input) {
  const at::Tensor loss = mean_loss(input, true);
  std::vector<at::Tensor> matrices, vectors;
  for (const Lane& lane : lanes_) {
    matrices.push_back(lane.matrices_gradient);
    vectors.push_back(lane.vectors_gradient);
  }
  return {loss, at::hypot(reduce_gradients(matrices, std::nullopt, pool_).norm,
                          reduce_gradients(vectors, std::nullopt, pool_).norm)};
}

double Pretraining::loss(const at::Tensor& input) { return mean_loss(input, false).item<double>(); }

PretrainStepResult Pretraining::run(const at::Tensor& input, std::int64_t step) {
  const PretrainStepResult result = backward(input);
  if (numerics_.device.is_cpu()) check(result, step);
  const at::Tensor divisor = clip_divisor(result.gradient_norm, config_.training.gradient_clip);
  const at::Tensor skip = at::isfinite(result.loss + result.gradient_norm).logical_not().to(at::kFloat);
  const double rate = value_at(config_.training.learning_rate, step, config_.training.steps);
  update(matrices_, lanes_.front().matrices_gradient, matrices_state_,
         adamw_config(config_.training.optimizer, true), {rate, ++matrices_state_.count}, divisor, skip,
         pool_);
  update(vectors_, lanes_.front().vectors_gradient, vectors_state_,
         adamw_config(config_.training.optimizer, false), {rate, ++vectors_state_.count}, divisor, skip,
         pool_);
  if (numerics_.compute != numerics_.wide) make_models();
  return result;
}

void Pretraining::check(const PretrainStepResult& result, std::int64_t step) const {
  const auto finite = [](const at::Tensor& x) { return std::isfinite(x.item<double>()); };
  if (finite(result.loss) && finite(result.gradient_norm)) return;
  throw NumericalError(fmt::format(
      "step {}: the {}{} is NaN or infinite: lower training.learning_rate or lengthen its warm-up", step,
      finite(result.loss) ? "gradient of the " : "", in_words(task_->loss())));
}

}  // namespace vpd
