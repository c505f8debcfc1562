// Times the training step of a configuration: forwards, backwards, optimizer and adversaries, without
// evaluation, logging and checkpoints. Prints one JSON object.

#include "vpd/training/step.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "median.hpp"
#include "part_times.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/version.hpp"
#include "vpd/config/pretrain.hpp"
#include "vpd/config/value.hpp"
#include "vpd/cost/product_peak.hpp"
#include "vpd/cost/step_shape.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/data.hpp"
#include "vpd/io/files.hpp"
#include "vpd/machine/memory.hpp"
#include "vpd/target/checkpoint.hpp"
#include "vpd/target/llama_simple_mlp.hpp"
#include "vpd/target/target.hpp"

namespace {

using namespace vpd;
using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

struct Options {
  std::filesystem::path config;
  std::vector<std::string> overrides;
  std::string device, json, target;
  bool random_target = false, cudnn_attention = false;
  int steps = 20, warmup = 3, threads = 0, lanes = 0;
  std::optional<std::int64_t> batch, sequence;
};

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

LlamaSimpleMlpConfig pretrained_shapes(const std::filesystem::path& file) {
  const PretrainConfig config = load_pretrain_config(file, {}, config::Files::may_be_missing);
  const auto* model = std::get_if<LlamaSimpleMlpConfig>(&config.model);
  VPD_CHECK(model, UsageError, "{}: expected a LlamaSimpleMLP under model, found a toy", file.string());
  return *model;
}

/// Shapes of a random target: a pretraining configuration's, a checkpoint's model_config, or those of the
/// directory that the run names.
LlamaSimpleMlpConfig random_model(const Options& options, const RunConfig& config) {
  std::vector<std::string> warnings;
  if (options.target.empty()) {
    const auto* target = std::get_if<LlamaSimpleMlpTarget>(&config.target);
    VPD_CHECK(target, UsageError, "{}: the target is no LlamaSimpleMLP: give the shapes of one with --target",
              options.config.string());
    const std::filesystem::path& directory = target->path;
    if (const auto file = model_config_in(directory)) return read_model_config(*file, warnings);
    // configs/ss_2l.yaml has its target's shapes beside it.
    const std::filesystem::path beside =
        options.config.parent_path() / (options.config.stem().string() + "_target.yaml");
    VPD_CHECK(std::filesystem::exists(beside), UsageError,
              "{}: no model_config there, and no {}: give the shapes with --target", directory.string(),
              beside.string());
    return pretrained_shapes(beside);
  }
  const config::Value file = config::read_file(options.target);
  if (file.find("model")) return pretrained_shapes(options.target);
  return read_model_config(options.target, warnings);
}

/// Steps that are made once more to see how long their parts take.
constexpr int listened_steps = 10;

/// Per part of a step: its operations, how long they would take at the measured peak (its floor), how long it
/// took, and how many times the floor that is; null where one is not known. Last what no part announces: on a
/// CPU mostly waiting for the other lanes.
Json parts_json(const std::vector<OperationCount>& counts, double peak, c10::Device device,
                const std::function<double()>& one_step) {
  PartTimes listener(device);
  std::vector<double> whole;
  for (int s = 0; s < listened_steps; ++s) {
    whole.push_back(one_step());
    listener.end_step();
  }
  Json parts;
  for (const OperationCount& count : counts) {
    parts[count.part] = {{"operations", count.operations},
                         {"floor_ms", 1e3 * count.operations / peak},
                         {"ms", nullptr},
                         {"ratio", nullptr}};
  }
  double rest = median(whole);
  for (const auto& [name, milliseconds] : listener.parts()) {
    Json& part = parts[name];
    part["ms"] = milliseconds;
    if (part.contains("floor_ms") && part["operations"] > 0.0)
      part["ratio"] = milliseconds / part["floor_ms"].get<double>();
    rest -= milliseconds;
  }
  parts["the rest"] = {{"ms", rest}};
  return parts;
}

Json step_shape_json(const StepShape& w, const Json& target) {
  Json sites = Json::array();
  for (const Site& site : w.sites) sites.push_back({site.name, site.C});
  Json result = {{"target", target}, {"sites", sites}};
  // Nothing under this key where the other program, which knows the transformer alone, cannot be compared.
  if (const auto* ci = std::get_if<GlobalSharedTransformerConfig>(&w.causal_importance)) {
    result["causal_importance"] = {
        {"d_model", ci->d_model}, {"n_blocks", ci->n_blocks}, {"n_heads", ci->n_heads}, {"d_mlp", ci->d_mlp}};
  }
  return result;
}

/// A target with what describes it: its shapes for the counts, and in words for the result.
struct BenchmarkTarget {
  std::unique_ptr<Target> target;
  Architecture shapes;
  Json described;
};

BenchmarkTarget random_target(const Options& options, const RunConfig& config, const Numerics& numerics) {
  const LlamaSimpleMlpConfig model = random_model(options, config);
  return {std::make_unique<LlamaSimpleMlp>(model, initial_llama_simple_mlp(model, config.seed), numerics),
          llama_simple_mlp_architecture(model, /*untied_head=*/false), Json::parse(model_config_json(model))};
}

BenchmarkTarget target_of(const RunConfig& config, const Numerics& numerics) {
  std::vector<std::string> warnings;
  BenchmarkTarget found{load_target(config.target, numerics, warnings),
                        describe_target(config.target, warnings), Json()};
  found.described = {
      {"type", std::visit([](const auto& target) { return std::string(target.kind); }, config.target)},
      {"parameters", found.shapes.parameters}};
  // The other program beside this one knows LlamaSimpleMLP alone.
  if (const auto* llama = std::get_if<LlamaSimpleMlpTarget>(&config.target))
    found.described = Json::parse(model_config_json(describe_llama_simple_mlp(llama->path, warnings).first));
  return found;
}

Json measure(const Options& options) {
  std::vector<std::string> overrides = options.overrides, warnings;
  if (options.batch) overrides.push_back(fmt::format("training.batch_size={}", *options.batch));
  if (options.sequence) overrides.push_back(fmt::format("data.train.sequence_length={}", *options.sequence));
  if (!options.device.empty()) overrides.push_back("device=" + options.device);
  RunConfig config =
      load_run_config(options.config, overrides,
                      options.random_target ? config::Files::may_be_missing : config::Files::must_exist);
  // Schedules that depend on the run's length keep their shape, and no value is taken past their end.
  config.training.steps =
      std::max<std::int64_t>(config.training.steps, options.warmup + options.steps + listened_steps);
  if (options.threads > 0) at::set_num_threads(options.threads);
  const int threads = at::get_num_threads();
  const Numerics numerics = resolve_numerics(config.device, config.precision);
  if (options.cudnn_attention) at::globalContext().setSDPUseCuDNN(true);
  BenchmarkTarget found =
      options.random_target ? random_target(options, config, numerics) : target_of(config, numerics);
  const InputShape input = found.shapes.input();
  StepShape step_shape = make_step_shape(config, found.shapes, numerics, threads, options.config.string());
  if (options.lanes > 0) step_shape.lanes = options.lanes;
  Decomposition decomposition =
      make_decomposition(config, numerics, options.config.string(), std::move(found.target));
  if (config.initialize_from && !options.random_target) load_weights(decomposition, *config.initialize_from);
  Lanes lanes(step_shape.lanes, std::max(1, threads / step_shape.lanes));
  const std::int64_t B = config.training.batch_size, T = step_shape.T;
  TrainingStep step(decomposition, config, T, lanes);
  const bool captured = config.training.cuda_graph && numerics.device.is_cuda();

  const std::int64_t B2 = config.background_rows();
  std::unique_ptr<Dataset> rows, background;
  if (!options.random_target) rows = open_dataset(config, DataRole::train, input, options.config.string(), B);
  if (!options.random_target && config.data.background)
    background = open_dataset(config, DataRole::background, input, options.config.string(), B2);
  StepResult result;
  std::int64_t number = 0;
  const auto one_step = [&] {
    const at::Tensor tokens =
        rows ? rows->batch(number * B, B) : at::randint(input.vocabulary, {B, T}, at::kLong);
    at::Tensor more;
    if (B2 > 0)
      more = background ? background->batch(number * B2, B2)
                        : at::randint(input.vocabulary, {B2, step_shape.background_T}, at::kLong);
    synchronize(numerics.device);
    const Clock::time_point start = Clock::now();
    result = step.run(tokens, number++, /*want_l0=*/false, more);
    synchronize(numerics.device);
    return milliseconds_since(start);
  };
  const auto losses_of = [](const StepResult& made) {
    Json losses;
    for (std::size_t k = 0; k < made.losses.size(); ++k)
      if (made.losses[k].defined()) losses[made.labels[k]] = made.losses[k].item<double>();
    return losses;
  };
  Json first_losses;
  for (int s = 0; s < options.warmup; ++s) {
    one_step();
    if (s == 0) first_losses = losses_of(result);
  }
  std::vector<double> times(static_cast<std::size_t>(options.steps));
  for (double& time : times) time = one_step();
  const auto [fastest, slowest] = std::minmax_element(times.begin(), times.end());
  const double typical = median(times);
  const Json losses = losses_of(result);
  const std::int64_t peak = peak_memory_bytes(numerics.device);

  const std::vector<OperationCount> counts = count_operations(step_shape);
  const double operations = total(counts), achieved = operations / (1e-3 * typical);
  const double reachable = measure_product_peak(numerics, lanes, threads);
  const Json parts = captured ? Json() : parts_json(counts, reachable, numerics.device, one_step);
  Json out = {
      {"program", "vpd step"},
      {"config", options.config.string()},
      {"overrides", overrides},
      {"random_target", options.random_target},
      {"cudnn_attention", options.cudnn_attention},
      {"commit", std::string(git_revision())},
      {"device", describe_device(numerics.device)},
      {"compute_type", at::toString(numerics.compute)},
      {"threads", threads},
      {"lanes", lanes.count()},
      {"batch", B},
      {"seq", T},
      {"sites_count", step_shape.sites.size()},
      {"subcomponents", step_shape.sites.total_C()},
      {"parameters_components", step_shape.components.count()},
      {"parameters_ci", step_shape.ci_parameters.count()},
      {"ms_per_step", {{"median", typical}, {"min", *fastest}, {"max", *slowest}, {"steps", times.size()}}},
      {"tokens_per_s", 1e3 * static_cast<double>(B * T) / typical},
      {"peak_bytes", peak},
      {"operations_per_step", operations},
      {"achieved_flop_per_s", achieved},
      {"matrix_product_peak_flop_per_s", reachable},
      {"ratio_to_peak", achieved / reachable},
      {"parts", parts},
      {"first_losses", first_losses},
      {"losses", losses}};
  out.update(step_shape_json(step_shape, found.described));
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  Options options;
  CLI::App app("Times the training step of a configuration and prints JSON", "step");
  app.add_option("--config", options.config, "Configuration of a decomposition, YAML or JSON")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--set", options.overrides, "Override key=value of the configuration (repeatable)")
      ->allow_extra_args(false);
  app.add_option("--batch", options.batch, "Rows a step: training.batch_size")->check(CLI::PositiveNumber);
  app.add_option("--seq", options.sequence, "Tokens a row: data.train.sequence_length")
      ->check(CLI::PositiveNumber);
  app.add_option("--steps", options.steps, "Timed steps, at least 20")
      ->check(CLI::Range(20, 1000000))
      ->capture_default_str();
  app.add_option("--warmup", options.warmup, "Steps before those, of which the first's losses are given, too")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--threads", options.threads, "CPU threads; without it as many as LibTorch would use")
      ->check(CLI::PositiveNumber);
  app.add_option("--lanes", options.lanes,
                 "Lanes that divide a batch among the threads; without it as many as a run has")
      ->check(CLI::PositiveNumber);
  app.add_option("--device", options.device, "auto, cpu, cuda or cuda:N");
  CLI::Option* random = app.add_flag("--random-target", options.random_target,
                                     "Random weights and tokens: no model and no data need to be there");
  app.add_option("--target", options.target,
                 "Shapes of the random target: a model_config.json or .yaml, or a configuration of vpd "
                 "pretrain; without it those of the run's "
                 "target directory, or of <config>_target.yaml beside the configuration")
      ->check(CLI::ExistingFile)
      ->needs(random);
  app.add_flag("--cudnn-attention", options.cudnn_attention,
               "On CUDA, cuDNN's attention where LibTorch prefers it; a run never has it");
  app.add_option("--json", options.json, "Also write the result to this file");
  app.footer(
      "Example:\n  OMP_WAIT_POLICY=passive step --config configs/ss_2l.yaml --random-target --batch 2 --seq "
      "128 --threads 2");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    const std::string text = measure(options).dump(1) + "\n";
    std::fputs(text.c_str(), stdout);
    if (!options.json.empty()) write_atomically(options.json, text);
  } catch (const Error& error) {
    std::fprintf(stderr, "step: error: %s\n", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {  // LibTorch's: out of memory on the device, for one
    std::fprintf(stderr, "step: error: %s\n", error.what());
    return 1;
  }
  return 0;
}
