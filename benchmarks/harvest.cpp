// Times a harvest against the clean passes and importances that it needs, batch by batch in turn. Prints one
// JSON object. The run's held-out rows are read, and nothing is written.

#include "vpd/interpretation/harvest.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "median.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/base/version.hpp"
#include "vpd/decomposition/opened_run.hpp"
#include "vpd/machine/memory.hpp"
#include "vpd/machine/numerics.hpp"

namespace {

using namespace vpd;
using Clock = std::chrono::steady_clock;

struct Options {
  std::filesystem::path run;
  std::vector<std::string> overrides;
  int threads = 0;
  std::int64_t batches = 16;
};

void measure(const Options& options) {
  std::vector<std::string> overrides = {"precision=fp32"};
  overrides.insert(overrides.end(), options.overrides.begin(), options.overrides.end());
  OpenedRun run(options.run, {.overrides = overrides, .threads = options.threads});
  const std::int64_t T = run.eval->length(), columns = run.decomposition.sites.total_C();
  const std::int64_t rows = suitable_harvest_rows(columns, T, run.decomposition.target->vocabulary_size());
  run.compute_with(rows);
  HarvestSettings settings;
  settings.output_tokens = suitable_output_tokens(columns, run.decomposition.target->vocabulary_size());
  Harvest harvest(run.decomposition, T, settings);
  const BatchReader reader(run.decomposition, *run.eval, *run.lanes, {.rows = rows});
  std::vector<double> passes, harvests, ratios;
  std::int64_t positions = 0;
  for (std::int64_t k = 0; k < options.batches && reader.rows_of(k) == rows; ++k) {
    Clock::time_point start = Clock::now();
    const Batch batch = reader.read(k);
    synchronize(run.numerics.device);
    const double pass = seconds_since(start);
    start = Clock::now();
    harvest.add(batch);
    const double added = seconds_since(start);
    if (k == 0) continue;  // sets libraries and tables up
    passes.push_back(pass);
    harvests.push_back(added);
    ratios.push_back((pass + added) / pass);
    positions += batch.positions();
  }
  VPD_CHECK(!passes.empty(), UsageError, "{}: expected more than one batch of {} rows, found fewer",
            options.run.string(), rows);
  const double all = static_cast<double>(positions) / static_cast<double>(passes.size());
  const auto [low, high] = std::minmax_element(ratios.begin(), ratios.end());
  const nlohmann::ordered_json document = {
      {"what", "harvest against the clean pass with importances, batch by batch"},
      {"run", options.run.filename().string()},
      {"version", git_revision()},
      {"device", describe_device(run.numerics.device)},
      {"lanes", run.lanes->count()},
      {"batches", passes.size()},
      {"positions_a_batch", all},
      {"subcomponents", columns},
      {"fire_a_position", harvest.firings() / static_cast<double>(harvest.positions())},
      {"output_tokens", harvest.settings().output_tokens},
      {"clean_pass_us_a_position", 1e6 * median(passes) / all},
      {"harvest_us_a_position", 1e6 * median(harvests) / all},
      {"ratio", {{"median", median(ratios)}, {"least", *low}, {"most", *high}}}};
  std::puts(document.dump(1).c_str());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times a harvest against the passes that it needs", "harvest");
  Options options;
  app.add_option("run", options.run, "Run directory")->required();
  app.add_option("--set", options.overrides, "key=value of the run's configuration")->allow_extra_args(false);
  app.add_option("--threads", options.threads, "CPU threads");
  app.add_option("--batches", options.batches, "Batches, the first of which is not counted")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  vpd::keep_freed_memory();  // as the program does
  try {
    measure(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "harvest: %s\n", error.what());
    return 1;
  }
  return 0;
}
