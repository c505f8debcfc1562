#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "vpd/config/run.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/kernels/lanes.hpp"

namespace vpd {

/// Metric names, as in metrics.jsonl (under eval/) and evaluation.json, with their values, in the order of
/// the configuration.
using MetricValues = std::vector<std::pair<std::string, double>>;

/// Measures the configuration's metrics on the first `evaluation.batches` batches of `eval` rows (fewer where
/// there are fewer rows). `step` sets the values of schedules in `losses`. Metrics marked slow are left out
/// unless `slow`. Random draws are the same in every evaluation of a seed, so that figures of different
/// checkpoints compare.
MetricValues evaluate(const Decomposition& decomposition, const RunConfig& config, TokenDataset& eval,
                      std::int64_t step, bool slow, Lanes& lanes);

}  // namespace vpd
