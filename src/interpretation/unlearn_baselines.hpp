#pragma once

// Plain ways of changing what a target says, which decompositions are compared with.

#include <cstdint>
#include <functional>
#include <vector>

#include "vpd/interpretation/unlearn.hpp"

namespace vpd {

/// The target with its residual stream projected: at every position a `strength` part of the unit vector
/// `direction` [d] is taken out of what `block` reads (the number of blocks: of what the last norm reads).
Alteration without_direction(std::size_t block, const at::Tensor& direction, double strength);

/// mean(behaviour) - mean(against) of the residual stream at prompts' last positions, normalised: one for
/// each block and one behind the last, float64 [d]; undefined for a target that shows no stream.
std::vector<at::Tensor> mean_difference(const Decomposition& decomposition,
                                        const std::vector<AuditPrompt>& behaviour,
                                        const std::vector<AuditPrompt>& against, Lanes& lanes);

/// ΔW = B A of a matrix.
struct LowRankUpdate {
  std::size_t matrix = 0;  ///< in Target::matrices()
  at::Tensor A, B;         ///< [rank, d_in], [d_out, rank]
};
Alteration with_updates(std::vector<LowRankUpdate> updates);

struct FitSettings {
  std::int64_t rank = 1, steps = 100;
  double metric = 0.0;   ///< the mean metric that is wanted
  double before = 0.0;   ///< that of the target
  double budget = 0.02;  ///< KL on the prompts against that counts as much as missing the whole effect
  std::uint64_t seed = 0;
  std::function<void()> each_step{};
};
/// Low-rank updates of these matrices, fitted to the wanted metric with little KL on the prompts against. The
/// best of four learning rates.
std::vector<LowRankUpdate> fit_updates(const Decomposition& decomposition,
                                       const std::vector<std::size_t>& matrices,
                                       const std::vector<AuditPrompt>& behaviour,
                                       const std::vector<AuditPrompt>& against, const FitSettings& settings);

}  // namespace vpd
