#include "vpd/ops/differentiable.hpp"

#include <ATen/ATen.h>

#include "kernels/attention_kernel.hpp"
#include "kernels/sgemm.hpp"
#include "record.hpp"
#include "vpd/base/error.hpp"
#include "vpd/kernels/layer_norm.hpp"
#include "vpd/kernels/matrix_product.hpp"
#include "vpd/kernels/norm.hpp"
#include "vpd/kernels/swiglu.hpp"
#include "vpd/machine/lanes.hpp"

namespace vpd {

using torch::autograd::variable_list;

at::Tensor on_graph(const Parameter& parameter) {
  return record(parameter.value.detach(), "on_graph", {}, parameter.gradient.defined(),
                [parameter](const at::Tensor& gradient, const auto&, variable_list&) {
                  at::Tensor total = parameter.gradient;
                  total.add_(gradient);
                });
}

struct Recomputed::State {
  int readers;
  std::function<at::Tensor()> make;
  at::Tensor value;
};

Recomputed::Recomputed(int readers, std::function<at::Tensor()> make)
    : state_(std::make_shared<State>(readers, std::move(make), at::Tensor())) {}

at::Tensor Recomputed::take() const {
  const at::NoGradGuard no_grad;
  at::Tensor value = state_->value.defined() ? state_->value : state_->make();
  state_->value = --state_->readers > 0 ? value : at::Tensor();
  return value;
}

namespace {

/// Sums over positions: dy [N, d] into total [d].
void add_column_sums(at::Tensor total, const at::Tensor& dy, bool accumulate) {
  const at::Tensor sum = dy.sum(0, /*keepdim=*/false, total.scalar_type());
  accumulate ? total.add_(sum) : total.copy_(sum);
}

}  // namespace

void DeferredGradients::add(const Parameter& weight, const Parameter& bias, at::Tensor x, at::Tensor dy) {
  products_.push_back({weight, bias, std::move(x), std::move(dy)});
}

void DeferredGradients::make(const std::vector<const DeferredGradients*>& lists, std::size_t part) {
  const std::vector<Product>& first = lists.front()->products_;
  for (std::size_t k = 0; k < first.size(); ++k) {
    const Range rows =
        lane_range(first[k].dy.size(1), static_cast<int>(part), static_cast<int>(lists.size()));
    if (rows.size() == 0) continue;
    bool accumulate = !first[k].weight.overwrites_gradient;
    for (const DeferredGradients* list : lists) {
      VPD_CHECK(list->products_.size() == first.size() &&
                    list->products_[k].weight.gradient.data_ptr() == first[k].weight.gradient.data_ptr(),
                UsageError, "deferred gradients: expected all lanes to leave the same {} in the same order",
                first.size());
      const Product& product = list->products_[k];
      const at::Tensor dy = product.dy.narrow(1, rows.begin, rows.size());
      matrix_product_into(product.weight.gradient.narrow(0, rows.begin, rows.size()), dy.t(), product.x,
                          accumulate);
      if (product.bias.gradient.defined())
        add_column_sums(product.bias.gradient.narrow(0, rows.begin, rows.size()), dy, accumulate);
      accumulate = true;
    }
  }
}

at::Tensor linear(const at::Tensor& x, const Parameter& weight, const Parameter& bias,
                  const Recomputed& again) {
  const at::ScalarType type = x.scalar_type();
  at::Tensor y, kept;
  {
    const at::NoGradGuard no_grad;
    const at::Tensor input = x.detach().to(weight.value.scalar_type());
    if (bias.value.defined()) {
      y = matrix_product(input, weight.value.t(), bias.value);
    } else if (input.scalar_type() == at::kBFloat16) {  // a vocabulary is often odd
      y = empty_rows(input.size(0), weight.value.size(0), input.options());
      matrix_product_into(y, input, weight.value.t(), /*accumulate=*/false);
    } else {
      y = matrix_product(input, weight.value.t());
    }
    if (weight.gradient.defined() && !again) kept = input;
  }
  return record(
      std::move(y), "linear", {x}, weight.gradient.defined() || bias.gradient.defined(),
      [kept, again, weight, bias, type](const at::Tensor& dy, const auto& wanted, variable_list& out) {
        at::Tensor input;
        if (weight.gradient.defined()) input = again ? again.take().to(dy.scalar_type()) : kept;
        if (weight.deferred) {
          weight.deferred->add(weight, bias, input, dy);
        } else {
          if (weight.gradient.defined())
            matrix_product_into(weight.gradient, dy.t(), input, /*accumulate=*/!weight.overwrites_gradient);
          if (bias.gradient.defined())
            add_column_sums(bias.gradient, dy, /*accumulate=*/!bias.overwrites_gradient);
        }
        if (wanted(0)) out[0] = matrix_product(dy, weight.value).to(type);
      });
}

at::Tensor embedding(const at::Tensor& tokens, const Parameter& weight) {
  at::Tensor rows;
  {
    const at::NoGradGuard no_grad;
    rows = at::embedding(weight.value, tokens);
  }
  return record(std::move(rows), "embedding", {}, weight.gradient.defined(),
                [tokens, weight](const at::Tensor& gradient, const auto&, variable_list&) {
                  at::Tensor total = weight.gradient;
                  total.index_add_(0, tokens, gradient.to(total.scalar_type()));
                });
}

at::Tensor rms_norm(const at::Tensor& x, const Parameter& weight, double eps, at::ScalarType output) {
  const at::Tensor input = x.detach();
  at::Tensor reciprocal;
  at::Tensor y =
      rms_norm_forward(input, weight.value, eps, output, at::GradMode::is_enabled() ? &reciprocal : nullptr);
  return record(std::move(y), "rms_norm", {x}, weight.gradient.defined(),
                [input, weight, reciprocal](const at::Tensor& gradient, const auto&, variable_list& out) {
                  out[0] = rms_norm_backward(gradient, input, weight.value, reciprocal, weight.gradient);
                });
}

AddedNorm add_rms_norm(const at::Tensor& x, const at::Tensor& added, const Parameter& weight, double eps,
                       at::ScalarType output) {
  AddedNorm out;
  at::Tensor reciprocal;
  {
    const at::NoGradGuard no_grad;
    out.norm = add_rms_norm_forward(x.detach(), added.detach().contiguous(), weight.value, eps, output,
                                    &reciprocal, out.sum);
  }
  record_all({out.sum, out.norm}, "add_rms_norm", {x, added}, weight.gradient.defined(),
             [sum = out.sum.detach(), weight, reciprocal, output](const variable_list& gradients, const auto&,
                                                                  variable_list& results) {
               const at::Tensor &of_sum = gradients[0], &of_norm = gradients[1];
               if (!of_norm.defined()) {
                 results[0] = of_sum, results[1] = of_sum.to(output);
                 return;
               }
               const AddNormGradients both =
                   add_rms_norm_backward(of_norm, of_sum, sum, weight.value, reciprocal, weight.gradient);
               results[0] = both.x, results[1] = both.added;
             });
  return out;
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps,
                      at::ScalarType output) {
  const at::Tensor input = x.detach();
  LayerNormStatistics statistics;
  at::Tensor y = layer_norm_forward(input, weight, bias, eps, output,
                                    at::GradMode::is_enabled() ? &statistics : nullptr);
  return record(std::move(y), "layer_norm", {x}, false,
                [input, weight, statistics](const at::Tensor& gradient, const auto&, variable_list& out) {
                  out[0] = layer_norm_backward(gradient, input, weight, statistics);
                });
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  const at::Tensor g = gate.detach().contiguous(), u = up.detach().contiguous();  // rows may be padded
  return record(swiglu_forward(g, u), "swiglu", {gate, up}, false,
                [g, u](const at::Tensor& gradient, const auto&, variable_list& out) {
                  const SwigluGradients gradients = swiglu_backward(gradient.contiguous(), g, u);
                  out[0] = gradients.gate, out[1] = gradients.up;
                });
}

at::Tensor rotary(const at::Tensor& x, const RotaryTable& table) {
  return record(rotate(x.detach(), table, /*inverse=*/false), "rotary", {x}, false,
                [table](const at::Tensor& gradient, const auto&, variable_list& out) {
                  out[0] = rotate(gradient, table, /*inverse=*/true);
                });
}

namespace {

/// Up to here keeping a head's probabilities is cheaper than computing them again.
constexpr std::int64_t longest_short_sequence = 256;

at::Tensor short_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, AttentionParams p) {
  const at::Tensor queries = q.detach().contiguous(), keys = k.detach().contiguous(),
                   values = v.detach().contiguous();
  const at::Tensor probabilities = at::empty({p.B, p.heads, p.T, p.T}, q.options());
  at::Tensor out = at::empty_like(queries);
  p.q = queries.const_data_ptr<float>(), p.k = keys.const_data_ptr<float>(),
  p.v = values.const_data_ptr<float>();
  p.probabilities = probabilities.mutable_data_ptr<float>(), p.out = out.mutable_data_ptr<float>();
  attention_forward_cpu(p);
  return record(std::move(out), "attention", {q, k, v}, false,
                [queries, keys, values, probabilities, p](const at::Tensor& gradient, const auto&,
                                                          variable_list& grads) {
                  AttentionParams back = p;
                  back.gradient = gradient.const_data_ptr<float>();
                  grads[0] = at::empty_like(queries), grads[1] = at::empty_like(keys),
                  grads[2] = at::empty_like(values);
                  back.q_gradient = grads[0].mutable_data_ptr<float>();
                  back.k_gradient = grads[1].mutable_data_ptr<float>();
                  back.v_gradient = grads[2].mutable_data_ptr<float>();
                  attention_backward_cpu(back);
                });
}

}  // namespace

bool attention_keeps_probabilities(const at::Device& device, at::ScalarType type, std::int64_t T) {
  return device.is_cpu() && type == at::kFloat && T <= longest_short_sequence && onednn_sgemm() != nullptr;
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::int64_t B,
                     std::int64_t heads, std::int64_t key_heads, bool causal) {
  VPD_CHECK(heads % key_heads == 0, UsageError, "attention: {} heads are no multiple of {} key heads", heads,
            key_heads);
  const std::int64_t N = q.size(0), T = N / B, d_head = q.size(1) / heads;
  if (attention_keeps_probabilities(q.device(), q.scalar_type(), T)) {
    return short_attention(
        q, k, v, {.B = B, .T = T, .d = d_head, .heads = heads, .key_heads = key_heads, .causal = causal});
  }
  const auto split = [&](const at::Tensor& x, std::int64_t count) {
    return x.view({B, T, count, d_head}).transpose(1, 2);
  };
  at::Tensor keys = split(k, key_heads), values = split(v, key_heads);
  if (key_heads != heads) {
    keys = keys.repeat_interleave(heads / key_heads, 1);
    values = values.repeat_interleave(heads / key_heads, 1);
  }
  const at::Tensor mixed = at::scaled_dot_product_attention(split(q, heads), keys, values, {}, 0.0, causal);
  return mixed.transpose(1, 2).reshape({N, heads * d_head});
}

at::Tensor gelu(const at::Tensor& x, bool tanh_form) { return at::gelu(x, tanh_form ? "tanh" : "none"); }

at::Tensor relu(const at::Tensor& x) { return at::relu(x); }

}  // namespace vpd
