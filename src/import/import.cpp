#include "vpd/import/import.hpp"

#include <algorithm>
#include <system_error>

#include <nlohmann/json.hpp>

#include "io/staging_directory.hpp"
#include "machine/scoped_thread_count.hpp"
#include "parts.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/config/value.hpp"
#include "vpd/io/files.hpp"
#include "vpd/target/huggingface.hpp"
#include "vpd/target/llama_simple_mlp.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

std::string count(std::int64_t number) { return human_count(static_cast<double>(number)); }

}  // namespace

void import_target(const ImportOptions& options, const Observer& observer, ForeignState& state,
                   ImportSummary& summary) {
  VPD_CHECK(!options.tokens && !options.target, UsageError,
            "--tokens and --target belong to a run, and {} is a target: leave them out",
            state.file().string());
  const std::vector<fs::path> directories = directories_of({summary.checkpoint, summary.step});
  for (const fs::path& directory : directories) {
    const std::optional<fs::path> found = model_config_in(directory);
    if (found && summary.model_config.empty()) summary.model_config = *found;
  }
  VPD_CHECK(!summary.model_config.empty(), DataError,
            "{}: expected a model_config.yaml or .json beside it or one directory above, found none; put it "
            "there",
            state.file().string());
  summary.model = read_model_config(summary.model_config, summary.warnings);
  observer.announce("reading the tensors of " + state.file().string());
  const NamedTensors weights = take_target(state, "", summary.model, summary.warnings);

  observer.announce("writing " + options.out.string());
  StagingDirectory staging(options.out);
  write_llama_simple_mlp(staging.path(), summary.model, weights);
  for (const fs::path& directory : directories) {
    const fs::path copy = staging.path() / "tokenizer.json";
    std::error_code error;
    if (!fs::exists(directory / "tokenizer.json", error) || fs::exists(copy, error)) continue;
    try {
      write_atomically(copy, read_text(directory / "tokenizer.json"));
    } catch (const DataError& complaint) {
      summary.warnings.push_back(fmt::format("the tokenizer was not copied: {}", complaint.what()));
    }
  }
  write_import_provenance(staging.path() / "provenance.json", options, {state.file(), summary.model_config});
  staging.publish("model.safetensors");

  summary.kind = "target";
  for (const auto& [name, weight] : weights) summary.target_parameters += weight.numel();
}

namespace {

// Whether a directory has weights and a config.json that names a family, as a run's own config.json does not.
bool is_huggingface_checkpoint(const fs::path& directory) {
  if (!is_huggingface(directory) || model_config_in(directory) || fs::exists(directory / "final_config.yaml"))
    return false;
  std::error_code error;
  const auto is_weights = [](const fs::directory_entry& entry) {
    const fs::path name = entry.path().filename();
    return name.extension() == ".safetensors" || name.string().starts_with("pytorch_model");
  };
  const fs::directory_iterator entries(directory, error);
  if (std::none_of(begin(entries), end(entries), is_weights)) return false;
  try {
    const config::Value file = config::read_file(directory / "config.json");
    const config::Value* family = file.find("model_type");
    return family && family->text();
  } catch (const ConfigError&) {
    return false;
  }
}

// Checkpoints in Hugging Face's layout need no import, and are no LlamaSimpleMLP.
void refuse_huggingface(const fs::path& path) {
  std::error_code error;
  const bool is_directory = fs::is_directory(path, error);
  const fs::path whole = fs::absolute(path, error);
  const fs::path directory = is_directory ? whole : whole.parent_path();
  const bool is_torch = !is_directory && (path.extension() == ".pt" || path.extension() == ".pth");
  if (is_torch || !is_huggingface_checkpoint(directory)) return;
  std::vector<std::string> warnings;
  std::string family;
  try {
    family = family_of(describe_huggingface(directory, warnings));
  } catch (const DataError& reason) {
    throw DataError(
        fmt::format("{}: expected what the original PyTorch code left behind, found Hugging Face's layout, "
                    "which needs no "
                    "import, but cannot be read either: {}",
                    path.string(), reason.what()));
  }
  const std::string name = directory.lexically_normal().string();
  const config::Value target(
      config::Value::Map{{"type", config::Value(std::string("hf"))}, {"path", config::Value(name)}});
  throw DataError(
      fmt::format("{}: expected what the original PyTorch code left behind, found a {} in Hugging Face's "
                  "layout, which is read "
                  "as it is and needs no import: write target: {} in the run's configuration",
                  path.string(), family, config::to_yaml_line(target)));
}

void import_state(const ImportOptions& options, const Observer& observer, ForeignState& state,
                  ImportSummary& summary) {
  if (state.has_prefix("_components.")) {
    import_run(options, observer, state, summary);
    return;
  }
  std::vector<std::string> names = state.names();
  if (names.size() > 3) {
    names.resize(3);
    names.emplace_back("...");
  }
  VPD_CHECK(embedding_of(state, ""), DataError,
            "{}: expected a LlamaSimpleMLP (tensors such as wte.weight) or a decomposition of one "
            "(_components.h-0-attn-q_proj.V), found {}{}",
            state.file().string(), names.empty() ? "no tensors" : join_words(names), state.unread_in_words());
  import_target(options, observer, state, summary);
}

}  // namespace

ImportSummary import_artefact(const ImportOptions& options, const Observer& observer) {
  const ScopedThreadCount threads(0);
  refuse_huggingface(options.path);
  const CheckpointFile checkpoint = find_checkpoint(options.path, options.step);
  ImportSummary summary;
  summary.checkpoint = checkpoint.path;
  summary.step = checkpoint.step;
  summary.out = options.out;
  observer.announce("reading " + checkpoint.path.string());
  ForeignState state(checkpoint.path);
  try {
    import_state(options, observer, state, summary);
  } catch (const DataError& error) {
    if (state.harm().empty()) throw;
    throw DataError(fmt::format("{}; {}", error.what(), state.harm()));
  }
  const std::vector<std::string> remarks = state.remarks();
  summary.warnings.insert(summary.warnings.begin(), remarks.begin(), remarks.end());
  return summary;
}

std::string import_text(const ImportSummary& summary) {
  std::string text = fmt::format("{}: a {}{}\n\n", summary.checkpoint.string(), summary.kind,
                                 summary.step ? fmt::format(" after {} steps", *summary.step) : "");
  const auto line = [&](const char* name, const std::string& content) {
    text += fmt::format("  {:<18} {}\n", name, content);
  };
  const LlamaSimpleMlpConfig& model = summary.model;
  line("target",
       fmt::format("LlamaSimpleMLP, {} blocks of width {}, vocabulary {}: {} parameters", model.n_layer,
                   model.n_embd, model.vocab_size, count(summary.target_parameters)));
  line("its shapes from", summary.model_config.string());
  if (summary.kind == "run") {
    line("sites", fmt::format("{}, with {} subcomponents: {} parameters in U and V", summary.sites,
                              summary.subcomponents, count(summary.component_parameters)));
    line("causal importance", fmt::format("{}: {} parameters", summary.causal_importance,
                                          count(summary.causal_importance_parameters)));
  }
  line("written to", summary.out.string());
  return text;
}

std::string import_json(const ImportSummary& summary) {
  nlohmann::ordered_json json = {{"kind", summary.kind},
                                 {"checkpoint", summary.checkpoint.string()},
                                 {"step", nullptr},
                                 {"model_config", summary.model_config.string()},
                                 {"target_parameters", summary.target_parameters},
                                 {"out", summary.out.string()},
                                 {"warnings", summary.warnings}};
  if (summary.step) json["step"] = *summary.step;
  if (summary.kind == "run") {
    json["sites"] = summary.sites;
    json["subcomponents"] = summary.subcomponents;
    json["component_parameters"] = summary.component_parameters;
    json["causal_importance"] = summary.causal_importance;
    json["causal_importance_parameters"] = summary.causal_importance_parameters;
  }
  return json_text(json, 2) + "\n";
}

}  // namespace vpd
