#include "vpd/training/optimizer.hpp"

#include <cmath>

#include <ATen/ATen.h>

namespace vpd {

AdamWState AdamWState::for_parameters(const ParameterSet& parameters) {
  return {at::zeros_like(parameters.flat()), at::zeros_like(parameters.flat()), 0};
}

void add_lanes(const std::vector<at::Tensor>& gradients, Lanes& lanes) {
  lanes.run([&](int lane) {
    const at::NoGradGuard no_grad;
    const Range part = lane_range(gradients.front().numel(), lane, lanes.count());
    const at::Tensor slice = gradients.front().narrow(0, part.begin, part.size());
    for (std::size_t i = 1; i < gradients.size(); ++i)
      slice.add_(gradients[i].narrow(0, part.begin, part.size()));
  });
}

ClippedNorm reduce_gradients(const std::vector<at::Tensor>& gradients, std::optional<double> limit,
                             Lanes& lanes) {
  const at::Tensor& total = gradients.front();
  std::vector<at::Tensor> squares(static_cast<std::size_t>(lanes.count()));
  lanes.run([&](int lane) {
    const at::NoGradGuard no_grad;
    const Range part = lane_range(total.numel(), lane, lanes.count());
    at::Tensor slice = total.narrow(0, part.begin, part.size());
    for (std::size_t i = 1; i < gradients.size(); ++i)
      slice.add_(gradients[i].narrow(0, part.begin, part.size()));
    squares[static_cast<std::size_t>(lane)] = at::dot(slice, slice).to(at::kDouble);
  });
  ClippedNorm result;
  at::Tensor square = squares.front();
  for (std::size_t i = 1; i < squares.size(); ++i) square = square + squares[i];
  result.norm = square.sqrt();
  if (limit) result.divisor = ((result.norm + 1e-6) / *limit).clamp_min(1.0).to(at::kFloat);
  return result;
}

void update(const ParameterSet& parameters, const at::Tensor& gradient, const AdamWState& state,
            const AdamWConfig& config, const AdamWNumbers& numbers, const at::Tensor& divisor,
            const at::Tensor& skip, Lanes& lanes) {
  const AdamWUpdate update{.beta1 = config.beta1,
                           .beta2 = config.beta2,
                           .eps = config.eps,
                           .weight_decay = config.weight_decay,
                           .numbers = numbers,
                           .divisor = divisor,
                           .skip = skip};
  lanes.run([&](int lane) {
    const Range part = lane_range(gradient.numel(), lane, lanes.count());
    const auto slice = [&](const at::Tensor& x) {
      return x.defined() ? x.narrow(0, part.begin, part.size()) : x;
    };
    adamw(slice(parameters.flat()), slice(gradient), slice(state.m), slice(state.v),
          slice(parameters.narrow()), update);
  });
}

}  // namespace vpd
