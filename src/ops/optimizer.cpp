#include "vpd/ops/optimizer.hpp"

#include <algorithm>

#include <ATen/ATen.h>

namespace vpd {

AdamWState AdamWState::for_parameters(const ParameterSet& parameters) {
  return {at::zeros_like(parameters.flat()), at::zeros_like(parameters.flat()), 0};
}

namespace {

/// gradients[1], gradients[2], ... added to gradients[0] on one stretch, and that stretch.
at::Tensor add_stretch(const std::vector<at::Tensor>& gradients, const Range& part) {
  at::Tensor sum = gradients.front().narrow(0, part.begin, part.size());
  for (std::size_t i = 1; i < gradients.size(); ++i)
    sum.add_(gradients[i].narrow(0, part.begin, part.size()));
  return sum;
}

/// Σ x² of a flat x, float64. One float32 sum over many millions of elements is off in the fourth digit on a
/// CPU, and LibTorch's dot product takes no more than 2³¹ of them on CUDA, whose norm adds up in a tree.
at::Tensor square_of(const at::Tensor& x) {
  if (x.is_cuda()) return at::linalg_vector_norm(x, 2).to(at::kDouble).square();
  constexpr std::int64_t piece = 1 << 16;
  double sum = 0.0;
  for (std::int64_t first = 0; first < x.numel(); first += piece) {
    const at::Tensor part = x.narrow(0, first, std::min(piece, x.numel() - first));
    sum += at::dot(part, part).item<double>();
  }
  return at::scalar_tensor(sum, x.options().dtype(at::kDouble));
}

}  // namespace

void sum_over_lanes(const std::vector<at::Tensor>& gradients, Lanes& lanes) {
  lanes.run([&](int lane) {
    const at::NoGradGuard no_grad;
    add_stretch(gradients, lane_range(gradients.front().numel(), lane, lanes.count()));
  });
}

at::Tensor clip_divisor(const at::Tensor& norm, std::optional<double> limit) {
  return limit ? ((norm + 1e-6) / *limit).clamp_min(1.0).to(at::kFloat) : at::Tensor();
}

ClippedNorm reduce_gradients(const std::vector<at::Tensor>& gradients, std::optional<double> limit,
                             Lanes& lanes) {
  std::vector<at::Tensor> squares(static_cast<std::size_t>(lanes.count()));
  lanes.run([&](int lane) {
    const at::NoGradGuard no_grad;
    squares[static_cast<std::size_t>(lane)] =
        square_of(add_stretch(gradients, lane_range(gradients.front().numel(), lane, lanes.count())));
  });
  at::Tensor square = squares.front();
  for (std::size_t i = 1; i < squares.size(); ++i) square = square + squares[i];
  const at::Tensor norm = square.sqrt();
  return {norm, clip_divisor(norm, limit)};
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
