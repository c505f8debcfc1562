#include "training_job.hpp"

#include <algorithm>

#include "base/slow_work.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/evaluation/evaluate.hpp"
#include "vpd/io/data.hpp"

namespace vpd {
namespace {

std::unique_ptr<Dataset> open_data(DataRole role, std::int64_t rows_a_step, const TrainingJob& job,
                                   const std::string& file, const Observer& observer) {
  auto data = open_dataset(job.config, role, job.decomposition.target->input(), file, rows_a_step);
  if (!job.processes.writes()) return data;
  data->scan(announce(observer, "checking " + data->describe(), data->bytes_to_scan()));
  return data;
}

/// Rows, of so many of a batch, that a process computes with at once.
std::int64_t rows_at_once(const TrainingConfig& training, std::int64_t batch, int processes) {
  const std::int64_t rows = batch / processes;
  return std::min(training.micro_batch_size.value_or(rows), rows);
}

/// The fewest of both streams.
std::int64_t fewest_rows_at_once(const RunConfig& config, int processes) {
  const std::int64_t rows = rows_at_once(config.training, config.training.batch_size, processes),
                     background = config.background_rows();
  return background == 0 ? rows : std::min(rows, rows_at_once(config.training, background, processes));
}

int lanes_to_use(const TrainingJob& job) {
  return suitable_lanes(job.decomposition, fewest_rows_at_once(job.config, job.processes.count()),
                        job.threads.get());
}

}  // namespace

void check_division(const RunConfig& config, int processes, const std::string& config_name) {
  const TrainingConfig& training = config.training;
  VPD_CHECK(
      training.batch_size % processes == 0, ConfigError,
      "{}: training.batch_size: expected a multiple of the number of processes, which is {}, since each "
      "takes as many rows, found {}",
      config_name, processes, training.batch_size);
  VPD_CHECK(
      config.background_rows() % processes == 0, ConfigError,
      "{}: training.background_batch_size: expected a multiple of the number of processes, which is {}, "
      "found {}",
      config_name, processes, config.background_rows());
  const std::int64_t rows = training.batch_size / processes;
  VPD_CHECK(
      rows % rows_at_once(training, training.batch_size, processes) == 0, ConfigError,
      "{}: training.micro_batch_size: expected a divisor of the {} rows that each of {} processes takes, "
      "found {}",
      config_name, rows, processes, rows_at_once(training, training.batch_size, processes));
  VPD_CHECK(
      processes == 1 || !config.device.starts_with("cuda:"), ConfigError,
      "{}: device: expected auto, cuda or cpu with {} processes, each of which takes the GPU of its number, "
      "found {}",
      config_name, processes, config.device);
  VPD_CHECK(
      processes == 1 || !training.cuda_graph, ConfigError,
      "{}: training.cuda_graph: expected false with {} processes, whose sums a captured step would hold, "
      "found true",
      config_name, processes);
}

TrainingJob::TrainingJob(RunConfig run_config, const std::string& config_name, int wanted_threads,
                         Processes& run_processes, int local_rank, const Observer& observer)
    : threads(wanted_threads),
      config(std::move(run_config)),
      processes(run_processes),
      warnings(vpd::warnings(config)),
      numerics(resolve_numerics(config.device, config.precision, local_rank)),
      decomposition(make_decomposition(config, numerics, config_name, warnings)),
      train(open_data(DataRole::train, config.training.batch_size, *this, config_name, observer)),
      eval(open_data(DataRole::eval, 0, *this, config_name, observer)),
      background(config.data.background
                     ? open_data(DataRole::background, config.background_rows(), *this, config_name, observer)
                     : nullptr),
      background_to_evaluate(
          background ? open_dataset(config, DataRole::background, decomposition.target->input(), config_name)
                     : nullptr),
      threads_per_lane(std::max(1, threads.get() / lanes_to_use(*this))),
      lanes(lanes_to_use(*this), threads_per_lane),
      step(decomposition, config, train->length(), lanes, processes) {
  if (const auto shared = warning_of_shared_files(*train, *eval)) warnings.push_back(*shared);
  check_metrics(decomposition, config, config_name);
  processes.use_device(numerics.device);
  processes.meet();  // what is wrong with one of them is found before anything is written
}

std::vector<std::string> describe(const TrainingJob& job) {
  const RunConfig& config = job.config;
  const Decomposition& d = job.decomposition;
  const auto count = [](std::int64_t n) { return human_count(static_cast<double>(n)); };
  std::vector<std::string> lines;
  const auto line = [&](const char* name, const std::string& text) {
    lines.push_back(fmt::format("{:<18} {}", name, text));
  };

  std::string device = describe_device(job.numerics.device);
  if (job.numerics.device.is_cpu()) {
    device += fmt::format(", {} lane{} of {} thread{}", job.lanes.count(), job.lanes.count() == 1 ? "" : "s",
                          job.threads_per_lane, job.threads_per_lane == 1 ? "" : "s");
  }
  const int processes = job.processes.count();
  if (processes > 1) {
    line("processes", fmt::format("{}, each with {} of the {} rows of a batch", processes,
                                  job.step.rows().size(), config.training.batch_size));
    device = "each " + device;
  }
  line("device", fmt::format("{}; matrix products in {}", device,
                             job.numerics.compute == at::kBFloat16 ? "bf16" : "fp32"));
  line("target", std::visit([](const auto& target) { return target.path.string(); }, config.target));
  line("sites", fmt::format("{}, with {} subcomponents for {} weights", d.sites.size(), d.sites.total_C(),
                            count(d.sites.entries())));
  line("parameters", fmt::format("{} in U and V, {} in causal importance", count(d.components.count()),
                                 count(d.ci_parameters.count())));
  if (config.initialize_from) line("initialize_from", config.initialize_from->string());
  const TrainingConfig& training = config.training;
  line("data", fmt::format("{} to train on, {} to evaluate on", job.train->describe(), job.eval->describe()));
  if (job.background) line("background", job.background->describe());
  std::vector<std::string> terms;
  for (const TermConfig& term : config.objective)
    terms.push_back(fmt::format("{:g} {}", coefficient_of(term).largest(), label(term)));
  line("objective", join_words(terms, " + "));
  const std::string rows = job.train->kind() == InputKind::tokens
                               ? fmt::format("{} × {} tokens", training.batch_size, job.train->length())
                               : fmt::format("{} rows", training.batch_size);
  std::string steps = fmt::format("{} of {}", training.steps, rows);
  if (job.background)
    steps +=
        fmt::format(" and {} × {} of the background", config.background_rows(), job.background->length());
  if (training.micro_batch_size) steps += fmt::format(", {} rows at once", *training.micro_batch_size);
  if (training.faithfulness_warmup.steps > 0) {
    steps += fmt::format(", after {} of faithfulness warm-up", training.faithfulness_warmup.steps);
  }
  line("steps", steps);
  return lines;
}

}  // namespace vpd
