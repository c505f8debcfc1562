#pragma once

#include "vpd/cost/step_shape.hpp"

namespace vpd {

/// What a harvest takes, from shapes alone.
struct HarvestCost {
  double operations = 0.0;       ///< a position: clean pass, importances, activations
  std::int64_t batch_bytes = 0;  ///< of one batch of `rows`
  std::int64_t table_bytes = 0;  ///< in memory at the end, where `alive` subcomponents fire
  std::int64_t disk_bytes = 0;   ///< of the tables, and of two states while it runs
};

struct HarvestShape {
  std::int64_t rows = 1;           ///< of a batch
  std::int64_t positions = 0;      ///< in all
  std::int64_t alive = 0;          ///< subcomponents that fire
  double l0 = 200.0;               ///< that fire at a position
  std::int64_t output_tokens = 0;  ///< HarvestSettings::output_tokens
  std::int64_t window = 20, examples = 20, strongest = 10;
};

HarvestCost predict_harvest(const StepShape& step_shape, const HarvestShape& shape);

}  // namespace vpd
