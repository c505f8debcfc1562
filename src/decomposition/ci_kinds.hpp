#pragma once

// The library's own kinds of causal-importance functions, one file each.

#include <memory>

#include "vpd/decomposition/causal_importance.hpp"

namespace vpd {

std::unique_ptr<CausalImportance> make_ci(const GlobalSharedTransformerConfig& config, const Sites& sites,
                                          const Numerics& numerics);
std::unique_ptr<CausalImportance> make_ci(const MlpCiConfig& config, const Sites& sites,
                                          const Numerics& numerics);
std::unique_ptr<CausalImportance> make_ci(const VectorMlpCiConfig& config, const Sites& sites,
                                          const Numerics& numerics);
std::unique_ptr<CausalImportance> make_ci(const SharedMlpCiConfig& config, const Sites& sites,
                                          const Numerics& numerics);
std::unique_ptr<CausalImportance> make_ci(const GlobalSharedMlpCiConfig& config, const Sites& sites,
                                          const Numerics& numerics);

/// Initial values of MLPs whose parameters are weights and biases in turn, `layers` of each to a network.
/// Fan-in is a weight's size(1), both of [d_out, d_in] and of [C, d_in, d_out] (method, section 3).
void initialise_mlps(ParameterSet& parameters, std::size_t layers, CiInitialization initialization,
                     std::uint64_t seed);

inline double product_operations(std::int64_t rows, std::int64_t inner, std::int64_t columns) {
  return 2.0 * static_cast<double>(rows) * static_cast<double>(inner) * static_cast<double>(columns);
}

}  // namespace vpd
