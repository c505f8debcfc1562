#include "vpd/run/pretrain.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "io/staging_directory.hpp"
#include "machine/scoped_thread_count.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/base/text.hpp"
#include "vpd/base/version.hpp"
#include "vpd/config/pretrain.hpp"
#include "vpd/io/data.hpp"
#include "vpd/io/dataset.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/metrics_log.hpp"
#include "vpd/pretraining/pretrain.hpp"

namespace vpd {
namespace {

using Clock = std::chrono::steady_clock;

nlohmann::json number(const std::optional<double>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json();
}

// One run from random weights to the files.
class Job {
 public:
  Job(const PretrainConfig& config, const PretrainOptions& options, const Observer& observer)
      : threads_(options.threads),
        config_(config),
        observer_(observer),
        task_(make_pretrain_task(config.model)) {
    numerics_ = resolve_numerics(config.device, config.precision);
    if (config.data) {
      const std::string file = options.config.string();
      const auto open = [&](const DataSource& source, DataRole role) {
        return open_dataset(source, task_->input(), config.seed, role,
                            fmt::format("{}: data.{}", file, role == DataRole::train ? "train" : "eval"));
      };
      train_ = open(config.data->train, DataRole::train);
      if (config.data->eval) eval_ = open(*config.data->eval, DataRole::eval);
      const auto shared = eval_ ? warning_of_shared_files(*train_, *eval_) : std::nullopt;
      if (shared) say("warning: " + *shared);
    }
    // Nothing that a wrong configuration could stop comes after this.
    staging_ = std::make_unique<StagingDirectory>(options.out);
  }

  PretrainSummary run() {
    const int threads = threads_.get();
    const bool cpu = numerics_.device.is_cpu();
    const int lane_count =
        cpu ? static_cast<int>(std::min<std::int64_t>(threads, config_.training.batch_size)) : 1;
    NamedTensors weights = task_->initial(config_.seed);
    std::int64_t parameters = 0;
    for (const auto& [name, weight] : weights) parameters += weight.numel();
    say(fmt::format("target of {} parameters on {}{}", human_count(static_cast<double>(parameters)),
                    describe_device(numerics_.device), cpu ? fmt::format(", {} threads", threads) : ""));
    if (config_.training.steps > 0 || eval_) {
      MetricsLog metrics(staging_->path() / "metrics.jsonl", -1);
      Lanes lanes(lane_count, std::max(1, threads / lane_count));
      Pretraining training(config_, weights, numerics_, lanes);
      train(training, metrics);
      if (eval_ && evaluated_at_ != summary_.steps) evaluate(training, metrics);
      weights = training.weights();
    }
    write(weights);
    return summary_;
  }

 private:
  void say(const std::string& line) const {
    if (observer_.say) observer_.say(line);
  }

  void train(Pretraining& training, MetricsLog& metrics) {
    const std::int64_t steps = config_.training.steps, batch = config_.training.batch_size;
    started_ = Clock::now();
    Clock::time_point last_log = started_;
    std::int64_t last_step = 0;
    at::Tensor sum;
    for (std::int64_t step = 0; step < steps; ++step) {
      if (observer_.stop && observer_.stop()) return;
      const PretrainStepResult result = training.run(train_->batch(step * batch, batch), step);
      sum = sum.defined() ? sum + result.loss : result.loss;
      summary_.steps = step + 1;
      if (summary_.steps % config_.log_every == 0 || summary_.steps == steps) {
        training.check({sum, result.gradient_norm}, step);
        const double count = static_cast<double>(summary_.steps - last_step);
        summary_.train_loss = sum.item<double>() / count;
        const double seconds = seconds_since(last_log) / count;
        log(metrics, result, seconds, static_cast<double>(batch * train_->length()) / seconds);
        sum = at::Tensor();
        last_step = summary_.steps;
        last_log = Clock::now();
      }
      if (eval_ && config_.evaluation.every && summary_.steps % *config_.evaluation.every == 0) {
        const Clock::time_point before = Clock::now();
        evaluate(training, metrics);
        last_log += Clock::now() - before;
      }
    }
  }

  void log(MetricsLog& metrics, const PretrainStepResult& result, double seconds_a_step,
           double positions_a_second) {
    const std::int64_t steps = config_.training.steps;
    const double rate = value_at(config_.training.learning_rate, summary_.steps - 1, steps);
    const double norm = result.gradient_norm.item<double>();
    const double done = static_cast<double>(summary_.steps), left = static_cast<double>(steps) - done;
    say(fmt::format("step {}/{}  {} {:.4g}  gradient {:.3g}  rate {:.2e}  {:.1f} ms/step  {} {}/s  ETA {}",
                    summary_.steps, steps, in_words(task_->loss()), *summary_.train_loss, norm, rate,
                    1e3 * seconds_a_step, human_count(positions_a_second),
                    train_->kind() == InputKind::tokens ? "tokens" : "rows",
                    human_duration(seconds_since(started_) / done * left)));
    metrics.append(summary_.steps, {{"train/" + std::string(task_->loss()), *summary_.train_loss},
                                    {"train/grad_norm", norm},
                                    {"train/learning_rate", rate},
                                    {"perf/step_ms", 1e3 * seconds_a_step},
                                    {"perf/tokens_per_s", positions_a_second}});
  }

  void evaluate(Pretraining& training, MetricsLog& metrics) {
    const PretrainEvaluationConfig& evaluation = config_.evaluation;
    double sum = 0.0;
    const Clock::time_point began = Clock::now();
    for (std::int64_t i = 0; i < evaluation.batches; ++i) {
      // A scheduler that asks for a stop does not wait long.
      if (seconds_since(began) > 5.0 && observer_.stop && observer_.stop()) return;
      sum += training.loss(eval_->batch(i * evaluation.batch_size, evaluation.batch_size));
    }
    summary_.eval_loss = sum / static_cast<double>(evaluation.batches);
    evaluated_at_ = summary_.steps;
    say(fmt::format("step {}/{}  evaluation {} {:.4g}", summary_.steps, config_.training.steps,
                    in_words(task_->loss()), *summary_.eval_loss));
    metrics.append(summary_.steps, {{"eval/" + std::string(task_->loss()), *summary_.eval_loss}});
  }

  void write(const NamedTensors& weights) {
    const std::string loss(task_->loss());
    task_->write(staging_->path(), weights);
    const nlohmann::ordered_json record = {{"version", version()},
                                           {"git_revision", git_revision()},
                                           {"device", describe_device(numerics_.device)},
                                           {"seed", config_.seed},
                                           {"steps", summary_.steps},
                                           {"interrupted", summary_.steps < config_.training.steps},
                                           {"train_" + loss, number(summary_.train_loss)},
                                           {"eval_" + loss, number(summary_.eval_loss)},
                                           {"config", nlohmann::ordered_json::parse(to_json(config_))}};
    write_atomically(staging_->path() / "pretrain.json", json_text(record, 2) + "\n");
    staging_->publish("model.safetensors");
  }

  ScopedThreadCount threads_;
  const PretrainConfig& config_;
  const Observer& observer_;
  std::unique_ptr<PretrainTask> task_;
  Numerics numerics_;
  std::unique_ptr<Dataset> train_, eval_;
  std::unique_ptr<StagingDirectory> staging_;
  PretrainSummary summary_;
  std::int64_t evaluated_at_ = -1;
  Clock::time_point started_;
};

}  // namespace

PretrainSummary pretrain(const PretrainOptions& options, const Observer& observer) {
  std::vector<std::string> overrides = options.overrides;
  if (options.device) overrides.push_back("device=" + *options.device);
  const PretrainConfig config = load_pretrain_config(options.config, overrides);
  const PretrainSummary summary = Job(config, options, observer).run();
  VPD_CHECK(summary.steps == config.training.steps, Interrupted,
            "stopped after {} of {} steps; the target as it was then is in {}", summary.steps,
            config.training.steps, options.out.string());
  return summary;
}

}  // namespace vpd
