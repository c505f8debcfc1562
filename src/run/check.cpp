#include "vpd/run/check.hpp"

#include <ATen/ATen.h>

#include "thread_number.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/safetensors.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/run/machine.hpp"
#include "vpd/target/target.hpp"
#include "vpd/training/data.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

void check_parameters(const fs::path& path, const ParameterSet& parameters) {
  const SafetensorsFile file(path);
  for (std::size_t i = 0; i < parameters.size(); ++i)
    check_header(file, parameters.spec(i).name, parameters.spec(i).shape);
}

CheckedData check_data(DataRole role, const DataSource& source, const InputShape& input, std::uint64_t seed,
                       const std::string& file, const Observer& observer) {
  const std::string name = role == DataRole::train ? "train" : "eval";
  const auto data = open_dataset(source, input, seed, role, fmt::format("{}: data.{}", file, name));
  const auto* tokens = dynamic_cast<const TokenDataset*>(data.get());
  observer.announce(tokens ? fmt::format("reading the {} tokens of data.{}",
                                         human_count(static_cast<double>(tokens->tokens())), name)
                           : fmt::format("checking data.{}", name));
  data->scan(observer.stop);
  if (tokens) {
    return {.role = name,
            .made = {},
            .path = std::get<TokensData>(source).path,
            .files = tokens->shards().size(),
            .tokens = tokens->tokens(),
            .rows = tokens->sequences()};
  }
  return {.role = name, .made = data->describe(), .path = {}};
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
  const DataConfig& data = report.config.data;
  const std::string file = options.config.string();
  report.data.push_back(
      check_data(DataRole::train, data.train, target.input(), report.config.seed, file, observer));
  report.data.push_back(
      check_data(DataRole::eval, data.eval, target.input(), report.config.seed, file, observer));
  return report;
}

}  // namespace vpd
