#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "support/places.hpp"
#include "vpd/config/run.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/machine/lanes.hpp"
#include "vpd/machine/numerics.hpp"
#include "vpd/training/step.hpp"

namespace vpd::testing {

/// The golden run `plain` with a term of random masks and random routing added, so that every stream of
/// random numbers is in use.
inline RunConfig run_with_draws(const std::vector<std::string>& overrides = {}) {
  RunConfig config = load_run_config(test_data() / "plain" / "config.yaml", overrides);
  config.objective.push_back(
      StochasticReconTerm{.coefficient = {.start = 0.5}, .routing = UniformKSubsetRoutingConfig{}});
  return config;
}

/// Everything that computes a run's steps, on two lanes unless told otherwise.
struct RunCase {
  explicit RunCase(RunConfig run_config, int lane_count = 2)
      : config(std::move(run_config)),
        numerics(resolve_numerics("cpu", Precision::fp32)),
        decomposition(make_decomposition(config, numerics, "config.yaml", warnings)),
        data(tokens().path, tokens().sequence_length, /*shuffle=*/true, config.seed),
        lanes(lane_count),
        step(decomposition, config, tokens().sequence_length, lanes) {
    load_weights(decomposition, *config.initialize_from);
  }

  const TokensData& tokens() const { return std::get<TokensData>(config.data.train); }
  at::Tensor batch(std::int64_t s) const {
    return data.batch(s * config.training.batch_size, config.training.batch_size);
  }

  RunConfig config;
  std::vector<std::string> warnings;
  Numerics numerics;
  Decomposition decomposition;
  TokenDataset data;
  Lanes lanes;
  TrainingStep step;
};

}  // namespace vpd::testing
