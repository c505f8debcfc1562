#include "vpd/run/check.hpp"

#include <ATen/ATen.h>

#include "base/slow_work.hpp"
#include "machine/thread_number.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/data.hpp"
#include "vpd/io/safetensors.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/machine/memory.hpp"
#include "vpd/target/target.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

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
  const std::uint64_t seed = report.config.seed;
  const auto train = open_dataset(data.train, input, seed, DataRole::train, file + ": data.train");
  const auto eval = open_dataset(data.eval, input, seed, DataRole::eval, file + ": data.eval");
  if (const auto shared = warning_of_shared_files(*train, *eval)) report.warnings.push_back(*shared);
  report.data.push_back(check_data("train", data.train, *train, observer));
  report.data.push_back(check_data("eval", data.eval, *eval, observer));
}

}  // namespace

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
  const ThreadNumber threads(options.threads);
  report.threads = threads.get();
  report.threads_bound = threads.bound();

  observer.announce("reading the target's shapes");
  const Architecture target = describe_target(report.config.target, report.warnings);
  report.workload = make_workload(report.config, target, numerics, report.threads, options.config.string());
  if (report.config.initialize_from) {
    check_parameters(*report.config.initialize_from / components_file, report.workload.components);
    check_parameters(*report.config.initialize_from / causal_importance_file, report.workload.ci_parameters);
  }

  if (!report.workload.ci->cost(report.workload.B() * report.workload.T, report.workload.T)) {
    report.warnings.emplace_back(
        "the causal-importance function does not say what it costs (CausalImportance::cost): its operations "
        "and activations are not counted");
  }
  report.operations = count_operations(report.workload);
  report.memory = predict_memory(report.workload);
  if (!elsewhere) {
    MemoryLimit limit = usable_memory(numerics.device);
    report.available = limit.bytes;
    report.available_giver = std::move(limit.giver);
  }
  if (numerics.device.is_cpu()) {
    observer.announce("measuring what the program itself takes");
    std::int64_t itself = resident_bytes();
    try {
      itself = program_bytes(numerics.device, report.threads, report.workload.lanes);
    } catch (const std::exception& error) {  // of memory, say: the rest of the report does not hang on it
      report.warnings.push_back(
          fmt::format("what the program itself takes could not be measured, and is counted as the {} that it "
                      "holds now: a step of a tiny model failed ({})",
                      human_bytes(static_cast<double>(itself)), error.what()));
    }
    report.memory.insert(report.memory.begin(), {"the program itself", itself});
    // Loading the libraries touches more pages than stay: with a small model that is the peak.
    const std::int64_t at_start = peak_resident_bytes() - total(report.memory);
    if (at_start > 0) report.memory.push_back({"loading the program's libraries, beyond that", at_start});
  }
  check_data(report, target.input(), options.config.string(), observer);
  return report;
}

}  // namespace vpd
