#include "read_rows.hpp"

#include <algorithm>
#include <chrono>

#include "planned_pass.hpp"
#include "token_rows.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/interpretation/harvest.hpp"
#include "vpd/machine/memory.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;

PassChoice choice_of(const RunToEdit& chosen, const RowsToRead& rows) {
  PassChoice choice{.run = chosen.run,
                    .checkpoint = chosen.checkpoint,
                    .overrides = chosen.overrides,
                    .device = chosen.device,
                    .threads = chosen.threads,
                    .tokens = rows.tokens,
                    .split = rows.split};
  check_rows_choice(choice);
  VPD_CHECK(rows.positions >= 1, UsageError, "--positions: expected a number of at least 1, found {}",
            rows.positions);
  return choice;
}

}  // namespace

RowSource::RowSource(const RunToEdit& chosen, const RowsToRead& rows_to_read, const Observer& observer)
    : run(chosen.run, open_options(choice_of(chosen, rows_to_read)), observer),
      chosen_(rows_to_read),
      owned_(rows_to_read.split == "train" ? run.open_train() : nullptr),
      data_(owned_ ? owned_.get() : run.eval.get()) {
  require_one_length(*data_, run.config.data);
  length = data_->length();
  const std::int64_t wanted = (chosen_.positions + length - 1) / length;
  rows = std::min(wanted, data_->rows().value_or(wanted));
  VPD_CHECK(rows > 0, DataError, "{}: expected rows to look at, found none", data_->describe());
  at_once_ = std::min(rows, suitable_harvest_rows(run.decomposition.sites.total_C(), length,
                                                  run.decomposition.target->vocabulary_size()));
  run.compute_with(at_once_);
}

void RowSource::read(const std::string& what, const Observer& observer,
                     const std::function<void(const Batch&)>& visit) const {
  const BatchReader reader(run.decomposition, *data_, *run.lanes,
                           {.rows = at_once_, .limit = rows, .stop = observer.stop});
  const auto start = std::chrono::steady_clock::now();
  for (std::int64_t k = 0, done = 0; reader.rows_of(k) > 0; ++k) {
    end_if_asked(observer.stop, what);
    if (observer.status) {
      std::string line = fmt::format("{}: {} of {} positions", what, human_count(static_cast<double>(done)),
                                     human_count(static_cast<double>(positions())));
      if (done > 0) {
        const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
        line +=
            fmt::format(", {} left", human_duration(spent.count() * static_cast<double>(positions() - done) /
                                                    static_cast<double>(done)));
      }
      observer.status(line);
    }
    const Batch batch = reader.read(k);
    visit(batch);
    done += batch.positions();
  }
}

ReadingForecast RowSource::forecast(const Observer& observer,
                                    const std::function<void(const Batch&)>& visit) const {
  observer.announce("measuring the first batches");
  const c10::Device device = run.decomposition.numerics.device;
  const BatchReader reader(run.decomposition, *data_, *run.lanes,
                           {.rows = at_once_, .limit = rows, .stop = observer.stop});
  ReadingForecast forecast{
      .positions = positions(), .rows = rows, .row_length = length, .batch_rows = at_once_};
  for (std::int64_t k = 0; k < 2 && reader.rows_of(k) > 0;
       ++k) {  // the first makes what the others use again
    const auto start = std::chrono::steady_clock::now();
    const Batch batch = reader.read(k);
    visit(batch);
    synchronize(device);
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    forecast.seconds =
        spent.count() * static_cast<double>(positions()) / static_cast<double>(batch.positions());
  }
  forecast.memory_bytes = peak_memory_bytes(device);
  forecast.device = describe_device(device);
  forecast.warnings = run.warnings;
  return forecast;
}

Json RowSource::about(const Observer& observer) const {
  return {{"split", chosen_.split},
          {"rows", rows},
          {"row_length", length},
          {"tokens", hashes_of_rows(run, chosen_.split, observer)}};
}

}  // namespace vpd
