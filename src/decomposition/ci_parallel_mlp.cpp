// The causal-importance functions with a network for each subcomponent (SPD): `mlp`, which reads the inner
// activation x V_c, and `vector_mlp`, which reads the site's input. Their inputs are not normalised.

#include <algorithm>
#include <string>

#include <ATen/ATen.h>

#include "ci_kinds.hpp"
#include "ops/record.hpp"
#include "vpd/kernels/matrix_product.hpp"
#include "vpd/ops/parallel_mlp.hpp"

namespace vpd {
namespace {

using torch::autograd::variable_list;

/// x V [N, C], not detached from V (method, section 3).
at::Tensor inner_activations(const at::Tensor& x, const Parameter& V) {
  const at::Tensor input = x.detach().to(V.value.scalar_type());
  return record(matrix_product(input, V.value), "inner_activations", {}, V.gradient.defined(),
                [input, V](const at::Tensor& gradient, const auto&, variable_list&) {
                  matrix_product_into(V.gradient, input.t(), gradient, /*accumulate=*/true);
                });
}

class ParallelMlps final : public CausalImportance {
 public:
  ParallelMlps(std::vector<std::int64_t> hidden_dims, CiInitialization initialization, ParallelInput input,
               const Sites& sites, const Numerics& numerics)
      : hidden_dims_(std::move(hidden_dims)),
        initialization_(initialization),
        input_(input),
        sites_(sites),
        numerics_(numerics) {}

  std::vector<TensorSpec> parameters() const override {
    std::vector<TensorSpec> specs;
    for (const Site& site : sites_) {
      const std::vector<std::int64_t> widths = widths_of(site);
      for (std::size_t i = 0; i + 1 < widths.size(); ++i) {
        const std::string layer = site.name + ".layers." + std::to_string(i);
        specs.push_back({layer + ".weight", {site.C, widths[i], widths[i + 1]}});
        specs.push_back({layer + ".bias", {site.C, widths[i + 1]}});
      }
    }
    return specs;
  }

  void initialise(ParameterSet& parameters, std::uint64_t seed) const override {
    initialise_mlps(parameters, layers(), initialization_, seed);
  }

  at::Tensor forward(const std::vector<at::Tensor>& inputs, std::int64_t, const std::vector<Parameter>& p,
                     const BoundSubcomponents& components) const override {
    std::vector<at::Tensor> z;
    auto next = p.begin();
    for (std::size_t i = 0; i < sites_.size(); ++i) {
      std::vector<ParallelLayer> layers_of_site;
      for (std::size_t layer = 0; layer < layers(); ++layer, next += 2)
        layers_of_site.push_back({next[0], next[1]});
      const bool inner = input_ == ParallelInput::column && !sites_[i].embedding;
      const at::Tensor x = inner ? inner_activations(inputs[i], components.V(i)) : inputs[i];
      z.push_back(parallel_mlp(x, layers_of_site, input_));
    }
    return z.size() == 1 ? z.front() : at::cat(z, 1);
  }

  bool reaches_components() const override { return input_ == ParallelInput::column; }

  std::optional<CausalImportanceCost> cost(std::int64_t N, std::int64_t) const override {
    CausalImportanceCost cost;
    const auto bytes = static_cast<std::int64_t>(c10::elementSize(numerics_.compute));
    const bool columns = input_ == ParallelInput::column;
    for (const Site& site : sites_) {
      const std::vector<std::int64_t> widths = widths_of(site);
      if (columns && !site.embedding) {
        const double inner = product_operations(N, site.d_in, site.C);
        cost.forward += inner, cost.backward += inner;
        cost.kept += N * site.C * bytes;
      }
      for (std::size_t i = 0; i + 1 < widths.size(); ++i) {
        const double operations =
            static_cast<double>(site.C) * product_operations(N, widths[i], widths[i + 1]);
        cost.forward += operations;
        // Once more what lies before the last layer, the weights' gradient, and the input's, if wanted.
        const bool is_last = i + 2 == widths.size(), input_wanted = i > 0 || columns;
        cost.backward += (is_last ? 1.0 : 2.0) * operations + (input_wanted ? operations : 0.0);
      }
      // Beside the networks' workspace the site's columns of dL/dz, and the gradient of its inner
      // activations.
      const std::int64_t workspace =
          parallel_mlp_workspace(numerics_.device, N, site.C, site.d_in, hidden_dims_, input_);
      cost.temporaries = std::max(cost.temporaries, bytes * (workspace + 2 * N * site.C));
    }
    return cost;
  }

 private:
  std::size_t layers() const { return hidden_dims_.size() + 1; }
  std::vector<std::int64_t> widths_of(const Site& site) const {
    std::vector<std::int64_t> widths = {input_ == ParallelInput::column ? 1 : site.d_in};
    widths.insert(widths.end(), hidden_dims_.begin(), hidden_dims_.end());
    widths.push_back(1);
    return widths;
  }

  std::vector<std::int64_t> hidden_dims_;
  CiInitialization initialization_;
  ParallelInput input_;
  Sites sites_;
  Numerics numerics_;
};

}  // namespace

std::unique_ptr<CausalImportance> make_ci(const MlpCiConfig& config, const Sites& sites,
                                          const Numerics& numerics) {
  return std::make_unique<ParallelMlps>(config.hidden_dims, config.initialization, ParallelInput::column,
                                        sites, numerics);
}

std::unique_ptr<CausalImportance> make_ci(const VectorMlpCiConfig& config, const Sites& sites,
                                          const Numerics& numerics) {
  refuse_embeddings(sites, VectorMlpCiConfig::kind);
  return std::make_unique<ParallelMlps>(config.hidden_dims, config.initialization, ParallelInput::row, sites,
                                        numerics);
}

}  // namespace vpd
