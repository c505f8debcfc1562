// On a CPU networks of one input and one hidden layer have a kernel of their own (scalar_mlp_cpu.cpp). All
// others are computed some at a time, so that what lies between layers stays in the caches of a CPU, and
// within bounds on CUDA. Hidden layers are [networks, width, N]: positions last, so that every operation runs
// along them however narrow the networks are.

#include "vpd/ops/parallel_mlp.hpp"

#include <algorithm>
#include <numeric>

#include <ATen/ATen.h>

#include "kernels/dispatch.hpp"
#include "kernels/scalar_mlp_kernel.hpp"
#include "record.hpp"
#include "vpd/base/error.hpp"
#include "vpd/kernels/matrix_product.hpp"

namespace vpd {
namespace {

using torch::autograd::variable_list;

bool has_kernel(const at::Device& device, std::size_t hidden_layers, ParallelInput input) {
  return device.is_cpu() && hidden_layers == 1 && input == ParallelInput::column;
}

/// Networks whose widest hidden layers have about as many elements together as suit the device. Networks
/// that share their input multiply it at once, which pays in wider products.
std::int64_t networks_at_once(const at::Device& device, std::int64_t N, std::int64_t C, std::int64_t widest,
                              ParallelInput input) {
  const int bits = device.is_cpu() ? (input == ParallelInput::row ? 20 : 17) : 26;
  const std::int64_t elements = std::int64_t{1} << bits;
  return std::clamp<std::int64_t>(elements / std::max<std::int64_t>(1, N * widest), 1, C);
}

/// The networks begin ... begin + size - 1.
struct Span {
  std::int64_t begin = 0;
  std::int64_t size = 0;
  at::Tensor of(const at::Tensor& x, std::int64_t dimension = 0) const {
    return x.narrow(dimension, begin, size);
  }
};

struct Networks {
  at::Tensor x;
  std::vector<ParallelLayer> layers;
  ParallelInput input;

  std::int64_t N() const { return x.size(0); }
  std::int64_t C() const { return layers.front().weight.value.size(0); }
  bool trains() const {
    return std::any_of(layers.begin(), layers.end(), [](const ParallelLayer& layer) {
      return layer.weight.gradient.defined() || layer.bias.gradient.defined();
    });
  }

  bool has_kernel() const { return vpd::has_kernel(x.device(), layers.size() - 1, input); }

  /// What the kernel needs in either pass.
  ScalarMlpParams kernel_params() const {
    const auto wanted = [](const Parameter& parameter) {
      return parameter.gradient.defined() ? parameter.gradient.mutable_data_ptr() : nullptr;
    };
    ScalarMlpParams p;
    p.N = N(), p.C = C(), p.hidden = layers[0].weight.value.size(2);
    p.type = element_type(x, "parallel MLP: x");
    p.x = x.const_data_ptr(), p.x_stride = x.stride(0);
    p.w1 = layers[0].weight.value.const_data_ptr(), p.b1 = layers[0].bias.value.const_data_ptr();
    p.w2 = layers[1].weight.value.const_data_ptr(), p.b2 = layers[1].bias.value.const_data_ptr();
    p.w1_gradient = wanted(layers[0].weight), p.b1_gradient = wanted(layers[0].bias);
    p.w2_gradient = wanted(layers[1].weight), p.b2_gradient = wanted(layers[1].bias);
    return p;
  }

  template <class Work>
  void in_spans(const Work& work) const {
    std::int64_t widest = 1;
    for (std::size_t i = 0; i + 1 < layers.size(); ++i)
      widest = std::max(widest, layers[i].weight.value.size(2));
    const std::int64_t most = networks_at_once(x.device(), N(), C(), widest, input);
    for (std::int64_t begin = 0; begin < C(); begin += most) work(Span{begin, std::min(most, C() - begin)});
  }

  /// [networks, 1, N]: the columns that they read.
  static at::Tensor columns(const at::Tensor& matrix, Span span) {
    return span.of(matrix, 1).t().contiguous().unsqueeze(1);
  }

  /// The first layer's weights of networks that share their input, as one matrix [d_in, networks h].
  static at::Tensor side_by_side(const at::Tensor& weight) {
    return weight.permute({1, 0, 2}).reshape({weight.size(1), weight.size(0) * weight.size(2)});
  }

  /// [networks, d_out, N]: layer i before its GELU. `from`: the layer's input, [networks, d_in, N].
  at::Tensor layer(std::size_t i, Span span, const at::Tensor& from) const {
    const at::Tensor weight = span.of(layers[i].weight.value),
                     bias = span.of(layers[i].bias.value).unsqueeze(2);
    if (i > 0) return batched_product(weight.transpose(1, 2), from, bias);
    if (input == ParallelInput::column) return at::addcmul(bias, weight.transpose(1, 2), from);
    return matrix_product(side_by_side(weight).t(), x.t()).view({span.size, weight.size(2), N()}).add_(bias);
  }

  at::Tensor forward() const {
    at::Tensor z = at::empty({N(), C()}, x.options());
    if (has_kernel()) {
      ScalarMlpParams p = kernel_params();
      p.z = z.mutable_data_ptr();
      scalar_mlp_forward_cpu(p);
      return z;
    }
    in_spans([&](Span span) {
      at::Tensor h = input == ParallelInput::column ? columns(x, span) : at::Tensor();
      for (std::size_t i = 0; i < layers.size(); ++i) {
        h = layer(i, span, h);
        if (i + 1 < layers.size()) at::gelu_(h);
      }
      span.of(z, 1).copy_(h.squeeze(1).t());
    });
    return z;
  }

  /// Adds dL/dW and dL/db of layer i, given its input and dL/d its output, [networks, d_out, N].
  void add_gradients(std::size_t i, Span span, const at::Tensor& from, const at::Tensor& gradient) const {
    if (layers[i].bias.gradient.defined()) {
      at::Tensor total = span.of(layers[i].bias.gradient);
      total.add_(gradient.sum(2, false, total.scalar_type()));
    }
    if (!layers[i].weight.gradient.defined()) return;
    at::Tensor total = span.of(layers[i].weight.gradient);
    if (i > 0 || input == ParallelInput::column) {
      batched_product_into(total, from, gradient.transpose(1, 2), /*accumulate=*/true);
    } else {
      const at::Tensor product = matrix_product(x.t(), gradient.view({-1, N()}).t());
      total.add_(product.view({x.size(1), span.size, -1}).permute({1, 0, 2}));
    }
  }

  /// dz [N, C]. Returns dL/dx of networks with columns of their own, where it is wanted.
  at::Tensor backward(const at::Tensor& dz, bool x_wanted) const {
    at::Tensor dx = x_wanted ? at::empty({N(), C()}, x.options()) : at::Tensor();
    if (has_kernel()) {
      ScalarMlpParams p = kernel_params();
      p.gradient = dz.const_data_ptr();
      p.x_gradient = x_wanted ? dx.mutable_data_ptr() : nullptr;
      scalar_mlp_backward_cpu(p);
      return dx;
    }
    in_spans([&](Span span) {
      std::vector<at::Tensor> before,
          after = {input == ParallelInput::column ? columns(x, span) : at::Tensor()};
      for (std::size_t i = 0; i + 1 < layers.size(); ++i) {
        before.push_back(layer(i, span, after.back()));
        after.push_back(at::gelu(before.back()));
      }
      at::Tensor gradient = columns(dz, span);
      for (std::size_t i = layers.size(); i-- > 0;) {
        add_gradients(i, span, after[i], gradient);
        if (i > 0) {
          gradient = batched_product(span.of(layers[i].weight.value), gradient);
          at::gelu_backward_out(gradient, gradient, before[i - 1]);
        } else if (x_wanted) {
          span.of(dx, 1).copy_(batched_product(span.of(layers[i].weight.value), gradient).squeeze(1).t());
        }
      }
    });
    return dx;
  }
};

void check_layers(const Networks& n) {
  VPD_CHECK(n.layers.size() >= 2, UsageError,
            "parallel MLP: expected a hidden layer and a last one, found {}", n.layers.size());
  VPD_CHECK(n.x.dim() == 2, UsageError, "parallel MLP: expected a matrix x, found {} dimensions", n.x.dim());
  const auto lies_plainly = [&](const Parameter& parameter) {
    const at::Tensor& gradient = parameter.gradient;
    return parameter.value.is_contiguous() && parameter.value.scalar_type() == n.x.scalar_type() &&
           (!gradient.defined() || (gradient.is_contiguous() && gradient.sizes() == parameter.value.sizes() &&
                                    gradient.scalar_type() == wide_type(n.x.scalar_type())));
  };
  std::int64_t width = n.input == ParallelInput::column ? 1 : n.x.size(1);
  for (std::size_t i = 0; i < n.layers.size(); ++i) {
    const at::Tensor &weight = n.layers[i].weight.value, &bias = n.layers[i].bias.value;
    VPD_CHECK(weight.dim() == 3 && weight.size(0) == n.C() && weight.size(1) == width && bias.dim() == 2 &&
                  bias.size(0) == n.C() && bias.size(1) == weight.size(2),
              UsageError,
              "parallel MLP: expected [{0}, {1}, d_out] weights and [{0}, d_out] biases in layer {2}, found "
              "[{3}] and [{4}]",
              n.C(), width, i, fmt::join(weight.sizes().begin(), weight.sizes().end(), ", "),
              fmt::join(bias.sizes().begin(), bias.sizes().end(), ", "));
    VPD_CHECK(lies_plainly(n.layers[i].weight) && lies_plainly(n.layers[i].bias), UsageError,
              "parallel MLP: expected contiguous parameters of one dtype in layer {}, and their gradients in "
              "the wide type beside it",
              i);
    width = weight.size(2);
  }
  VPD_CHECK(width == 1, UsageError, "parallel MLP: expected one output, found {}", width);
  VPD_CHECK(n.input == ParallelInput::row || n.x.size(1) == n.C(), UsageError,
            "parallel MLP: expected a column for each of {} networks, found {}", n.C(), n.x.size(1));
}

}  // namespace

at::Tensor parallel_mlp(const at::Tensor& x, const std::vector<ParallelLayer>& layers, ParallelInput input) {
  VPD_CHECK(!layers.empty(), UsageError, "parallel MLP: expected a hidden layer and a last one, found none");
  VPD_CHECK(input == ParallelInput::column || !x.requires_grad(), UsageError,
            "parallel MLP: a row that all networks read gets no gradient: detach it");
  Networks networks{x.detach().to(layers.front().weight.value.scalar_type()), layers, input};
  check_layers(networks);
  at::Tensor z;
  {
    const at::NoGradGuard no_grad;
    z = networks.forward();
  }
  const bool trains = networks.trains();
  return record(std::move(z), "parallel_mlp", {x}, trains,
                [networks = std::move(networks), type = x.scalar_type()](
                    const at::Tensor& dz, const auto& wanted, variable_list& out) {
                  const bool x_wanted = networks.input == ParallelInput::column && wanted(0);
                  const at::Tensor dx = networks.backward(dz, x_wanted);
                  if (x_wanted) out[0] = dx.to(type);
                });
}

std::int64_t parallel_mlp_workspace(const at::Device& device, std::int64_t N, std::int64_t C,
                                    std::int64_t d_in, const std::vector<std::int64_t>& hidden_dims,
                                    ParallelInput input) {
  if (has_kernel(device, hidden_dims.size(), input)) return 0;
  const std::int64_t widest = *std::max_element(hidden_dims.begin(), hidden_dims.end()),
                     all = std::accumulate(hidden_dims.begin(), hidden_dims.end(), std::int64_t{0}),
                     networks = networks_at_once(device, N, C, widest, input);
  // Both sides of each GELU, and the gradients on both sides of a layer; columns of x, z and dz.
  const std::int64_t activations = N * (2 * all + 2 * widest + 3);
  const std::int64_t matrices = input == ParallelInput::row ? 2 * d_in * hidden_dims.front() : 0;
  return networks * (activations + matrices);
}

}  // namespace vpd
