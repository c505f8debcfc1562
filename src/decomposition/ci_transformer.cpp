// The causal-importance function `global_shared_transformer` (VPD, appendix "Causal Importance Function
// Architecture"): every site's input, normalised, side by side; a linear map to d_model; pre-norm blocks of
// bidirectional attention with rotary embedding and an MLP; a linear map to all sites' subcomponents.

#include <algorithm>
#include <cmath>
#include <string>

#include <ATen/ATen.h>

#include "ci_kinds.hpp"
#include "ops/record.hpp"
#include "vpd/kernels/norm.hpp"
#include "vpd/kernels/random_fill.hpp"

namespace vpd {
namespace {

using torch::autograd::variable_list;

constexpr double norm_eps = 1.1920928955078125e-07;  // float32's epsilon, whatever the type

/// Places of a block's parameters behind its first one.
enum BlockParameter : std::size_t {
  q_proj,
  k_proj,
  v_proj,
  o_proj,
  fc_weight,
  fc_bias,
  proj_weight,
  proj_bias,
  per_block
};

class CiTransformer final : public CausalImportance {
 public:
  CiTransformer(const GlobalSharedTransformerConfig& config, const Sites& sites, const Numerics& numerics)
      : config_(config), sites_(sites), numerics_(numerics) {}

  std::vector<TensorSpec> parameters() const override {
    const std::int64_t d = config_.d_model;
    std::vector<TensorSpec> specs = {{"proj_in.weight", {d, input_width()}}, {"proj_in.bias", {d}}};
    for (std::int64_t i = 0; i < config_.n_blocks; ++i) {
      const std::string block = "blocks." + std::to_string(i) + ".";
      for (const char* name : {"q", "k", "v", "o"})
        specs.push_back({block + "attn." + name + "_proj.weight", {d, d}});
      specs.push_back({block + "mlp.fc.weight", {config_.d_mlp, d}});
      specs.push_back({block + "mlp.fc.bias", {config_.d_mlp}});
      specs.push_back({block + "mlp.proj.weight", {d, config_.d_mlp}});
      specs.push_back({block + "mlp.proj.bias", {d}});
    }
    specs.push_back({"proj_out.weight", {sites_.total_C(), d}});
    specs.push_back({"proj_out.bias", {sites_.total_C()}});
    return specs;
  }

  void initialise(ParameterSet& parameters, std::uint64_t seed) const override {
    const bool published = config_.initialization == CiInitialization::published;
    fill_side_by_side(parameters.size(), [&](std::size_t i) {
      const std::string& name = parameters.spec(i).name;
      const RandomKey key = make_key(seed, RandomPurpose::initial_causal_importance, i);
      at::Tensor value = parameters.value(i);
      if (name.ends_with(".bias")) {
        // the framework draws a bias from its layer's fan-in, which is that of the weight before it
        published ? static_cast<void>(value.zero_())
                  : fill_symmetric(value, parameters.spec(i - 1).shape[1], key);
      } else if (!published || name.find(".attn.") != std::string::npos) {
        fill_symmetric(value, value.size(1), key);
      } else {
        const bool hidden = name.starts_with("proj_in") || name.find(".fc.") != std::string::npos;
        fill_normal(value, std::sqrt((hidden ? 2.0 : 1.0) / static_cast<double>(value.size(1))), key);
      }
    });
    parameters.refresh();
  }

  at::Tensor forward(const std::vector<at::Tensor>& inputs, std::int64_t B, const std::vector<Parameter>& p,
                     const BoundSubcomponents& components) const override {
    return forward_notifying(inputs, B, p, components, {});
  }

  at::Tensor forward_notifying(const std::vector<at::Tensor>& inputs, std::int64_t B,
                               const std::vector<Parameter>& p, const BoundSubcomponents&,
                               const GradientsReady& ready) const override {
    const at::ScalarType type = numerics_.compute;
    const std::int64_t N = inputs.front().size(0);
    const RotaryTable& table = tables_.of(N / B);
    AddedNorm stream{linear(normalised(inputs, N), p[0], p[1]), {}};
    if (config_.n_blocks > 0) stream.norm = rms_norm(stream.sum, {}, norm_eps, type);
    // The gradient of the stream before a block is there once the backward pass is through all that follows.
    const auto tell = [&](std::size_t first) {
      if (ready && stream.sum.requires_grad())
        stream.sum.register_hook([ready, first](const at::Tensor&) { ready(first); });
    };
    for (std::int64_t i = 0; i < config_.n_blocks; ++i) {
      tell(2 + static_cast<std::size_t>(i) * per_block);
      const auto at = [&](BlockParameter which) -> const Parameter& {
        return p[2 + static_cast<std::size_t>(i) * per_block + which];
      };
      // What is cheap to make is made again in the backward pass: both norms and the GELU.
      const auto norm_again = [type](const at::Tensor& input, int readers) {
        return Recomputed(readers, [type, input = input.detach()] {
          return rms_norm_forward(input, {}, norm_eps, type, nullptr);
        });
      };
      Recomputed again = norm_again(stream.sum, 3);
      const at::Tensor q = rotary(linear(stream.norm, at(q_proj), {}, again), table),
                       k = rotary(linear(stream.norm, at(k_proj), {}, again), table),
                       v = linear(stream.norm, at(v_proj), {}, again);
      const at::Tensor mixed = attention(q, k, v, B, config_.n_heads, config_.n_heads, /*causal=*/false);
      stream = add_rms_norm(stream.sum, linear(mixed, at(o_proj)), {}, norm_eps, type);
      const at::Tensor h = linear(stream.norm, at(fc_weight), at(fc_bias), norm_again(stream.sum, 1));
      again = Recomputed(1, [h = h.detach()] { return gelu(h, /*tanh_form=*/false); });
      const at::Tensor out = linear(gelu(h, /*tanh_form=*/false), at(proj_weight), at(proj_bias), again);
      if (i + 1 < config_.n_blocks) {
        stream = add_rms_norm(stream.sum, out, {}, norm_eps, type);
      } else {
        stream = {at::add(stream.sum, out), {}};  // the last linear map reads it as it is
      }
    }
    tell(p.size() - 2);
    return linear(stream.sum, p[p.size() - 2], p[p.size() - 1]);
  }

  bool reaches_components() const override { return false; }
  bool reads_parameters_once() const override { return true; }

  std::optional<CausalImportanceCost> cost(std::int64_t N, std::int64_t T) const override {
    const std::int64_t d = config_.d_model,
                       bytes = static_cast<std::int64_t>(c10::elementSize(numerics_.compute));
    const double blocks = static_cast<double>(config_.n_blocks),
                 first = product_operations(N, input_width(), d),
                 mixing = blocks * 2.0 * product_operations(N, T, d);
    CausalImportanceCost cost;
    cost.forward = first +
                   blocks * (4 * product_operations(N, d, d) + 2 * product_operations(N, d, config_.d_mlp)) +
                   mixing + product_operations(N, d, sites_.total_C());
    // Nobody wants the gradient of the input, but for an embedding's part of it.
    cost.backward = 2.0 * cost.forward - (has_embedding(sites_) ? 0.0 : first);
    // A block keeps its input, q, k, v, the mixed values, the residual between and the GELU's input; and on a
    // CPU the probabilities of each head.
    const std::int64_t probabilities =
        attention_keeps_probabilities(numerics_.device, numerics_.compute, T) ? config_.n_heads * T : 0;
    const std::int64_t block = 6 * d + config_.d_mlp + probabilities;
    cost.kept = N * (input_width() + config_.n_blocks * block + d) * bytes;
    cost.temporaries = N * (2 * config_.d_mlp + 2 * d) * bytes;
    // Of a block what is made again and the gradients of six outputs, while all of the above goes but its
    // input, the mixed values, and the residual between.
    cost.deferred = std::max<std::int64_t>(
        0, N * config_.n_blocks * (2 * d + config_.d_mlp + 5 * d + config_.d_mlp - (block - 3 * d)) * bytes);
    return cost;
  }

 private:
  std::int64_t input_width() const {
    std::int64_t width = 0;
    for (const Site& site : sites_) width += site.importance_width();
    return width;
  }

  /// Each site's input normalised, side by side: [N, Σ width]. Of the inputs an embedding's alone carries a
  /// gradient.
  at::Tensor normalised(const std::vector<at::Tensor>& inputs, std::int64_t N) const {
    struct Part {
      at::Tensor input, reciprocal;
      std::int64_t column;
    };
    at::Tensor wide = at::empty({N, input_width()}, numerics_.options().dtype(numerics_.compute));
    std::vector<Part> tracked;
    variable_list on_graph;
    std::int64_t column = 0;
    for (const at::Tensor& input : inputs) {
      const bool wanted = input.requires_grad();
      at::Tensor reciprocal;
      rms_norm_forward(input.detach(), {}, norm_eps, numerics_.compute, wanted ? &reciprocal : nullptr,
                       wide.narrow(1, column, input.size(1)));
      if (wanted) tracked.push_back({input.detach(), reciprocal, column}), on_graph.push_back(input);
      column += input.size(1);
    }
    return record(std::move(wide), "normalised", on_graph, false,
                  [tracked](const at::Tensor& gradient, const auto&, variable_list& out) {
                    for (std::size_t i = 0; i < tracked.size(); ++i) {
                      const Part& part = tracked[i];
                      out[i] = rms_norm_backward(gradient.narrow(1, part.column, part.input.size(1)),
                                                 part.input, {}, part.reciprocal, {});
                    }
                  });
  }

  GlobalSharedTransformerConfig config_;
  Sites sites_;
  Numerics numerics_;
  RotaryTables tables_{[this](std::int64_t T) {
    return make_rotary_table(T, config_.d_model / config_.n_heads, config_.rope_base, /*adjacent=*/false,
                             numerics_.wide, numerics_.device);
  }};
};

}  // namespace

std::unique_ptr<CausalImportance> make_ci(const GlobalSharedTransformerConfig& config, const Sites& sites,
                                          const Numerics& numerics) {
  return std::make_unique<CiTransformer>(config, sites, numerics);
}

}  // namespace vpd
