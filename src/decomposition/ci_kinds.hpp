#pragma once

// The library's own kinds of causal-importance functions, one file each.

#include <algorithm>
#include <memory>
#include <string_view>

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

/// Whether an embedding is among the sites, whose part of the input carries a gradient.
inline bool has_embedding(const Sites& sites) {
  return std::any_of(sites.begin(), sites.end(), [](const Site& site) { return site.embedding; });
}

/// Throws ConfigError where one is: for the kinds that read the input vector of a site, which an embedding
/// does not have.
void refuse_embeddings(const Sites& sites, std::string_view kind);

inline double product_operations(std::int64_t rows, std::int64_t inner, std::int64_t columns) {
  return 2.0 * static_cast<double>(rows) * static_cast<double>(inner) * static_cast<double>(columns);
}

}  // namespace vpd
