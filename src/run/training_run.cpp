#include "training_run.hpp"

#include <chrono>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include "health/health_watch.hpp"
#include "machine/stop_vote.hpp"
#include "progress_line.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/base/text.hpp"
#include "vpd/evaluation/evaluate.hpp"
#include "vpd/io/event_log.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/metrics_series.hpp"
#include "vpd/run/evaluate.hpp"
#include "vpd/training/checkpoint.hpp"
#include "vpd/training/loop.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// An evaluation without the figures of single sites, which are many.
MetricValues without_sites(const MetricValues& metrics, const Sites& sites) {
  std::set<std::string> names;
  for (const Site& site : sites) names.insert(site.name);
  MetricValues left;
  for (const auto& metric : metrics)
    if (!names.contains(metric.first.substr(metric.first.rfind('/') + 1))) left.push_back(metric);
  return left;
}

/// What is worth a line among an evaluation's metrics.
std::string evaluation_line(const MetricValues& metrics, const RunConfig& config) {
  const std::map<std::string, double> values(metrics.begin(), metrics.end());
  const std::map<std::string, std::string> budgets = attack_budgets(config);
  std::vector<std::string> words;
  for (const auto& [name, value] : metrics) {
    if (is_window_name(name)) continue;
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

/// The figures of a run that is complete: as `vpd evaluate` leaves them, and a table of the essential ones.
void present_final(const RunDirectory& run, const TrainingJob& job, EvaluateResult result, RunLog& log) {
  result.checkpoint = fs::relative(run.checkpoint_path(result.step), run.path()).string();
  result.budgets = attack_budgets(job.config);
  try {
    write_atomically(run.evaluation_path(), evaluation_json(result));
  } catch (const DataError& error) {
    log.warn_once(error.what());
  }
  result.metrics = without_sites(result.metrics, job.decomposition.sites);
  std::istringstream table(evaluation_table(result));
  for (std::string line; std::getline(table, line);) log.say(line);
}

}  // namespace

std::string resume_command(const RunDirectory& run) {
  return "vpd decompose --resume " + shell_quoted(run.path().string());
}

bool has_final_evaluation(const RunDirectory& run, const RunConfig& config) {
  if (!config.evaluation.final || config.evaluation.metrics.empty() || config.training.steps == 0)
    return true;
  if (!fs::exists(run.metrics_path())) return false;
  const MetricsSeries metrics = read_metrics(run.metrics_path());
  for (const std::string& name : metrics.names("eval/"))
    if (metrics.of(name).back().step == config.training.steps) return true;
  return false;
}

void train(TrainingJob& job, const RunDirectory& run, std::optional<std::int64_t> resumed_at,
           StatusKeeper& status, RunLog& log) {
  const RunConfig& config = job.config;
  const Observer& observer = log.observer();
  const std::int64_t steps = config.training.steps, warm_up_steps = config.training.faithfulness_warmup.steps;
  const bool measured_finally = resumed_at == steps && has_final_evaluation(run, config);
  MetricsLog metrics(run.metrics_path(), resumed_at.value_or(0) - (measured_finally ? 0 : 1));
  std::optional<EventLog> events;
  if (config.output.tensorboard) events.emplace(run.path() / "tensorboard", run.metrics_path());
  HealthWatch health = watch_health(job, run);
  const auto measured = [&](std::int64_t s, const MetricsLog::Values& values) {
    metrics.append(s, values);
    if (events) events->append(s, values);
    return health.take(s, values);
  };
  ProgressLine progress(resumed_at.value_or(0), steps);
  const Clock::time_point start = Clock::now();
  std::int64_t made = resumed_at.value_or(0), last_saved = resumed_at.value_or(-1);

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
    status.made(done);
    if (observer.status && progress.refresh()) observer.status(progress.text(done, done));
  };
  const auto measure_all = [&](std::int64_t s, bool slow) {
    if (measured_finally) return true;
    const Clock::time_point began = Clock::now();
    if (observer.status) observer.status(fmt::format("step {}/{}  evaluating", s, steps));
    const StopAsked stop =
        job.processes.alone() ? observer.stop : [&] { return job.processes.asked_to_stop(); };
    MetricValues values;
    MetricArrays arrays;
    const bool final = s == steps && config.evaluation.final;
    try {
      values = evaluate(job.decomposition, config, {*job.eval, job.background_to_evaluate.get()}, s,
                        slow ? MetricChoice() : is_fast, job.lanes, final ? &arrays : nullptr, stop);
    } catch (const Interrupted&) {
      return false;
    } catch (const std::exception&) {
      // Too little memory for an evaluation, say, costs no training. (Other processes wait for an answer, not
      // for a checkpoint.)
      if (job.processes.alone() && last_saved != s) hooks.checkpoint(s);
      throw;
    }
    MetricsLog::Values named;
    for (const auto& [name, value] : values) named.emplace_back("eval/" + name, value);
    const std::vector<std::string> warnings = measured(s, named);
    log.say(fmt::format("evaluation after {} steps, {}:  {}", s, human_duration(seconds_since(began)),
                        evaluation_line(without_sites(values, job.decomposition.sites), config)));
    for (const std::string& warning : warnings) log.say(warning);
    if (final)
      present_final(run, job, {.step = s, .metrics = std::move(values), .arrays = std::move(arrays)}, log);
    return true;
  };
  hooks.evaluate = [&](std::int64_t s, bool slow) {
    return job.processes.by_first([&] { return measure_all(s, slow); });
  };
  hooks.checkpoint = [&](std::int64_t s) {
    if (observer.status) observer.status(fmt::format("step {}/{}  writing a checkpoint", s, steps));
    const std::vector<std::string> warnings =
        save_checkpoint(run, job.decomposition, job.step,
                        {.step = s,
                         .data_position = s * config.training.batch_size,
                         .processes = job.processes.count(),
                         .lanes = job.lanes.count(),
                         .threads_per_lane = job.threads_per_lane},
                        config.output.keep);
    log.say(fmt::format("checkpoint after {} steps", s));
    for (const std::string& warning : warnings) log.warn_once(warning);
    status.saved(s);
    last_saved = s;
    job.processes.meet();
  };

  switch (run_loop(job.step, config, job.rows_to_train_on(), job.numerics.device, resumed_at, hooks)) {
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
  status.done(fmt::format("finished {} steps in {}: {}", steps, human_duration(seconds_since(start)),
                          run.path().string()));
}

}  // namespace vpd
