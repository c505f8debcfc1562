#pragma once

// A pass over a run's rows with clean passes and importances alone: which rows, and what it would take.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "machine/scoped_thread_count.hpp"
#include "vpd/base/observer.hpp"
#include "vpd/cost/step_shape.hpp"
#include "vpd/decomposition/opened_run.hpp"
#include "vpd/io/dataset.hpp"
#include "vpd/run/pass_choice.hpp"

namespace vpd {

/// Throws UsageError where --split and --tokens do not go together.
void check_rows_choice(const PassChoice& choice);
/// The run opened in float32, with the rows that are to be read as its held-out rows.
OpenOptions open_options(const PassChoice& choice);
/// Of the files that the rows come from, in their order: {path, sha256}.
nlohmann::ordered_json hashes_of_rows(const OpenedRun& run, const std::string& split,
                                      const Observer& observer);

/// The run as far as shapes go, without a weight. Throws as OpenedRun does.
class PlannedPass {
 public:
  PlannedPass(const PassChoice& choice, std::vector<std::string>& warnings);

  const RunConfig& config() const { return config_; }
  const StepShape& step_shape() const { return step_shape_; }  ///< T is that of the rows
  const Dataset& data() const { return *data_; }
  const Numerics& numerics() const { return numerics_; }
  int threads() const { return threads_.get(); }
  /// Of so many operations on batches of so many rows, at half of the speed of matrix products, which is
  /// measured; nothing where the device is not here.
  std::optional<double> seconds(double operations, std::int64_t batch_rows, const Observer& observer) const;

 private:
  PlannedPass(const PassChoice& choice, const RunDirectory& directory, std::vector<std::string>& warnings);

  RunConfig config_;
  ScopedThreadCount threads_;
  Numerics numerics_;
  StepShape step_shape_;
  std::unique_ptr<Dataset> data_;
};

}  // namespace vpd
