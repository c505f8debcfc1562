#include "vpd/run/harvest.hpp"

#include <algorithm>

#include <unistd.h>

#include "harvest_part.hpp"
#include "interpretation/output_mass.hpp"
#include "interpretation/sparse_cache.hpp"
#include "planned_pass.hpp"
#include "token_rows.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/base/text.hpp"
#include "vpd/cost/harvest.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/machine/memory.hpp"
#include "vpd/machine/processes.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

constexpr std::int64_t default_positions = 1'000'000;

PassChoice on_device(PassChoice choice, std::optional<std::string> device) {
  choice.device = std::move(device);
  return choice;
}

/// The rows that are read, and how.
struct HarvestRows {
  std::unique_ptr<Dataset> owned;
  const Dataset* data = nullptr;
  std::int64_t rows = 0;   ///< in all
  std::int64_t batch = 0;  ///< at once
  std::int64_t batches() const { return (rows + batch - 1) / batch; }
};

void check_options(const HarvestOptions& options) {
  check_rows_choice(options);
  VPD_CHECK(!(options.shard && options.launch.count > 1), UsageError,
            "--shard: expected no shard of a command that {} processes share, found one",
            options.launch.count);
  VPD_CHECK(
      !(options.shard && options.merge), UsageError,
      "--merge: expected no --shard beside it, since it puts the parts of all shards together, found one");
  VPD_CHECK(!(options.sparse && (options.shard || options.merge || options.launch.count > 1)), UsageError,
            "--sparse: expected one process without --shard, found several parts");
  const double threshold = options.settings.threshold;
  VPD_CHECK(threshold >= 0.0 && threshold < 1.0, UsageError,
            "--threshold: expected a number of at least 0 and below 1, found {:g}", threshold);
}

/// Rows for so many positions, of those that there are.
std::int64_t rows_for(const HarvestOptions& options, const Dataset& data, const DataConfig& of_run,
                      std::vector<std::string>& warnings) {
  require_one_length(data, of_run);
  const std::int64_t T = data.length();
  const std::int64_t wanted = (options.positions.value_or(default_positions) + T - 1) / T;
  const std::int64_t rows = std::min(wanted, data.rows().value_or(wanted));
  VPD_CHECK(rows > 0, DataError, "{}: expected rows to harvest, found none", data.describe());
  VPD_CHECK(rows <= most_harvest_positions / T, UsageError,
            "--positions: expected at most {}, up to which the counts of a harvest are exact, found {}",
            most_harvest_positions, options.positions.value_or(default_positions));
  if (options.positions && rows < wanted)
    warnings.push_back(
        fmt::format("--positions {}: there are only {}, and all are taken", *options.positions, rows * T));
  return rows;
}

HarvestRows open_rows(const HarvestOptions& options, OpenedRun& run, std::vector<std::string>& warnings) {
  HarvestRows rows;
  if (options.split == "train") rows.owned = run.open_train();
  rows.data = rows.owned ? rows.owned.get() : run.eval.get();
  rows.rows = rows_for(options, *rows.data, run.config.data, warnings);
  rows.batch = std::min(options.batch_rows.value_or(
                            suitable_harvest_rows(run.decomposition.sites.total_C(), rows.data->length(),
                                                  run.decomposition.target->vocabulary_size())),
                        rows.rows);
  run.compute_with(rows.batch);
  return rows;
}

/// Everything that the tables depend on.
Json settings_of(const HarvestOptions& options, const Harvest& harvest, const HarvestRows& rows,
                 const Json& weights, const Json& tokens) {
  Json settings = to_json(harvest.settings());
  settings["rows"] = rows.rows;
  settings["row_length"] = rows.data->length();
  settings["batch_rows"] = rows.batch;
  settings["split"] = options.split;
  settings["weights"] = weights;
  settings["overrides"] = options.overrides;
  settings["sparse"] = options.sparse.has_value();
  Json hashes = Json::array();
  for (const Json& file : tokens) hashes.push_back(file["sha256"]);
  settings["tokens"] = hashes;
  return settings;
}

class HarvestJob {
 public:
  HarvestJob(const HarvestOptions& options, const Observer& observer, Processes& processes)
      : options_(options),
        observer_(observer),
        processes_(processes),
        run_(options.run, open_options(on_device(options, device())), observer),
        warnings_(run_.warnings),
        rows_(open_rows(options, run_, warnings_)),
        weights_(weight_hashes(run_.checkpoint.path, observer)),
        tokens_(hashes_of_rows(run_, options.split, observer)),
        harvest_(make_harvest()),
        settings_(settings_of(options, harvest_, rows_, weights_, tokens_)),
        results_(results_path(run_.directory, run_.checkpoint.step)),
        parts_(results_ / "harvest.parts") {
    processes.use_device(run_.numerics.device);
  }

  HarvestResult run() {
    const Clock::time_point start = Clock::now();
    if (!options_.merge) gather(shard());
    const bool share = processes_.count() > 1;
    if (share) processes_.meet();
    const bool merges = options_.merge || (share && processes_.writes());
    if (merges) merge();
    const bool whole = merges || shard().count == 1;
    if (whole) publish();
    HarvestResult result{.directory = whole ? results_ / "harvest" : part_path_, .complete = whole};
    result.step = run_.checkpoint.step;
    result.positions = harvest_.positions();
    result.rows = harvest_.rows();
    result.alive = harvest_.alive();
    result.columns = run_.decomposition.sites.total_C();
    result.firings =
        harvest_.firings() / static_cast<double>(std::max<std::int64_t>(1, harvest_.positions()));
    result.seconds = seconds_since(start);
    result.warnings = warnings_;
    return result;
  }

 private:
  HarvestShard shard() const {
    if (options_.shard) return *options_.shard;
    return {.index = processes_.rank(), .count = processes_.count()};
  }

  /// One of several processes takes the GPU of its number.
  std::optional<std::string> device() const {
    const std::string wanted = options_.device.value_or("auto");
    if (processes_.alone() || !has_cuda() || (wanted != "auto" && wanted != "cuda")) return options_.device;
    return fmt::format("cuda:{}", options_.launch.local_rank);
  }

  Harvest make_harvest() const {
    HarvestSettings settings = options_.settings;
    settings.output_tokens = options_.output_tokens.value_or(suitable_output_tokens(
        run_.decomposition.sites.total_C(), run_.decomposition.target->vocabulary_size()));
    return Harvest(run_.decomposition, rows_.data->length(), settings);
  }

  void load(const fs::path& state) {
    harvest_.load(state);
    if (sparse_) sparse_->load(state);
  }

  void gather(const HarvestShard& shard) {
    if (options_.sparse) prepare(*options_.sparse);
    if (options_.sparse) sparse_.emplace(run_.decomposition.sites, harvest_.settings().threshold);
    const HarvestPart part(parts_, shard, settings_);
    part_path_ = part.path();
    if (shard.count == 1) used_ = {part_path_};
    std::int64_t next = shard.index;
    if (const auto state = part.latest()) {
      observer_.announce(fmt::format("going on from batch {} of {}", state->next, rows_.batches()));
      load(state->path);
      if (state->done) return;
      next = state->next;
    }
    const auto save = [&](bool done) {
      part.save(next, done, [&](const fs::path& directory) {
        harvest_.save(directory);
        if (sparse_) sparse_->save(directory);
      });
    };
    const BatchReader reader(run_.decomposition, *rows_.data, *run_.lanes,
                             {.rows = rows_.batch, .limit = rows_.rows});
    const Clock::time_point start = Clock::now();
    Clock::time_point saved = start;
    const std::int64_t seen = harvest_.positions(), all = positions_of(shard);
    for (; next < rows_.batches(); next += shard.count) {
      if (observer_.stop && observer_.stop()) {
        save(false);
        throw Interrupted(
            fmt::format("the harvest was interrupted after {} of {} positions, which are saved: run the same "
                        "command to go on",
                        harvest_.positions(), all));
      }
      if (Clock::now() - saved >= options_.save_every) {
        save(false);
        saved = Clock::now();
      }
      tell(all, seen, seconds_since(start));
      const Batch batch = reader.read(next);
      harvest_.add(batch);
      if (sparse_) sparse_->add(batch);
    }
    if (shard.count > 1) save(true);
  }

  /// Before hours of work rather than after.
  static void prepare(const fs::path& directory) {
    std::error_code error;
    fs::create_directories(directory, error);
    VPD_CHECK(!error && ::access(directory.c_str(), W_OK) == 0, DataError,
              "--sparse {}: expected a place for a new directory, found {}", directory.string(),
              error ? error.message() : "one that cannot be written to");
    VPD_CHECK(fs::is_empty(directory, error), DataError,
              "--sparse {}: expected a new or an empty directory, found files in it; choose another",
              directory.string());
  }

  std::int64_t positions_of(const HarvestShard& shard) const {
    std::int64_t rows = 0;
    for (std::int64_t k = shard.index; k < rows_.batches(); k += shard.count)
      rows += std::min(rows_.batch, rows_.rows - k * rows_.batch);
    return rows * rows_.data->length();
  }

  void tell(std::int64_t all, std::int64_t before, double seconds) const {
    if (!observer_.status) return;
    const std::int64_t done = harvest_.positions();
    std::string line = fmt::format("harvesting: {} of {} positions", human_count(static_cast<double>(done)),
                                   human_count(static_cast<double>(all)));
    if (done > before) {
      line += fmt::format(", {} left", human_duration(seconds * static_cast<double>(all - done) /
                                                      static_cast<double>(done - before)));
    }
    observer_.status(line);
  }

  void merge() {
    observer_.announce("putting the parts together");
    harvest_ = make_harvest();
    for (const HarvestShard& shard : shards_of(parts_, processes_.alone() ? 0 : processes_.count())) {
      const HarvestPart part(parts_, shard, settings_);
      used_.push_back(part.path());
      const auto state = part.latest();
      VPD_CHECK(state && state->done, DataError,
                "{}: expected a finished part, found one that is not: run `vpd harvest {} --shard {}/{}` to "
                "its end first",
                part.path().string(), shell_quoted(options_.run.string()), shard.index, shard.count);
      Harvest one = make_harvest();
      one.load(state->path);
      harvest_.merge(one);
    }
  }

  void publish() {
    observer_.announce("writing the tables");
    Json about = about_result(options_.command_line, run_.checkpoint.step, weights_, warnings_);
    about["settings"] = settings_;
    about["tokens"] = tokens_;
    about["positions"] = harvest_.positions();
    about["rows"] = harvest_.rows();
    about["row_length"] = rows_.data->length();
    about["alive"] = harvest_.alive();
    about["partners"] = options_.partners;
    Json sites = Json::array();
    static constexpr const char* roles[] = {"", "reads", "writes"};
    const std::vector<StreamRole> stream = stream_roles(run_.decomposition);
    for (std::size_t i = 0; i < stream.size(); ++i) {
      const Site& site = run_.decomposition.sites[i];
      sites.push_back({{"name", site.name},
                       {"C", site.C},
                       {"offset", site.offset},
                       {"d_in", site.d_in},
                       {"d_out", site.d_out},
                       {"stream", roles[static_cast<int>(stream[i])]}});
    }
    about["sites"] = sites;
    publish_result(results_ / "harvest", [&](const fs::path& directory) {
      harvest_.write_tables(directory, options_.partners);
      write_about(directory, about);
    });
    if (sparse_) {
      const fs::path target =
          std::visit([](const auto& one) -> const fs::path& { return one.path; }, run_.config.target);
      sparse_->write(*options_.sparse, target.string(), options_.split,
                     tokens_.empty() ? "" : tokens_[0]["path"].get<std::string>());
    }
    // Those of other harvests stay.
    std::error_code ignored;
    for (const fs::path& part : used_) fs::remove_all(part, ignored);
    fs::remove(parts_, ignored);
  }

  const HarvestOptions& options_;
  const Observer& observer_;
  Processes& processes_;
  OpenedRun run_;
  std::vector<std::string> warnings_;
  HarvestRows rows_;
  Json weights_, tokens_;
  Harvest harvest_;
  Json settings_;
  fs::path results_, parts_, part_path_;
  std::vector<fs::path> used_;  ///< parts that the tables are made of
  std::optional<SparseCache> sparse_;
};

}  // namespace

HarvestResult harvest_run(const HarvestOptions& options, const Observer& observer) {
  check_options(options);
  Processes processes(options.launch, std::chrono::minutes(10), observer.stop);
  try {
    return HarvestJob(options, observer, processes).run();
  } catch (const Interrupted& interrupted) {
    processes.fail(interrupted);
    throw;
  } catch (const Error& error) {
    processes.fail(error.what(), error.exit_code());
    throw;
  }
}

HarvestForecast forecast_harvest(const HarvestOptions& options, const Observer& observer) {
  check_options(options);
  std::vector<std::string> warnings;
  const PlannedPass planned(options, warnings);
  const StepShape& step_shape = planned.step_shape();
  const Architecture& architecture = step_shape.target;
  HarvestForecast forecast{.rows = rows_for(options, planned.data(), planned.config().data, warnings),
                           .T = step_shape.T,
                           .columns = step_shape.sites.total_C()};
  forecast.positions = forecast.rows * forecast.T;
  forecast.batch_rows =
      std::min(options.batch_rows.value_or(suitable_harvest_rows(
                   forecast.columns, forecast.T, architecture.features > 0 ? 0 : architecture.output_width)),
               forecast.rows);
  forecast.output_tokens =
      options.output_tokens.value_or(suitable_output_tokens(forecast.columns, architecture.output_width));
  forecast.alive = (forecast.columns + 1) / 2;
  forecast.l0 = static_cast<double>(std::min<std::int64_t>(200, forecast.alive));
  const HarvestCost cost = predict_harvest(step_shape, {.rows = forecast.batch_rows,
                                                        .positions = forecast.positions,
                                                        .alive = forecast.alive,
                                                        .l0 = forecast.l0,
                                                        .output_tokens = forecast.output_tokens,
                                                        .window = options.settings.window,
                                                        .examples = options.settings.examples,
                                                        .strongest = options.settings.strongest});
  forecast.operations_a_position = cost.operations;
  // What the program holds before it has read a weight.
  const std::int64_t program = step_shape.numerics.device.is_cpu() ? peak_resident_bytes() : 0;
  forecast.memory_bytes = program + cost.memory_bytes();
  forecast.merge_memory_bytes = program + cost.merge_memory_bytes();
  forecast.disk_bytes = cost.disk_bytes;
  forecast.device = describe_device(planned.numerics().device);
  forecast.seconds = planned.seconds(static_cast<double>(forecast.positions) * cost.operations,
                                     forecast.batch_rows, observer);
  forecast.warnings = warnings;
  return forecast;
}

}  // namespace vpd
