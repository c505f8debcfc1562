#include "vpd/run/decompose.hpp"

#include <chrono>
#include <ctime>
#include <map>
#include <set>

#include "health_watch.hpp"
#include "progress_line.hpp"
#include "provenance.hpp"
#include "run_log.hpp"
#include "stop_vote.hpp"
#include "taking_part.hpp"
#include "training_job.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/evaluation/evaluate.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/run_directory.hpp"
#include "vpd/run/evaluate.hpp"
#include "vpd/training/checkpoint.hpp"
#include "vpd/training/loop.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

std::string since(Clock::time_point start) {
  return human_duration(std::chrono::duration<double>(Clock::now() - start).count());
}

std::string resume_command(const RunDirectory& run) {
  return fmt::format("vpd decompose --resume {}", run.path().string());
}

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

/// What a job is observed by before it trains. Other processes wait for process 0, which is then not cut
/// short.
Observer job_observer(const Processes& processes, const Observer& observer) {
  Observer own = observer;
  if (!processes.alone()) own.stop = {};
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
  const std::vector<HashedFile> inputs =
      hash_inputs(job.config, fs::absolute(options.config), job_observer(job.processes, log.observer()));
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
                                             .inputs = inputs});
    // Last, since a directory with it counts as a run that can be resumed.
    write_atomically(run.config_path(), to_yaml(job.config));
  } catch (const Error&) {
    std::error_code ignored;
    if (log.locked() && !fs::exists(run.config_path(), ignored)) fs::remove_all(run.path(), ignored);
    throw;
  }
  return run;
}

/// What is worth a line among an evaluation's metrics: not the figures of single sites.
std::string evaluation_line(const MetricValues& metrics, const RunConfig& config, const Sites& sites) {
  const std::map<std::string, double> values(metrics.begin(), metrics.end());
  const std::map<std::string, std::string> budgets = attack_budgets(config);
  std::set<std::string> names;
  for (const Site& site : sites) names.insert(site.name);
  std::vector<std::string> words;
  for (const auto& [name, value] : metrics) {
    if (is_window_name(name) || names.contains(name.substr(name.rfind('/') + 1))) continue;
    const std::string spread = spread_text(values, name);
    words.push_back(fmt::format("{} {:.4g}{}", name, value, spread.empty() ? "" : " " + spread));
    if (const auto budget = budgets.find(name); budget != budgets.end())
      words.back() += fmt::format(" ({})", budget->second);
  }
  return join_words(words, "  ");
}

/// Knows what the run has measured so far.
HealthWatch watch_health(const TrainingJob& job, const RunDirectory& run) {
  std::vector<std::string> sites;
  for (const Site& site : job.decomposition.sites) sites.push_back(site.name);
  return {health_subject(job.config, std::move(sites), job.decomposition.sites.total_C()),
          read_metrics(run.metrics_path())};
}

/// The loop itself, with its log, metrics, evaluations and checkpoints.
void train(TrainingJob& job, const RunDirectory& run, std::optional<std::int64_t> resumed_at, RunLog& log) {
  const RunConfig& config = job.config;
  const Observer& observer = log.observer();
  const std::int64_t steps = config.training.steps, warm_up_steps = config.training.faithfulness_warmup.steps;
  MetricsLog metrics(run.metrics_path(), resumed_at.value_or(0) - 1);
  HealthWatch health = watch_health(job, run);
  const auto measured = [&](std::int64_t s, const MetricsLog::Values& values) {
    metrics.append(s, values);
    return health.take(s, values);
  };
  ProgressLine progress(resumed_at.value_or(0), steps);
  const Clock::time_point start = Clock::now();
  std::int64_t made = resumed_at.value_or(0);

  job.step.share();
  StopVote vote(job.processes, observer.stop);
  LoopHooks hooks;
  hooks.stop = [&] { return vote(); };
  hooks.warm_up = [&](std::int64_t done, std::optional<double> loss) {
    if (loss)
      log.say(fmt::format("faithfulness warm-up {}/{}  faithfulness {:.4g}", done, warm_up_steps, *loss));
    if (observer.status && progress.refresh())
      observer.status(fmt::format("faithfulness warm-up {}/{}", done, warm_up_steps));
    if (done == warm_up_steps) progress = ProgressLine(0, steps);
  };
  hooks.log = [&](std::int64_t s, const MetricsLog::Values& values) {
    const std::vector<std::string> warnings = measured(s, values);
    progress.measure(values);
    log.say(progress.text(s, s + 1));
    for (const std::string& warning : warnings) log.say(warning);
  };
  hooks.stepped = [&](std::int64_t done) {
    made = done;
    if (observer.status && progress.refresh()) observer.status(progress.text(done, done));
  };
  hooks.evaluate = [&](std::int64_t s, bool slow) {
    const Clock::time_point began = Clock::now();
    if (observer.status) observer.status(fmt::format("step {}/{}  evaluating", s, steps));
    // Other processes wait for an evaluation to end: none of theirs is cut short.
    const std::function<bool()> stop = job.processes.alone() ? observer.stop : nullptr;
    MetricValues values;
    try {
      values = evaluate(job.decomposition, config, *job.eval, s, slow ? MetricChoice() : is_fast, job.lanes,
                        /*arrays=*/nullptr, stop);
    } catch (const Interrupted&) {
      return false;
    }
    MetricsLog::Values named;
    for (const auto& [name, value] : values) named.emplace_back("eval/" + name, value);
    const std::vector<std::string> warnings = measured(s, named);
    log.say(fmt::format("evaluation after {} steps, {}:  {}", s, since(began),
                        evaluation_line(values, config, job.decomposition.sites)));
    for (const std::string& warning : warnings) log.say(warning);
    job.processes.meet();
    return true;
  };
  hooks.checkpoint = [&](std::int64_t s) {
    if (observer.status) observer.status(fmt::format("step {}/{}  writing a checkpoint", s, steps));
    save_checkpoint(run, job.decomposition, job.step,
                    {.step = s,
                     .data_position = s * config.training.batch_size,
                     .processes = job.processes.count(),
                     .lanes = job.lanes.count(),
                     .threads_per_lane = job.threads_per_lane},
                    config.output.keep);
    log.say(fmt::format("checkpoint after {} steps", s));
    job.processes.meet();
  };

  switch (run_loop(job.step, config, *job.train, job.numerics.device, resumed_at, hooks)) {
    case LoopEnd::stopped_in_warm_up:
      throw Interrupted(fmt::format(
          "interrupted in the faithfulness warm-up, before there was anything to save: {} starts over",
          resume_command(run)));
    case LoopEnd::stopped:
      throw Interrupted(fmt::format("interrupted after {} of {} steps, which are saved: go on with {}", made,
                                    steps, resume_command(run)));
    case LoopEnd::finished:
      break;
  }
  log.say(fmt::format("finished {} steps in {}: {}", steps, since(start), run.path().string()));
}

/// Runs `work` and leaves the sentence that it may throw in log.txt too.
template <class Work>
void logged(RunLog& log, const Work& work) {
  try {
    work();
  } catch (const Interrupted& error) {
    log.note(error.what());
    throw;
  } catch (const std::exception& error) {
    log.note(fmt::format("error: {}", error.what()));
    throw;
  }
}

fs::path start(const DecomposeOptions& options, const Observer& observer, Processes& processes) {
  RunLog log(observer);
  const std::string source = options.config.string();
  RunConfig config = load_run_config(options.config, all_overrides(options));
  VPD_CHECK(fs::is_regular_file(options.config), ConfigError,
            "{}: expected a regular file, which provenance.json can name and whose directory relative paths "
            "begin at, found something else: write the configuration to a file",
            source);
  tell_configuration(processes, config, source);
  if (options.out) RunDirectory::check_free(*options.out);  // before every token is read
  TrainingJob job(std::move(config), source, options.threads, processes, options.launch.local_rank,
                  job_observer(processes, observer));
  if (job.config.initialize_from) load_weights(job.decomposition, *job.config.initialize_from);
  const RunDirectory run = create_run(job, options, log);
  logged(log, [&] {
    tell_run(processes, {}, run.path());
    log.say(fmt::format("{:<18} {}", "run", run.path().string()));
    say_essentials(job, log);
    train(job, run, std::nullopt, log);
  });
  return run.path();
}

/// The configuration to go on with: the run's own, with what it may change while it runs.
RunConfig resumed_config(const DecomposeOptions& options, const RunDirectory& run, RunLog& log) {
  const RunConfig stored = load_run_config(run.config_path(), {}, config::Files::may_be_missing);
  const fs::path source = options.config.empty() ? run.config_path() : options.config;
  const RunConfig now = load_run_config(source, all_overrides(options), config::Files::may_be_missing);
  const std::vector<std::string> refused = forbidden_differences(run.provenance_path(), stored, now);
  VPD_CHECK(refused.empty(), ConfigError,
            "{}: expected the configuration that the run began with (only output and the pace of evaluation "
            "may change), found that {}: "
            "resume without these changes, or start a new run with initialize_from",
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

fs::path resume(const DecomposeOptions& options, const Observer& observer, Processes& processes) {
  VPD_CHECK(!options.out, UsageError, "--out makes a new run and --resume goes on with {}: give one of them",
            options.resume->string());
  RunLog log(observer);
  VPD_CHECK(fs::exists(RunDirectory::open(*options.resume).config_path()), DataError,
            "{}: expected the directory of a run, found no config.yaml in it; start the run again with --out",
            options.resume->string());
  log.open(RunDirectory::open(*options.resume).log_path());
  const RunDirectory run = RunDirectory::open_for_resume(*options.resume);
  logged(log, [&] {
    const std::string source = run.config_path().string();
    RunConfig config = resumed_config(options, run, log);
    tell_configuration(processes, config, source);
    const Observer before = job_observer(processes, observer);
    TrainingJob job(std::move(config), source, options.threads, processes, options.launch.local_rank, before);
    check_inputs(run.provenance_path(), input_files(job.config), before);
    const std::optional<Checkpoint> latest = run.latest();
    tell_run(processes, latest ? latest->path : fs::path(), run.path());
    if (latest) {
      const Progress progress = load_checkpoint(latest->path, job.decomposition, job.step);
      log.say(fmt::format("resumed after {} of {} steps: {}", progress.step, job.config.training.steps,
                          run.path().string()));
      warn_of_another_machine(job, run, progress, log);
      say_essentials(job, log);
      train(job, run, progress.step, log);
    } else {
      log.say(fmt::format("no complete checkpoint yet, starting over: {}", run.path().string()));
      if (job.config.initialize_from) load_weights(job.decomposition, *job.config.initialize_from);
      say_essentials(job, log);
      train(job, run, std::nullopt, log);
    }
  });
  return run.path();
}

}  // namespace

fs::path decompose(const DecomposeOptions& options, const Observer& observer) {
  VPD_CHECK(options.resume || !options.config.empty(), UsageError,
            "expected a configuration file or --resume RUN, found neither");
  Processes processes(options.launch, options.process_timeout);
  Observer own = observer;
  if (!processes.writes()) own.say = {}, own.status = {};
  const auto named = [&](const std::string& sentence) {
    return fmt::format("process {} of {}: {}", processes.rank(), processes.count(), sentence);
  };
  try {
    check_told_alike(options, processes);
    if (!processes.writes()) return take_part(options, own, processes);
    return options.resume ? resume(options, own, processes) : start(options, own, processes);
  } catch (const Interrupted& interrupted) {
    if (processes.writes()) throw;
    throw Interrupted(named(interrupted.what()));
  } catch (const Error& error) {
    processes.fail(error.what(), error.exit_code());
    if (processes.writes()) throw;
    throw ProcessError(named(error.what()), error.exit_code());
  } catch (const std::exception& error) {
    processes.fail(error.what(), 1);
    throw;
  }
}

}  // namespace vpd
