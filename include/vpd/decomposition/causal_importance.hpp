#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/config/custom_options.hpp"
#include "vpd/config/run.hpp"
#include "vpd/decomposition/sites.hpp"
#include "vpd/decomposition/subcomponents.hpp"
#include "vpd/ops/parameter_set.hpp"

namespace vpd {

/// What a call of a causal-importance function costs: operations in matrix products, two for each
/// multiplication with its addition, and bytes.
struct CausalImportanceCost {
  double forward = 0.0;
  double backward = 0.0;
  std::int64_t kept = 0;         ///< what the forward pass keeps for the backward pass, z and inputs apart
  std::int64_t temporaries = 0;  ///< the most that the backward pass has beside that and dL/dz
  std::int64_t deferred = 0;     ///< and what stays for deferred gradients, if they are deferred
};

/// Called in a backward pass when the gradients of parameter number `first` and of all after it are complete.
using GradientsReady = std::function<void(std::size_t first)>;

/// Maps what the sites read in the target's clean forward pass to pre-activations z of causal importance
/// (method, section 3). The function itself is stateless and may run on several threads at once: parameters
/// come with each call.
class CausalImportance {
 public:
  virtual ~CausalImportance() = default;

  /// Names and shapes of the parameters, in the order in which forward() takes them.
  virtual std::vector<TensorSpec> parameters() const = 0;

  virtual void initialise(ParameterSet& parameters, std::uint64_t seed) const = 0;

  /// inputs: per site [N, d_in], detached, of B sequences; of an embedding site the inner activations
  /// V[token] [N, C], through whose graph a gradient reaches V (Site::importance_width()). components: V
  /// [d_in, C] of site i is entry 2 i, U [C, d_out] entry 2 i + 1. Returns z [N, Σ C] in the type of matrix
  /// products or wider, columns in the sites' order.
  ///
  /// Neither list's values belong to LibTorch's graph: a node adds what reaches a parameter to its gradient
  /// buffer in the backward pass (ops/differentiable.hpp). Frozen ones have none.
  virtual at::Tensor forward(const std::vector<at::Tensor>& inputs, std::int64_t B,
                             const std::vector<Parameter>& parameters,
                             const BoundSubcomponents& components) const = 0;

  /// Of a call with N positions in sequences of T, for `vpd check`; nothing: not known.
  virtual std::optional<CausalImportanceCost> cost(std::int64_t N, std::int64_t T) const {
    static_cast<void>(N), static_cast<void>(T);
    return std::nullopt;
  }

  /// forward(), with `ready` called as often as the function can tell in its backward pass; here: never.
  virtual at::Tensor forward_notifying(const std::vector<at::Tensor>& inputs, std::int64_t B,
                                       const std::vector<Parameter>& parameters,
                                       const BoundSubcomponents& components,
                                       const GradientsReady& ready) const {
    static_cast<void>(ready);
    return forward(inputs, B, parameters, components);
  }

  /// Whether the backward pass of forward() may add to gradients of U or V.
  virtual bool reaches_components() const { return true; }

  /// Whether each parameter is read by linear() alone and once in a call of forward(), so that its gradient
  /// can be stored where nothing is to be added to (Parameter::overwrites_gradient), or deferred until all
  /// lanes are through (Parameter::deferred).
  virtual bool reads_parameters_once() const { return false; }
};

/// Throws ConfigError for a custom kind that nobody registered, or for options that it does not know.
std::unique_ptr<CausalImportance> make_causal_importance(const CausalImportanceConfig& config,
                                                         const Sites& sites, const Numerics& numerics);

/// Makes a function from the `options` of its configuration; those that it does not read are refused.
using CausalImportanceFactory = std::function<std::unique_ptr<CausalImportance>(
    CustomOptions& options, const Sites& sites, const Numerics& numerics)>;

/// From now on configurations may say `causal_importance: {type: custom, name: <name>, options: {...}}`. Call
/// it before a configuration is used. Throws UsageError where the name is taken.
void register_causal_importance(const std::string& name, CausalImportanceFactory factory);

}  // namespace vpd
