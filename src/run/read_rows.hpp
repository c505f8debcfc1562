#pragma once

#include <functional>
#include <memory>

#include <nlohmann/json.hpp>

#include "vpd/decomposition/opened_run.hpp"
#include "vpd/passes/batch.hpp"
#include "vpd/run/reading_forecast.hpp"
#include "vpd/run/rows_to_read.hpp"
#include "vpd/run/run_to_edit.hpp"

namespace vpd {

/// A run opened for a command that sums over data, and its rows.
class RowSource {
 public:
  /// Throws UsageError for rows that cannot be chosen so, and what OpenedRun throws.
  RowSource(const RunToEdit& chosen, const RowsToRead& rows, const Observer& observer);

  OpenedRun run;
  std::int64_t rows = 0, length = 0;
  std::int64_t positions() const { return rows * length; }

  /// Calls `visit` with one batch after the other, and tells the observer how far it is, as `what`: "summing
  /// up". Throws Interrupted.
  void read(const std::string& what, const Observer& observer,
            const std::function<void(const Batch&)>& visit) const;

  /// Gives the first two batches to `visit`, and says what all would take.
  ReadingForecast forecast(const Observer& observer, const std::function<void(const Batch&)>& visit) const;

  /// For about.json: rows, and the files that they are from with their hashes.
  nlohmann::ordered_json about(const Observer& observer) const;

 private:
  RowsToRead chosen_;
  std::unique_ptr<Dataset> owned_;
  const Dataset* data_ = nullptr;
  std::int64_t at_once_ = 1;
};

}  // namespace vpd
