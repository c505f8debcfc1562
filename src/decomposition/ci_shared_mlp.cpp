// The causal-importance functions `shared_mlp`, one MLP for each site, and `global_shared_mlp`, one for all
// of them (SPD). Their inputs are not normalised.

#include <algorithm>
#include <numeric>
#include <string>

#include <ATen/ATen.h>

#include "ci_kinds.hpp"

namespace vpd {
namespace {

class SharedMlps final : public CausalImportance {
 public:
  SharedMlps(std::vector<std::int64_t> hidden_dims, CiInitialization initialization, bool global,
             const Sites& sites, const Numerics& numerics)
      : initialization_(initialization),
        global_(global),
        tracked_(has_embedding(sites)),
        numerics_(numerics) {
    const auto add = [&](const std::string& prefix, std::int64_t d_in, std::int64_t C) {
      Network network{prefix, {d_in}};
      network.widths.insert(network.widths.end(), hidden_dims.begin(), hidden_dims.end());
      network.widths.push_back(C);
      networks_.push_back(std::move(network));
    };
    if (global) {
      add("",
          std::accumulate(sites.begin(), sites.end(), std::int64_t{0},
                          [](std::int64_t sum, const Site& site) { return sum + site.importance_width(); }),
          sites.total_C());
    } else {
      for (const Site& site : sites) add(site.name + ".", site.d_in, site.C);
    }
  }

  std::vector<TensorSpec> parameters() const override {
    std::vector<TensorSpec> specs;
    for (const Network& network : networks_) {
      for (std::size_t i = 0; i < network.layers(); ++i) {
        const std::string layer = network.prefix + "layers." + std::to_string(i);
        specs.push_back({layer + ".weight", {network.widths[i + 1], network.widths[i]}});
        specs.push_back({layer + ".bias", {network.widths[i + 1]}});
      }
    }
    return specs;
  }

  void initialise(ParameterSet& parameters, std::uint64_t seed) const override {
    initialise_mlps(parameters, networks_.front().layers(), initialization_, seed);
  }

  at::Tensor forward(const std::vector<at::Tensor>& inputs, std::int64_t, const std::vector<Parameter>& p,
                     const BoundSubcomponents&) const override {
    if (global_) return run(networks_.front(), side_by_side(inputs), &p.front());
    std::vector<at::Tensor> z;
    const Parameter* of_site = p.data();
    for (std::size_t i = 0; i < networks_.size(); ++i) {
      z.push_back(run(networks_[i], inputs[i], of_site));
      of_site += 2 * networks_[i].layers();
    }
    return z.size() == 1 ? z.front() : at::cat(z, 1);
  }

  bool reaches_components() const override { return false; }

  std::optional<CausalImportanceCost> cost(std::int64_t N, std::int64_t) const override {
    CausalImportanceCost cost;
    std::int64_t kept = 0, temporary = 0;
    for (const Network& network : networks_) {
      const std::vector<std::int64_t>& widths = network.widths;
      std::int64_t widest = 0;
      for (std::size_t i = 0; i < network.layers(); ++i) {
        const double operations = product_operations(N, widths[i], widths[i + 1]);
        cost.forward += operations;
        // Nobody wants the gradient of the input, but for an embedding's part of it.
        cost.backward += (i == 0 && !tracked_ ? 1.0 : 2.0) * operations;
        if (i == 0) continue;
        kept += 2 * widths[i];  // both sides of the GELU
        widest = std::max(widest, widths[i]);
      }
      // The gradients on both sides of a GELU, beside the network's own columns of dL/dz.
      temporary = std::max(temporary, 2 * widest + (networks_.size() > 1 ? widths.back() : 0));
    }
    if (global_) kept += networks_.front().widths.front();
    const auto bytes = static_cast<std::int64_t>(c10::elementSize(numerics_.compute));
    cost.kept = N * kept * bytes;
    cost.temporaries = N * temporary * bytes;
    return cost;
  }

 private:
  struct Network {
    std::string prefix;
    std::vector<std::int64_t> widths;  // of the input, the hidden layers and the output
    std::size_t layers() const { return widths.size() - 1; }
  };

  at::Tensor run(const Network& network, at::Tensor x, const Parameter* p) const {
    for (std::size_t i = 0; i < network.layers(); ++i) {
      x = linear(x, p[2 * i], p[2 * i + 1]);
      if (i + 1 < network.layers()) x = gelu(x, /*tanh_form=*/false);
    }
    return x;
  }

  at::Tensor side_by_side(const std::vector<at::Tensor>& inputs) const {
    return (inputs.size() == 1 ? inputs.front() : at::cat(inputs, 1)).to(numerics_.compute);
  }

  CiInitialization initialization_;
  bool global_;
  bool tracked_;  // whether the input carries a gradient
  Numerics numerics_;
  std::vector<Network> networks_;
};

}  // namespace

std::unique_ptr<CausalImportance> make_ci(const SharedMlpCiConfig& config, const Sites& sites,
                                          const Numerics& numerics) {
  refuse_embeddings(sites, SharedMlpCiConfig::kind);
  return std::make_unique<SharedMlps>(config.hidden_dims, config.initialization, /*global=*/false, sites,
                                      numerics);
}

std::unique_ptr<CausalImportance> make_ci(const GlobalSharedMlpCiConfig& config, const Sites& sites,
                                          const Numerics& numerics) {
  return std::make_unique<SharedMlps>(config.hidden_dims, config.initialization, /*global=*/true, sites,
                                      numerics);
}

}  // namespace vpd
