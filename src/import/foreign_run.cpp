// A run of the original code as a run directory of this one.

#include <ATen/ATen.h>

#include "config.hpp"
#include "io/staging_directory.hpp"
#include "learned.hpp"
#include "parts.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/path_meaning.hpp"
#include "vpd/config/run.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/run_directory.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/target/llama_simple_mlp.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

constexpr const char* data_to_come = "tokens.npy";

// A target's own directory, which says the shapes that a run's checkpoint does not.
struct TargetDirectory {
  fs::path model_config;
  std::optional<CheckpointFile> weights;
};

std::optional<TargetDirectory> look_for_target(const fs::path& directory) {
  const std::optional<fs::path> model_config = model_config_in(directory);
  if (!model_config) return std::nullopt;
  TargetDirectory found{*model_config, std::nullopt};
  try {
    found.weights = find_checkpoint(directory, std::nullopt);
  } catch (const DataError&) {
    // The configuration alone is enough where the run has the weights.
  }
  return found;
}

// The first weight in which the target differs from the run's.
std::optional<std::string> first_difference(const ForeignState& run, const ForeignState& target) {
  for (const std::string& name : target.names()) {
    const std::string there = in_target(name);
    if (!run.contains(there)) continue;
    if (run.shape(there) != target.shape(name) || !at::equal(run.load(there), target.load(name))) return name;
  }
  // The embedding may have either of its two names in each.
  const auto here = embedding_of(run, std::string(target_prefix)), there = embedding_of(target, "");
  const bool same = here && there && run.shape(*here) == target.shape(*there) &&
                    at::equal(run.load(*here), target.load(*there));
  return same ? std::nullopt : std::optional<std::string>("wte.weight");
}

// Goodfire keeps runs and targets side by side. A neighbour whose weights are the run's, bit for bit, is its
// target.
std::optional<TargetDirectory> look_among_neighbours(const ForeignState& run, const fs::path& directory,
                                                     const Observer& observer) {
  std::vector<fs::path> neighbours;
  try {
    neighbours = visible_entries(directory.parent_path());
  } catch (const DataError&) {
    return std::nullopt;  // that may not be listed
  }
  for (const fs::path& neighbour : neighbours) {
    std::error_code error;
    if (neighbour == directory || !fs::is_directory(neighbour, error)) continue;
    const std::optional<TargetDirectory> found = look_for_target(neighbour);
    if (!found || !found->weights) continue;
    observer.announce("comparing with the weights in " + neighbour.string());
    try {
      if (!first_difference(run, ForeignState(found->weights->path))) return found;
    } catch (const DataError&) {
      // Not a target of this kind.
    }
  }
  return std::nullopt;
}

TargetDirectory find_target(const ImportOptions& options, const ForeignState& run,
                            const CheckpointFile& checkpoint, const Observer& observer) {
  if (options.target) {
    std::error_code error;
    if (fs::is_regular_file(*options.target, error)) return {*options.target, std::nullopt};
    const std::optional<TargetDirectory> found = look_for_target(*options.target);
    VPD_CHECK(
        found, DataError, "{}: expected a model_config.yaml or .json, or a directory with one, found {}",
        options.target->string(),
        fs::exists(*options.target, error) ? "neither"
                                           : obstacle(*options.target).value_or("nothing of that name"));
    if (found->weights && run.has_prefix(target_prefix)) {
      observer.announce("comparing with the weights in " + options.target->string());
      const auto different = first_difference(run, ForeignState(found->weights->path));
      VPD_CHECK(!different, DataError,
                "{}: expected the weights of the run's target, found another {} than {}{} of {}; name the "
                "run's own target",
                found->weights->path.string(), *different, target_prefix, *different, run.file().string());
    }
    return *found;
  }
  const std::vector<fs::path> directories = directories_of(checkpoint);
  for (const fs::path& directory : directories) {
    if (const auto model_config = model_config_in(directory)) return {*model_config, std::nullopt};
  }
  const auto neighbour = look_among_neighbours(run, directories.front(), observer);
  VPD_CHECK(neighbour, DataError,
            "{}: expected a model_config.yaml of the run's target beside it, which says how many heads there "
            "are, found none; name the target's directory or that file with --target",
            run.file().string());
  return *neighbour;
}

// Where the tokens lie, or will lie.
void set_data(const ImportOptions& options, const LlamaSimpleMlpConfig& model, RunConfig& config,
              std::vector<std::string>& warnings) {
  fs::path path = data_to_come;
  if (options.tokens) {
    path = fs::absolute(*options.tokens).lexically_normal();
    const auto& eval = std::get<TokensData>(config.data.eval);
    TokenDataset tokens(path, eval.sequence_length, eval.shuffle, config.seed);
    tokens.require_vocabulary(model.vocab_size);
    tokens.batch(0, 1);
  } else {
    warnings.push_back(
        fmt::format("no --tokens: data names {} in the run directory: put it there, or evaluate "
                    "with --set data.eval.path=FILE (an absolute path, or one from the run's directory)",
                    data_to_come));
  }
  for (DataSource* source : {&config.data.train, &config.data.eval}) {
    std::get<TokensData>(*source).path = path;
  }
}

std::int64_t elements(const NamedTensors& tensors) {
  std::int64_t count = 0;
  for (const auto& [name, tensor] : tensors) count += tensor.numel();
  return count;
}

}  // namespace

void import_run(const ImportOptions& options, const Observer& observer, ForeignState& state,
                ImportSummary& summary) {
  std::vector<std::string>& warnings = summary.warnings;
  const CheckpointFile checkpoint{summary.checkpoint, summary.step};
  fs::path config_file;
  for (const fs::path& directory : directories_of(checkpoint)) {
    if (config_file.empty() && fs::exists(directory / "final_config.yaml")) {
      config_file = directory / "final_config.yaml";
    }
  }
  VPD_CHECK(
      !config_file.empty(), DataError,
      "{}: expected the run's final_config.yaml beside it or one directory above, found none; put it there",
      state.file().string());

  TranslatedConfig translated = translate_config(config_file);
  RunConfig& config = translated.config;
  warnings = std::move(translated.warnings);
  const TargetDirectory target = find_target(options, state, checkpoint, observer);
  summary.model_config = target.model_config;
  summary.model = read_model_config(target.model_config, warnings);

  const bool has_target = state.has_prefix(target_prefix);
  VPD_CHECK(
      has_target || target.weights, DataError,
      "{}: expected the target's weights in it or beside {}, found neither; name the target's directory "
      "with --target",
      state.file().string(), target.model_config.string());
  observer.announce("reading the tensors of " + state.file().string());
  std::optional<ForeignState> other;
  if (!has_target) other.emplace(target.weights->path);
  const NamedTensors weights = has_target
                                   ? take_target(state, std::string(target_prefix), summary.model, warnings)
                                   : take_target(*other, "", summary.model, warnings);

  const Learned learned = learned_by(config, summary.model, state, config_file.string(), warnings);
  const NamedTensors components = take_components(state, learned);
  const NamedTensors importance = take_causal_importance(state, learned, config.causal_importance);
  check_nothing_left(state, warnings);
  config.target = LlamaSimpleMlpTarget{.path = "target"};  // beside config.yaml, so that the run can be moved
  set_data(options, summary.model, config, warnings);
  try {
    check(config);
  } catch (const ConfigError& error) {
    throw DataError(
        fmt::format("{}: its settings cannot be kept here: {}", config_file.string(), error.what()));
  }

  observer.announce("writing " + options.out.string());
  StagingDirectory staging(options.out);
  const RunDirectory run = RunDirectory::create(staging.path());
  write_llama_simple_mlp(run.path() / "target", summary.model, weights);
  const std::vector<std::string> unlinked = run.publish_checkpoint(
      summary.step.value_or(config.training.steps),
      [&](const fs::path& directory) {
        save_safetensors(directory / components_file, components);
        save_safetensors(directory / causal_importance_file, importance);
      },
      1);
  summary.warnings.insert(summary.warnings.end(), unlinked.begin(), unlinked.end());
  write_atomically(run.path() / "imported_config.yaml", read_text(config_file));
  std::vector<fs::path> inputs = {state.file(), config_file, target.model_config};
  if (other) inputs.push_back(other->file());
  write_import_provenance(run.provenance_path(), options, inputs);
  write_atomically(run.config_path(), to_yaml(config));
  staging.publish("config.yaml");

  summary.kind = "run";
  summary.target_parameters = elements(weights);
  summary.causal_importance =
      std::visit([](const auto& kind) { return std::string(kind.kind); }, config.causal_importance);
  summary.causal_importance_parameters = elements(importance);
  summary.sites = static_cast<std::int64_t>(learned.sites.size());
  summary.subcomponents = learned.sites.total_C();
  summary.component_parameters = elements(components);
}

}  // namespace vpd
