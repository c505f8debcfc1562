#include "activation_slopes.hpp"

#include <cmath>
#include <numbers>
#include <string_view>

#include <ATen/ATen.h>

namespace vpd {
namespace {

constexpr double cubic = 0.044715;  // of the tanh form of GELU
const double gain = std::sqrt(2.0 / std::numbers::pi);

std::string_view form_of(Activation kind) { return kind == Activation::gelu_tanh ? "tanh" : "none"; }

/// Φ(u), the standard normal distribution's, or its tanh form: what GELU multiplies u by.
at::Tensor gelu_factor(Activation kind, const at::Tensor& u) {
  const at::Tensor inner = kind == Activation::gelu_tanh ? at::tanh(gain * (u + cubic * u.pow(3)))
                                                         : at::erf(u * std::numbers::sqrt2 / 2.0);
  return 0.5 * (1.0 + inner);
}

}  // namespace

at::Tensor value_of(Activation kind, const at::Tensor& u) {
  switch (kind) {
    case Activation::relu:
      return at::relu(u);
    case Activation::silu:
      return at::silu(u);
    default:
      return at::gelu(u, form_of(kind));
  }
}

at::Tensor slope_of(Activation kind, const at::Tensor& u) {
  switch (kind) {
    case Activation::relu:
      return u.gt(0.0).to(u.scalar_type());
    case Activation::silu:
      return at::silu_backward(at::ones_like(u), u);
    default:
      return at::gelu_backward(at::ones_like(u), u, form_of(kind));
  }
}

at::Tensor secant_of(Activation kind, const at::Tensor& u) {
  switch (kind) {
    case Activation::relu:
      return u.gt(0.0).to(u.scalar_type());
    case Activation::silu:
      return u.sigmoid();
    default:
      return gelu_factor(kind, u);
  }
}

at::Tensor curvature_of(Activation kind, const at::Tensor& u) {
  switch (kind) {
    case Activation::relu:
      return at::zeros_like(u);
    case Activation::silu: {
      const at::Tensor s = u.sigmoid();
      return s * (1.0 - s) * (2.0 + u * (1.0 - 2.0 * s));
    }
    case Activation::gelu_tanh: {
      const at::Tensor t = at::tanh(gain * (u + cubic * u.pow(3)));
      const at::Tensor q = gain * (1.0 + 3.0 * cubic * u.square());  // of the argument of tanh
      return (1.0 - t.square()) * (q + 0.5 * u * (6.0 * gain * cubic * u - 2.0 * t * q.square()));
    }
    default:
      return at::exp(-0.5 * u.square()) * (2.0 - u.square()) / std::sqrt(2.0 * std::numbers::pi);
  }
}

}  // namespace vpd
