#pragma once

#include "vpd/cost/step_shape.hpp"

namespace vpd {

/// What a harvest takes, from shapes alone. Bytes are those of a CPU's memory, apart from the program itself.
///
/// Tables grow with what the data shows, and that is assumed: `alive` subcomponents fire, `l0` of them at a
/// position, and one that fires F times meets F^0.6 different tokens there, as in natural language (Heaps'
/// law).
struct HarvestCost {
  double operations = 0.0;         ///< a position: clean pass, importances, activations
  std::int64_t weight_bytes = 0;   ///< of the target, of U and V and what is made of them, of the importances
  std::int64_t batch_bytes = 0;    ///< of one batch of `rows`
  std::int64_t table_bytes = 0;    ///< in memory at the end
  std::int64_t writing_bytes = 0;  ///< beside the tables while they, or a state, are written
  std::int64_t merging_bytes = 0;  ///< beside the tables while a part is added to them
  std::int64_t disk_bytes = 0;     ///< of the tables, and of the states while it runs

  /// At the largest moment of a harvest, and of putting parts together.
  std::int64_t memory_bytes() const;
  std::int64_t merge_memory_bytes() const;
};

struct HarvestShape {
  std::int64_t rows = 1;           ///< of a batch
  std::int64_t positions = 0;      ///< in all
  std::int64_t alive = 0;          ///< subcomponents that fire
  double l0 = 0.0;                 ///< that fire at a position
  std::int64_t output_tokens = 0;  ///< HarvestSettings::output_tokens
  std::int64_t window = 20, examples = 20, strongest = 10;
};

HarvestCost predict_harvest(const StepShape& step_shape, const HarvestShape& shape);

}  // namespace vpd
