#include "vpd/run/check.hpp"

#include <algorithm>
#include <chrono>

#include <ATen/ATen.h>

#include "base/slow_work.hpp"
#include "machine/scoped_thread_count.hpp"
#include "training_job.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/base/text.hpp"
#include "vpd/cost/product_peak.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/data.hpp"
#include "vpd/io/safetensors.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/machine/memory.hpp"
#include "vpd/target/target.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

/// What steps reach of the speed of matrix products: 0.33 to 0.67 was measured (docs/performance.md).
constexpr double typical_share_of_peak = 0.5;

void check_parameters(const fs::path& path, const ParameterSet& parameters) {
  const SafetensorsFile file(path);
  for (std::size_t i = 0; i < parameters.size(); ++i)
    check_header(file, parameters.spec(i).name, parameters.spec(i).shape);
}

CheckedData check_data(const std::string& role, const DataSource& source, const Dataset& data,
                       const Observer& observer) {
  data.scan(
      announce(observer, fmt::format("checking data.{}, {}", role, data.describe()), data.bytes_to_scan()));
  if (const auto* tokens = dynamic_cast<const TokenDataset*>(&data)) {
    return {.role = role,
            .made = {},
            .path = std::get<TokensData>(source).path,
            .files = tokens->shards().size(),
            .tokens = tokens->tokens(),
            .rows = tokens->sequences()};
  }
  return {.role = role, .made = data.describe(), .path = {}};
}

void check_data(CheckReport& report, const InputShape& input, const std::string& file,
                const Observer& observer) {
  const DataConfig& data = report.config.data;
  const auto train = open_dataset(report.config, DataRole::train, input, file);
  const auto eval = open_dataset(report.config, DataRole::eval, input, file);
  if (const auto shared = warning_of_shared_files(*train, *eval)) report.warnings.push_back(*shared);
  report.data.push_back(check_data("train", data.train, *train, observer));
  report.data.push_back(check_data("eval", data.eval, *eval, observer));
  if (!data.background) return;
  const auto background = open_dataset(report.config, DataRole::background, input, file);
  report.data.push_back(check_data("background", *data.background, *background, observer));
}

/// The first step sets libraries up and is not counted.
MeasuredStep measure_steps(const CheckReport& report, const CheckOptions& options, const Observer& observer) {
  using Clock = std::chrono::steady_clock;
  constexpr std::int64_t steps = 4;
  observer.announce("building the run");
  TrainingJob job(report.config, options.config.string(), options.threads, Processes::none(), 0, observer);
  if (report.config.initialize_from) load_weights(job.decomposition, *report.config.initialize_from);
  const std::int64_t B = report.config.training.batch_size;
  MeasuredStep measured;
  for (std::int64_t s = 0; s < steps; ++s) {
    end_if_asked(observer.stop, "the measurement");
    observer.announce(fmt::format("making step {} of {}", s + 1, steps));
    const at::Tensor batch = job.train->batch(s * B, B);
    const std::int64_t rows = report.config.background_rows();
    const at::Tensor more = job.background ? job.background->batch(s * rows, rows) : at::Tensor();
    const Clock::time_point start = Clock::now();
    const StepResult result = job.step.run(batch, s, /*want_l0=*/false, more);
    synchronize(job.numerics.device);
    const double seconds = seconds_since(start);
    job.step.check(result, s);
    if (s == 1 || (s > 1 && seconds < measured.seconds)) measured.seconds = seconds;
  }
  measured.peak_bytes = peak_memory_bytes(job.numerics.device);
  return measured;
}

}  // namespace

std::optional<double> CheckReport::step_seconds() const {
  if (measured) return measured->seconds;
  if (product_peak <= 0.0) return std::nullopt;
  return total(operations) / (typical_share_of_peak * product_peak);
}

CheckReport check_run(const CheckOptions& options, const Observer& observer) {
  CheckReport report;
  report.config = load_run_config(options.config, options.overrides);
  if (options.device) report.config.device = *options.device;
  check(report.config);
  report.warnings = warnings(report.config);
  const bool elsewhere = report.config.device.starts_with("cuda") && !has_cuda();
  const Numerics numerics = elsewhere ? numerics_on(at::Device(report.config.device), report.config.precision)
                                      : resolve_numerics(report.config.device, report.config.precision);
  report.device = elsewhere ? numerics.device.str() : describe_device(numerics.device);
  const ScopedThreadCount threads(options.threads);
  report.threads = threads.get();
  report.threads_bound = threads.bound();

  observer.announce("reading the target's shapes");
  VPD_CHECK(!options.without_weights || !options.measure, UsageError,
            "--without-weights and --measure exclude each other: steps need the weights");
  const Architecture target = options.without_weights
                                  ? describe_planned_target(report.config.target, report.warnings)
                                  : describe_target(report.config.target, report.warnings);
  report.step_shape =
      make_step_shape(report.config, target, numerics, report.threads, options.config.string());
  if (report.config.initialize_from) {
    check_parameters(*report.config.initialize_from / components_file, report.step_shape.components);
    check_parameters(*report.config.initialize_from / causal_importance_file,
                     report.step_shape.ci_parameters);
  }

  if (!report.step_shape.ci->cost(report.step_shape.B() * report.step_shape.T, report.step_shape.T)) {
    report.warnings.emplace_back(
        "the causal-importance function does not say what it costs (CausalImportance::cost): its operations "
        "and activations are not counted");
  }
  report.operations = count_operations(report.step_shape);
  report.memory = predict_memory(report.step_shape);
  if (!elsewhere) {
    MemoryLimit limit = usable_memory(numerics.device);
    report.available = limit.bytes;
    report.available_giver = std::move(limit.giver);
  }
  if (numerics.device.is_cpu()) {
    // The most that loading the libraries took, and the code and buffers that a step loads beside it.
    constexpr std::int64_t loaded_by_a_step = std::int64_t{40} << 20;
    report.memory.insert(report.memory.begin(),
                         {"the program itself", peak_resident_bytes() + loaded_by_a_step});
  }
  check_data(report, target.input(), options.config.string(), observer);
  if (elsewhere) {
    if (options.measure)
      report.warnings.push_back(
          fmt::format("--measure: no step can be made on {}, which is not here", report.device));
    return report;
  }
  observer.announce("measuring how fast matrix products are here");
  try {
    Lanes lanes(report.step_shape.lanes, std::max(1, report.threads / report.step_shape.lanes));
    report.product_peak = measure_product_peak(numerics, lanes, report.threads, /*quick=*/true);
  } catch (const std::exception& error) {  // of memory, say: the rest of the report does not hang on it
    report.warnings.push_back(fmt::format(
        "how long a run takes is not estimated: matrix products could not be timed ({})", error.what()));
  }
  if (options.measure) report.measured = measure_steps(report, options, observer);
  return report;
}

}  // namespace vpd
