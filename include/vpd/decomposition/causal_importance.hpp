#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/config/run.hpp"
#include "vpd/decomposition/parameter_set.hpp"
#include "vpd/decomposition/sites.hpp"

namespace vpd {

/// Maps what the sites read in the target's clean forward pass to pre-activations z of causal importance
/// (method, section 3). The function itself is stateless and may run on several threads at once: parameters
/// come with each call.
class CausalImportance {
 public:
  virtual ~CausalImportance() = default;

  /// Names and shapes of the parameters, in the order in which forward() takes them.
  virtual std::vector<ParameterSpec> parameters() const = 0;

  virtual void initialise(ParameterSet& parameters, std::uint64_t seed) const = 0;

  /// inputs: per site [N, d_in], detached, of B sequences. Returns z [N, Σ C] in the type of matrix products
  /// or wider, columns in the sites' order.
  virtual at::Tensor forward(const std::vector<at::Tensor>& inputs, std::int64_t B,
                             const std::vector<Parameter>& parameters) const = 0;
};

std::unique_ptr<CausalImportance> make_causal_importance(const CausalImportanceConfig& config,
                                                         const Sites& sites, const Numerics& numerics);

/// How many parameters the function would have, without making any.
std::int64_t count_causal_importance(const CausalImportanceConfig& config, const Sites& sites);

}  // namespace vpd
