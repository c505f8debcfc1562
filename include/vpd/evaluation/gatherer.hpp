#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "vpd/passes/batch.hpp"

namespace vpd {

/// Names of figures, as in metrics.jsonl (under eval/) and evaluation.json, with their values.
using MetricValues = std::vector<std::pair<std::string, double>>;

/// What is more than a number, under names of its own, in evaluation.json alone. A histogram over edges e_0 =
/// 0 < e_1 < ... < e_n has n + 1 counts: of zeros, then of values in (e_0, e_1], (e_1, e_2] ...
using MetricArrays = std::vector<std::pair<std::string, std::vector<double>>>;

/// Gathers something over the batches of a data set. Several share one pass over it (gather()).
class Gatherer {
 public:
  virtual ~Gatherer() = default;

  /// Whether it looks at batches at all, and whether they have to keep what the sites gave.
  virtual bool needs_batches() const { return true; }
  virtual bool needs_outputs() const { return false; }

  virtual void add(const Batch& batch) = 0;
  virtual void finish() {}  ///< after the last batch
  virtual void report(MetricValues& values) const = 0;
  virtual void report_arrays(MetricArrays& /*arrays*/) const {}
};

using Gatherers = std::vector<std::unique_ptr<Gatherer>>;

/// Whether some of them need what the sites gave (BatchReader::Options::outputs).
bool need_outputs(const Gatherers& gatherers);

/// Shows them the first `batches` batches, fewer where there are fewer rows, and finishes them. Throws
/// Interrupted once `stop` says so. `status` is told of each batch.
void gather(const Gatherers& gatherers, const BatchReader& reader, std::int64_t batches,
            const StopAsked& stop = {}, const std::function<void(const std::string&)>& status = {});

}  // namespace vpd
