// A run of the original code as a run directory of this one.

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "import_config.hpp"
#include "import_parts.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/config/run.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/run_directory.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/run/workload.hpp"
#include "vpd/target/llama_simple_mlp.hpp"
#include "workplace.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view target_prefix = "target_model.";
constexpr std::string_view components_prefix = "_components.";
constexpr std::string_view ci_prefix = "ci_fn.";
constexpr const char* data_to_come = "tokens.npy";

// A dot in a module's name cannot stand in a ModuleDict's key.
std::string dashed(std::string name) {
  std::replace(name.begin(), name.end(), '.', '-');
  return name;
}

std::string in_target(const std::string& name) { return std::string(target_prefix) + name; }

// A target's own directory, which says the shapes that a run's checkpoint does not.
struct TargetDirectory {
  fs::path model_config;
  std::optional<CheckpointFile> weights;
};

std::optional<TargetDirectory> look_for_target(const fs::path& directory) {
  const std::optional<fs::path> model_config = find_model_config(directory);
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
  return run.contains(in_target("wte.weight")) && target.contains("wte.weight")
             ? std::nullopt
             : std::optional<std::string>("wte.weight");
}

// Goodfire keeps runs and targets side by side. A neighbour whose weights are the run's, bit for bit, is its
// target.
std::optional<TargetDirectory> look_among_neighbours(const ForeignState& run, const fs::path& directory) {
  std::error_code error;
  std::vector<fs::path> neighbours;
  for (const auto& entry : fs::directory_iterator(directory.parent_path(), error)) {
    if (entry.is_directory(error) && entry.path() != directory) neighbours.push_back(entry.path());
  }
  std::sort(neighbours.begin(), neighbours.end());
  for (const fs::path& neighbour : neighbours) {
    const std::optional<TargetDirectory> found = look_for_target(neighbour);
    if (!found || !found->weights) continue;
    try {
      if (!first_difference(run, ForeignState(found->weights->path))) return found;
    } catch (const DataError&) {
      // Not a target of this kind.
    }
  }
  return std::nullopt;
}

TargetDirectory find_target(const ImportOptions& options, const ForeignState& run,
                            const CheckpointFile& checkpoint) {
  if (options.target) {
    std::error_code error;
    if (fs::is_regular_file(*options.target, error)) return {*options.target, std::nullopt};
    const std::optional<TargetDirectory> found = look_for_target(*options.target);
    VPD_CHECK(
        found, DataError, "{}: expected a model_config.yaml or .json, or a directory with one, found {}",
        options.target->string(), fs::exists(*options.target, error) ? "neither" : "nothing of that name");
    if (found->weights && run.has_prefix(target_prefix)) {
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
    if (const auto model_config = find_model_config(directory)) return {*model_config, std::nullopt};
  }
  const auto neighbour = look_among_neighbours(run, directories.front());
  VPD_CHECK(neighbour, DataError,
            "{}: expected a model_config.yaml of the run's target beside it, which says how many heads there "
            "are, found none; name the target's directory or that file with --target",
            run.file().string());
  return *neighbour;
}

// Sites as the checkpoint has them.
std::vector<SitePattern> sites_of(const ForeignState& state, const ModelConfig& model) {
  std::vector<SitePattern> sites;
  std::vector<std::string> unknown = state.left(components_prefix);
  for (const WeightSpec& spec : llama_simple_mlp_weights(model, /*untied_head=*/true)) {
    const std::string site = spec.name.substr(0, spec.name.rfind('.'));
    const std::string stem = fmt::format("{}{}.", components_prefix, dashed(site));
    if (!state.contains(stem + "V") || !spec.name.ends_with(".weight")) continue;
    const std::vector<std::int64_t> shape = state.shape(stem + "V");
    VPD_CHECK(shape.size() == 2 && shape[1] > 0, DataError, "{}: tensor {}V: expected a matrix, found [{}]",
              state.file().string(), stem, fmt::join(shape, ", "));
    sites.push_back({site, shape[1]});
    std::erase_if(unknown, [&](const std::string& name) { return name.starts_with(stem); });
  }
  VPD_CHECK(unknown.empty(), DataError,
            "{}: expected subcomponents of matrices of the target, found {}, which there are not here",
            state.file().string(), join_words(unknown));
  VPD_CHECK(!sites.empty(), DataError, "{}: expected subcomponents ({}<site>.V), found none",
            state.file().string(), components_prefix);
  return sites;
}

bool same_sites(const Sites& sites, const std::vector<SitePattern>& found) {
  return sites.size() == found.size() && std::all_of(sites.begin(), sites.end(), [&](const Site& site) {
           return std::any_of(found.begin(), found.end(), [&](const SitePattern& other) {
             return other.pattern == site.name && other.C == site.C;
           });
         });
}

// Shapes of everything that the run learned. The configuration's patterns stay where they mean the
// checkpoint's sites; else each site stands in them by its name.
Workload workload_of(RunConfig& config, const ModelConfig& model, const ForeignState& state,
                     const std::string& source, std::vector<std::string>& warnings) {
  const std::vector<SitePattern> found = sites_of(state, model);
  try {
    Workload workload = make_workload(config, model, /*untied_head=*/true, Numerics{}, 1, source);
    if (same_sites(workload.sites, found)) return workload;
  } catch (const ConfigError&) {
    // A pattern that matches nothing here.
  }
  config.sites = found;
  try {
    Workload workload = make_workload(config, model, /*untied_head=*/true, Numerics{}, 1, source);
    warnings.push_back(
        fmt::format("{}: module_info: its patterns do not give the {} matrices that the checkpoint "
                    "decomposes, and sites names each of them",
                    source, found.size()));
    return workload;
  } catch (const ConfigError& error) {
    throw DataError(error.what());  // the user did not write it
  }
}

NamedTensors take_components(ForeignState& state, const Workload& workload) {
  NamedTensors components;
  for (std::size_t i = 0; i < workload.components.size(); ++i) {
    const ParameterSpec& spec = workload.components.spec(i);
    const std::size_t dot = spec.name.rfind('.');
    const std::string theirs =
        fmt::format("{}{}{}", components_prefix, dashed(spec.name.substr(0, dot)), spec.name.substr(dot));
    components.emplace_back(spec.name, state.take(theirs, spec.shape));
  }
  // A copy of the target's bias, which is never decomposed.
  for (const Site& site : workload.sites) {
    const std::string copy = fmt::format("{}{}.bias", components_prefix, dashed(site.name));
    const std::string bias = in_target(site.name + ".bias");
    if (!state.contains(copy)) continue;
    VPD_CHECK(
        state.contains(bias) && at::equal(state.take(copy, {site.d_out}), state.take(bias, {site.d_out})),
        DataError, "{}: tensor {}: expected the target's own bias, found another", state.file().string(),
        copy);
  }
  return components;
}

// Where a parameter of the causal-importance transformer stands in the original's state dict.
struct Source {
  std::string name;
  bool transposed = false;  // W [in, out] there, weight [out, in] here
};

Source ci_source(const std::string& ours) {
  const std::string base = std::string(ci_prefix) + "_global_ci_fn.";
  const std::size_t dot = ours.rfind('.');
  const std::string layer = ours.substr(0, dot);
  const bool is_weight = ours.substr(dot) == ".weight";
  if (layer == "proj_in" || layer == "proj_out") {
    return {fmt::format("{}{}.{}", base, layer == "proj_in" ? "_input_projector" : "_output_head",
                        is_weight ? "W" : "b"),
            is_weight};
  }
  const std::size_t block_end = ours.find('.', std::string_view("blocks.").size());
  const std::string block = fmt::format("{}_{}", base, ours.substr(0, block_end));
  const std::string part = layer.substr(block_end + 1);
  if (part == "mlp.fc" || part == "mlp.proj") {
    return {fmt::format("{}.mlp.{}.{}", block, part == "mlp.fc" ? 0 : 2, is_weight ? "W" : "b"), is_weight};
  }
  return {fmt::format("{}.{}.weight", block, part == "attn.o_proj" ? "attn.out_proj" : part), false};
}

NamedTensors take_causal_importance(ForeignState& state, const Workload& workload) {
  NamedTensors parameters;
  for (std::size_t i = 0; i < workload.ci_parameters.size(); ++i) {
    const ParameterSpec& spec = workload.ci_parameters.spec(i);
    const Source source = ci_source(spec.name);
    std::vector<std::int64_t> shape = spec.shape;
    if (source.transposed) std::reverse(shape.begin(), shape.end());
    const at::Tensor tensor = state.take(source.name, shape);
    parameters.emplace_back(spec.name, source.transposed ? tensor.t() : tensor);
  }
  return parameters;
}

// The tables of inverse frequencies follow from the configuration. One that does not would be another
// function.
void check_rotary_tables(ForeignState& state, const GlobalSharedTransformerConfig& config) {
  const std::int64_t half = config.d_model / config.n_heads / 2;
  for (const std::string& name : state.left(ci_prefix)) {
    if (!name.ends_with(".rope.inv_freq")) continue;
    const at::Tensor table = state.take(name, {half});
    for (std::int64_t j = 0; j < half; ++j) {
      const double expected = std::pow(config.rope_base, -static_cast<double>(j) / static_cast<double>(half));
      VPD_CHECK(
          std::abs(table[j].item<double>() / expected - 1.0) < 1e-4, DataError,
          "{}: tensor {}: expected the frequencies of rope_base {:g} and {} heads, found {:g} in place of "
          "{:g}; check that the configuration is the checkpoint's",
          state.file().string(), name, config.rope_base, config.n_heads, table[j].item<double>(), expected);
    }
  }
}

void check_nothing_left(ForeignState& state, std::vector<std::string>& warnings) {
  const auto strange = [&](std::string_view prefix) {
    const std::vector<std::string> names = state.left(prefix);
    VPD_CHECK(names.empty(), DataError,
              "{}: expected only tensors that its configuration speaks of, found {}; check that the "
              "configuration is the checkpoint's",
              state.file().string(), join_words(names));
  };
  strange(components_prefix);
  strange(ci_prefix);
  for (const std::string& name : state.left("")) {
    warnings.push_back(
        fmt::format("{}: the tensor {} is part of neither target nor decomposition and was passed over",
                    state.file().string(), name));
  }
}

// Where the tokens lie, or will lie.
void set_data(const ImportOptions& options, const ModelConfig& model, RunConfig& config,
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
                    "with --set data.eval.path=FILE",
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

void import_run(const ImportOptions& options, ForeignState& state, ImportSummary& summary) {
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
  const TargetDirectory target = find_target(options, state, checkpoint);
  summary.model_config = target.model_config;
  summary.model = read_model_config(target.model_config, warnings);

  const bool has_target = state.has_prefix(target_prefix);
  VPD_CHECK(
      has_target || target.weights, DataError,
      "{}: expected the target's weights in it or beside {}, found neither; name the target's directory "
      "with --target",
      state.file().string(), target.model_config.string());
  std::optional<ForeignState> other;
  if (!has_target) other.emplace(target.weights->path);
  const NamedTensors weights = has_target
                                   ? take_target(state, std::string(target_prefix), summary.model, warnings)
                                   : take_target(*other, "", summary.model, warnings);

  const Workload workload = workload_of(config, summary.model, state, config_file.string(), warnings);
  const NamedTensors components = take_components(state, workload);
  const NamedTensors importance = take_causal_importance(state, workload);
  check_rotary_tables(state, std::get<GlobalSharedTransformerConfig>(config.causal_importance));
  check_nothing_left(state, warnings);
  config.target = LlamaSimpleMlpTarget{.path = "target"};  // beside config.yaml, so that the run can be moved
  set_data(options, summary.model, config, warnings);
  try {
    check(config);
  } catch (const ConfigError& error) {
    throw DataError(
        fmt::format("{}: its settings cannot be kept here: {}", config_file.string(), error.what()));
  }

  Workplace workplace(options.out);
  const RunDirectory run = RunDirectory::create(workplace.path());
  write_llama_simple_mlp(run.path() / "target", summary.model, weights);
  run.publish_checkpoint(
      summary.step.value_or(config.training.steps),
      [&](const fs::path& directory) {
        save_safetensors(directory / components_file, components);
        save_safetensors(directory / causal_importance_file, importance);
      },
      1);
  write_atomically(run.path() / "imported_config.yaml", read_text(config_file));
  std::vector<fs::path> inputs = {state.file(), config_file, target.model_config};
  if (other) inputs.push_back(other->file());
  write_import_provenance(run.provenance_path(), options, inputs);
  write_atomically(run.config_path(), to_yaml(config));
  workplace.publish();

  summary.kind = "run";
  summary.target_parameters = elements(weights);
  summary.causal_importance =
      std::visit([](const auto& kind) { return std::string(kind.kind); }, config.causal_importance);
  summary.causal_importance_parameters = elements(importance);
  summary.sites = static_cast<std::int64_t>(workload.sites.size());
  summary.subcomponents = workload.sites.total_C();
  summary.component_parameters = elements(components);
}

}  // namespace vpd
