#include "vpd/run/decompose.hpp"

#include <ctime>
#include <utility>

#include "decomposition/inputs.hpp"
#include "decomposition/provenance.hpp"
#include "run_log.hpp"
#include "status_keeper.hpp"
#include "training_job.hpp"
#include "training_run.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/host.hpp"
#include "vpd/base/text.hpp"
#include "vpd/base/version.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/known_files.hpp"
#include "vpd/io/run_directory.hpp"
#include "vpd/run/failure.hpp"
#include "vpd/training/checkpoint.hpp"
#include "worker_process.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

/// A directory of its own, also for runs that begin in the same second: made here, so that nobody else gets
/// it.
fs::path make_default_out(const fs::path& config) {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::localtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", &parts);
  const std::string name = (fs::path("runs") / fmt::format("{}-{}", config.stem().string(), text)).string();
  std::error_code error;
  fs::create_directories("runs", error);
  for (int number = 1; !error; ++number) {
    const std::string path = number == 1 ? name : fmt::format("{}-{}", name, number);
    if (fs::create_directory(path, error)) return path;
  }
  throw DataError(fmt::format("{}: cannot create the directory: {}; choose another place with --out", name,
                              error.message()));
}

std::vector<std::string> all_overrides(const DecomposeOptions& options) {
  std::vector<std::string> overrides = options.overrides;
  if (options.device) overrides.push_back("device=" + *options.device);
  return overrides;
}

/// V, U and causal importance that a new run starts from.
void load_start(TrainingJob& job) {
  verify_checkpoint(*job.config.initialize_from);
  load_weights(job.decomposition, *job.config.initialize_from);
}

/// The inputs that are still read: where a run started from is not, once it has a checkpoint.
std::vector<InputRole> inputs_to_resume(const RunConfig& config, bool has_checkpoint) {
  RunConfig read = config;
  if (has_checkpoint) read.initialize_from.reset();
  return input_roles(read);
}

/// What a job is observed by before it trains: other processes wait for process 0, which hears of theirs.
Observer job_observer(Processes& processes, const Observer& observer) {
  Observer own = observer;
  if (!processes.alone()) own.stop = [&processes] { return processes.asked_to_stop(); };
  return own;
}

void say_essentials(const TrainingJob& job, RunLog& log) {
  for (const std::string& warning : job.warnings)
    log.say(warning.starts_with("WARNING") ? warning : "warning: " + warning);
  for (const std::string& line : describe(job)) log.say(line);
}

/// A new directory with everything but checkpoints, or none at all.
RunDirectory create_run(const TrainingJob& job, const DecomposeOptions& options, RunLog& log) {
  // The slow part comes before there is a directory that a kill could leave.
  const Observer observer = job_observer(job.processes, log.observer());
  const Observer saying{[&](const std::string& line) { log.say(line); }, observer.status, observer.stop, {}};
  const std::vector<HashedRole> inputs = hash_inputs(input_roles(job.config), saying);
  const HashedFile config_file{fs::absolute(options.config), known_sha256(options.config)};
  const RunDirectory run =
      RunDirectory::create(options.out ? *options.out : make_default_out(options.config));
  try {
    log.open(run.log_path());  // the directory is ours from here on, or another program's
    VPD_CHECK(!fs::exists(run.config_path()), DataError,
              "{}: another program made a run there meanwhile: choose another --out", run.path().string());
    write_provenance(run.provenance_path(), {.config = &job.config,
                                             .numerics = job.numerics,
                                             .processes = job.processes.count(),
                                             .lanes = job.lanes.count(),
                                             .threads_per_lane = job.threads_per_lane,
                                             .command_line = options.command_line,
                                             .config_file = config_file,
                                             .inputs = inputs});
    // Last, since a directory with it counts as a run that can be resumed.
    write_atomically(run.config_path(), to_yaml(job.config));
  } catch (...) {
    std::error_code ignored;
    if (log.locked() && !fs::exists(run.config_path(), ignored)) fs::remove_all(run.path(), ignored);
    throw;
  }
  return run;
}

/// Who works on the run from now on, for whoever reads log.txt later.
void note_program(const DecomposeOptions& options, RunLog& log) {
  const auto job = batch_job();
  log.note(fmt::format("vpd {} on {}{}: {}", version(), host_name(), job ? ", job " + *job : "",
                       options.command_line));
}

void tell_began(const Observer& observer, const RunDirectory& run) {
  if (observer.began) observer.began(run.path());
}

void say_configuration(const fs::path& file, RunLog& log) {
  log.say(fmt::format("{:<18} {}", "configuration", file.string()));
}

fs::path start(const DecomposeOptions& options, const Observer& observer, Processes& processes) {
  RunLog log(observer);
  const std::string config_name = options.config.string();
  RunConfig config = load_run_config(options.config, all_overrides(options));
  VPD_CHECK(fs::is_regular_file(options.config), ConfigError,
            "{}: expected a regular file, which provenance.json can name and whose directory relative paths "
            "begin at, found something else: write the configuration to a file",
            config_name);
  tell_configuration(processes, config, config_name);
  if (options.out) RunDirectory::check_free(*options.out);  // before every token is read
  say_configuration(options.config, log);
  TrainingJob job(std::move(config), config_name, options.threads, processes, options.launch.local_rank,
                  job_observer(processes, observer));
  if (job.config.initialize_from) load_start(job);
  const RunDirectory run = create_run(job, options, log);
  StatusKeeper status(run.path(), 0, job.config.training.steps, log);
  tell_began(observer, run);
  status.record([&] {
    note_program(options, log);
    tell_run(processes, {}, run.path());
    log.say(fmt::format("{:<18} {}", "run", run.path().string()));
    say_essentials(job, log);
    train(job, run, std::nullopt, status, log);
  });
  return run.path();
}

/// The configuration to go on with: the run's own, with what it may change while it runs.
RunConfig resumed_config(const DecomposeOptions& options, const RunDirectory& run, RunLog& log) {
  const RunConfig stored = load_run_config(run.config_path(), {}, config::Files::may_be_missing);
  const fs::path file = options.config.empty() ? run.config_path() : options.config;
  const RunConfig now = load_run_config(file, all_overrides(options), config::Files::may_be_missing);
  const std::vector<std::string> refused = forbidden_differences(run.provenance_path(), stored, now);
  VPD_CHECK(refused.empty(), ConfigError,
            "{}: expected the configuration that the run began with (only output and the pace of evaluation "
            "may change), found that {}: "
            "go on without these changes, or start a new run with initialize_from",
            run.path().string(), join_words(refused, ", "));
  if (now != stored) {
    write_atomically(run.config_path(), to_yaml(now));
    log.say("configuration changed: " + join_words(differences(stored, now)));
  }
  return now;
}

void warn_of_another_machine(const TrainingJob& job, const RunDirectory& run, const Progress& progress,
                             RunLog& log) {
  const std::string device = describe_device(job.numerics.device);
  const std::string recorded = recorded_device(run.provenance_path()).value_or(device);
  const int processes = job.processes.count();
  if (device == recorded && progress.processes == processes && progress.lanes == job.lanes.count() &&
      progress.threads_per_lane == job.threads_per_lane)
    return;
  const auto words = [](int all, int lanes, int threads) {
    return (all > 1 ? fmt::format("{} processes of ", all) : "") +
           fmt::format("{} × {} threads", lanes, threads);
  };
  log.say(fmt::format(
      "warning: the checkpoint was made on {} with {}, the run goes on on {} with {}: sums are taken in "
      "another order, so the last bits will differ from an uninterrupted run's",
      recorded, words(progress.processes, progress.lanes, progress.threads_per_lane), device,
      words(processes, job.lanes.count(), job.threads_per_lane)));
}

/// The checkpoint to go on from; none: the run starts over.
std::optional<Checkpoint> checkpoint_to_resume(const RunDirectory& run, const DecomposeOptions& options) {
  return options.checkpoint ? std::optional(run.checkpoint(*options.checkpoint)) : run.latest();
}

/// Throws DataError where a file of the checkpoint is damaged, and names the way on.
void verify_to_resume(const RunDirectory& run, const Checkpoint& checkpoint) {
  try {
    verify_checkpoint(checkpoint.path);
  } catch (const DataError& error) {
    std::optional<std::int64_t> earlier;
    for (const Checkpoint& other : run.checkpoints())
      if (other.step < checkpoint.step) earlier = other.step;
    if (!earlier) throw;
    throw DataError(fmt::format("{}: go on from an earlier one with {} --checkpoint {}", error.what(),
                                resume_command(run), *earlier));
  }
}

fs::path resume(const DecomposeOptions& options, const Observer& observer, Processes& processes) {
  RunLog log(observer);
  const RunDirectory found = RunDirectory::open(*options.resume);
  VPD_CHECK(fs::exists(found.config_path()), DataError,
            "{}: expected the directory of a run, found no config.yaml in it; start the run again with --out",
            options.resume->string());
  log.open(found.log_path());
  const RunDirectory run = RunDirectory::open_for_resume(*options.resume);
  const std::string config_name = run.config_path().string();
  std::optional<Checkpoint> checkpoint;
  RunConfig config;
  try {
    note_program(options, log);
    say_configuration(options.config.empty() ? run.config_path() : options.config, log);
    checkpoint = checkpoint_to_resume(run, options);
    config = resumed_config(options, run, log);
  } catch (const Error& error) {  // a mistake in the command, which says nothing about the run
    log.note(fmt::format("error: {}", error.what()));
    throw;
  }
  const std::int64_t steps = config.training.steps;
  tell_began(observer, run);
  StatusKeeper status(run.path(), checkpoint ? checkpoint->step : 0, steps, log);
  status.record([&] {
    const Observer before = job_observer(processes, observer);
    const auto verify = [&] {
      verify_inputs(run.provenance_path(), inputs_to_resume(config, checkpoint.has_value()),
                    {[&](const std::string& line) { log.say(line); }, before.status, before.stop, {}});
      if (checkpoint) verify_to_resume(run, *checkpoint);
    };
    if (processes.alone() && checkpoint && checkpoint->step == steps && has_final_evaluation(run, config)) {
      verify();
      status.done(fmt::format("all {} steps are made and measured, nothing is left to do: {}", steps,
                              run.path().string()));
      return;
    }
    tell_configuration(processes, config, config_name);
    verify();
    TrainingJob job(config, config_name, options.threads, processes, options.launch.local_rank, before);
    tell_run(processes, checkpoint ? checkpoint->path : fs::path(), run.path());
    std::optional<std::int64_t> made;
    if (checkpoint) {
      const Progress progress = load_checkpoint(checkpoint->path, job.decomposition, job.step);
      made = progress.step;
      if (options.checkpoint) run.set_aside_after(progress.step);
      log.say(fmt::format("resumed after {} of {} steps: {}", progress.step, job.config.training.steps,
                          run.path().string()));
      warn_of_another_machine(job, run, progress, log);
    } else {
      log.say(fmt::format("no complete checkpoint yet, starting over: {}", run.path().string()));
      if (job.config.initialize_from) load_start(job);
    }
    say_essentials(job, log);
    train(job, run, made, status, log);
  });
  return run.path();
}

void check_options(const DecomposeOptions& options) {
  VPD_CHECK(options.resume || !options.config.empty(), UsageError,
            "expected a configuration file or --resume RUN, found neither");
  VPD_CHECK(!options.resume || !options.out, UsageError,
            "--out makes a new run and --resume goes on with {}: give one of them",
            options.resume ? options.resume->string() : "");
  VPD_CHECK(!options.continue_run || (options.out && !options.config.empty()), UsageError,
            "--continue: expected a configuration and --out RUN, which it begins or goes on with, found {}",
            options.resume ? "--resume" : "no --out");
  VPD_CHECK(options.resume || options.continue_run || !options.checkpoint, UsageError,
            "--checkpoint {}: expected --resume RUN or --continue beside it, found a new run",
            options.checkpoint.value_or(0));
}

/// A new run, or the one of --resume, or whichever of both --continue finds.
fs::path begin_or_go_on(DecomposeOptions options, const Observer& observer, Processes& processes) {
  std::error_code error;
  if (options.continue_run && fs::exists(*options.out / "config.yaml", error))
    options.resume = std::exchange(options.out, {});
  return options.resume ? resume(options, observer, processes) : start(options, observer, processes);
}

}  // namespace

fs::path decompose(const DecomposeOptions& options, const Observer& observer) {
  check_options(options);
  Processes processes(options.launch, options.process_timeout, observer.stop);
  Observer own = observer;
  if (!processes.writes()) own.say = {}, own.status = {};
  const auto named = [&](const std::string& sentence) {
    return fmt::format("process {} of {}: {}", processes.rank(), processes.count(), sentence);
  };
  try {
    check_told_alike(options, processes);
    if (!processes.writes()) return run_as_worker(options, own, processes);
    return begin_or_go_on(options, own, processes);
  } catch (const Interrupted& interrupted) {
    processes.fail(interrupted);
    if (processes.writes()) throw;
    throw Interrupted(named(interrupted.what()));
  } catch (const Error& error) {
    processes.fail(error.what(), error.exit_code());
    if (processes.writes()) throw;
    throw ProcessError(named(error.what()), error.exit_code());
  } catch (const std::exception& error) {
    const Failure failure = describe_failure(error);
    processes.fail(failure.sentence, failure.exit_code);
    throw;
  }
}

}  // namespace vpd
