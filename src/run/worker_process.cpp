#include "worker_process.hpp"

#include "machine/stop_vote.hpp"
#include "training_job.hpp"
#include "vpd/base/error.hpp"
#include "vpd/training/checkpoint.hpp"
#include "vpd/training/loop.hpp"

namespace vpd {

namespace fs = std::filesystem;

void check_told_alike(const DecomposeOptions& options, Processes& processes) {
  if (processes.alone()) return;
  std::string own = fmt::format("config {}", options.config.string());
  if (options.out) own += fmt::format(", --out {}", options.out->string());
  if (options.resume) own += fmt::format(", --resume {}", options.resume->string());
  if (options.continue_run) own += ", --continue";
  if (options.checkpoint) own += fmt::format(", --checkpoint {}", *options.checkpoint);
  for (const std::string& override : options.overrides) {
    if (!override.starts_with("device=")) own += fmt::format(", --set {}", override);
  }
  const std::string first = processes.broadcast(processes.writes() ? own : "");
  VPD_CHECK(
      first == own, UsageError,
      "expected the options of process 0 ({}), with which this process would train one run together, found "
      "{}; for runs of their own start each as one process (with --alone, or srun -n 1)",
      first, own);
}

void tell_configuration(Processes& processes, const RunConfig& config, const std::string& config_name) {
  check_division(config, processes.count(), config_name);
  processes.broadcast(processes.alone() ? std::string() : to_json(config));
}

void tell_run(Processes& processes, const fs::path& checkpoint, const fs::path& run) {
  processes.broadcast(checkpoint.string());
  processes.broadcast(run.string());
}

fs::path run_as_worker(const DecomposeOptions& options, const Observer& observer, Processes& processes) {
  const std::string config_name = "the configuration of process 0";
  TrainingJob job(parse_run_config(processes.broadcast(""), config_name), config_name, options.threads,
                  processes, options.launch.local_rank, observer);
  std::optional<std::int64_t> resumed_at;
  const fs::path checkpoint = processes.broadcast("");
  if (!checkpoint.empty()) {
    resumed_at = load_checkpoint(checkpoint, job.decomposition, job.step).step;
  } else if (job.config.initialize_from) {
    load_weights(job.decomposition, *job.config.initialize_from);
  }
  const fs::path run = processes.broadcast("");
  job.step.share();

  // An evaluation is not divided: every metric would need a rule of its own for putting parts together, and
  // attacks on sources that rows share would need all rows at each step.
  StopVote vote(processes, observer.stop);
  LoopHooks hooks;
  hooks.stop = [&] { return vote(); };
  hooks.evaluate = [&](std::int64_t, bool) { return processes.by_first(); };
  hooks.checkpoint = [&](std::int64_t) {
    job.step.state();  // gives process 0 what is here alone
    processes.meet();
  };
  if (run_loop(job.step, job.config, job.rows_to_train_on(), job.numerics.device, resumed_at, hooks) !=
      LoopEnd::finished)
    throw Interrupted("interrupted together with process 0");
  return run;
}

}  // namespace vpd
