#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/config/run.hpp"
#include "vpd/decomposition/causal_importance.hpp"
#include "vpd/decomposition/sites.hpp"
#include "vpd/machine/numerics.hpp"
#include "vpd/ops/parameter_set.hpp"
#include "vpd/target/architecture.hpp"

namespace vpd {

/// Everything that the cost of a training step depends on, known from shapes alone: no weight is read or
/// made.
struct StepShape {
  Architecture target;
  Sites sites;
  Subcomponents components;    ///< without memory: shapes, names and counts
  ParameterSet ci_parameters;  ///< likewise
  CausalImportanceConfig causal_importance;
  std::shared_ptr<const CausalImportance> ci;  ///< made for `numerics`; says what it costs
  ObjectivePlan objective;
  TrainingConfig training;
  EvaluationConfig evaluation;
  bool delta_component = true;
  Numerics numerics;
  std::int64_t T = 0;                                   ///< tokens a row
  std::int64_t evaluation_T = 0;                        ///< tokens a row of evaluation data
  std::int64_t background_B = 0;                        ///< rows a step of the background; 0: there is none
  std::int64_t background_T = 0;                        ///< tokens of each
  ComparedPositions compared = ComparedPositions::all;  ///< where outputs are compared
  ComparedPositions background_compared = ComparedPositions::all;  ///< in rows of the background
  int lanes = 1;

  /// The part of a step that takes rows of the background, as a step of its own.
  StepShape background_step() const;
  /// Of N positions in rows of length T, those at which outputs are compared.
  std::int64_t compared_of(std::int64_t N) const { return compared == ComparedPositions::last ? N / T : N; }

  std::int64_t B() const { return training.batch_size; }
  std::int64_t micro() const { return std::min(training.micro_batch_size.value_or(B()), B()); }
  /// Of the causal-importance function on N positions; zeros where it does not know.
  CausalImportanceCost importance_cost(std::int64_t N) const;

  /// The stage at which masked passes begin: that of the first block that has a site.
  std::size_t first_stage() const;

  /// Of a matrix of the target: the site's number, or -1; its C, or 0.
  int site_of(std::size_t matrix) const { return sites.of_matrix()[matrix]; }
  std::int64_t C_of(std::size_t matrix) const {
    return site_of(matrix) < 0 ? 0 : sites[static_cast<std::size_t>(site_of(matrix))].C;
  }
};

/// `threads`: how many the run would use. `config_name` names the configuration in errors (ConfigError where
/// a pattern matches nothing, or where rows are longer than the target takes).
StepShape make_step_shape(const RunConfig& config, const Architecture& target, const Numerics& numerics,
                          int threads, const std::string& config_name);

/// Floating-point operations of one training step in matrix products and attention, two for each
/// multiplication with its addition. Everything else in a step moves memory and is not counted. Products that
/// a step leaves out (gradients that nobody wants) are left out here too.
struct OperationCount {
  std::string part;
  double operations = 0.0;
};
std::vector<OperationCount> count_operations(const StepShape& step_shape);
double total(const std::vector<OperationCount>& parts);

/// What training holds at its largest moment, in a step or in an evaluation, apart from the program itself.
struct MemoryPart {
  std::string_view part;  ///< text that lives as long as the program
  std::int64_t bytes = 0;
};
std::vector<MemoryPart> predict_memory(const StepShape& step_shape);
std::int64_t total(const std::vector<MemoryPart>& parts);

}  // namespace vpd
