#include "vpd/io/files.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "parts.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/path_meaning.hpp"
#include "vpd/base/text.hpp"
#include "vpd/base/version.hpp"
#include "vpd/io/sha256.hpp"
#include "vpd/target/llama_simple_mlp.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

bool has_tensors(const fs::path& file) {
  const fs::path extension = file.extension();
  return extension == ".pt" || extension == ".pth" || extension == ".safetensors";
}

// The number at the end of model_10.pth and model_step_100.pt.
std::optional<std::int64_t> step_of(const fs::path& file) {
  const std::string stem = file.stem().string();
  const std::size_t underscore = stem.rfind('_');
  if (underscore == std::string::npos) return std::nullopt;
  std::int64_t step = 0;
  const char* end = stem.data() + stem.size();
  const auto [stop, error] = std::from_chars(stem.data() + underscore + 1, end, step);
  if (error != std::errc() || stop != end || step < 0) return std::nullopt;
  return step;
}

std::vector<CheckpointFile> checkpoints_in(const fs::path& directory) {
  std::vector<CheckpointFile> found;
  for (const fs::path& place : {directory, directory / "checkpoints"}) {
    std::error_code error;
    if (!fs::is_directory(place, error)) continue;
    for (const fs::path& entry : visible_entries(place)) {
      if (has_tensors(entry) && fs::is_regular_file(entry, error)) found.push_back({entry, step_of(entry)});
    }
  }
  std::sort(found.begin(), found.end(), [](const CheckpointFile& a, const CheckpointFile& b) {
    return a.step != b.step ? a.step < b.step : a.path < b.path;  // those without a number first
  });
  return found;
}

// Without grouped-query attention one matrix c_attn holds the rows of q, k and v.
at::Tensor take_weight(ForeignState& state, const std::string& name, const std::vector<std::int64_t>& shape) {
  constexpr std::array parts = {".attn.q_proj.", ".attn.k_proj.", ".attn.v_proj."};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::size_t at = name.find(parts[i]);
    if (at == std::string::npos || state.contains(name)) continue;
    std::string merged = name;
    merged.replace(at, std::string_view(parts[i]).size(), ".attn.c_attn.");
    if (!state.contains(merged)) continue;
    std::vector<std::int64_t> all = shape;
    all.front() *= 3;
    return state.take(merged, all).narrow(0, static_cast<std::int64_t>(i) * shape.front(), shape.front());
  }
  return state.take(name, shape);
}

}  // namespace

CheckpointFile find_checkpoint(const fs::path& path, std::optional<std::int64_t> step) {
  std::error_code error;
  VPD_CHECK(fs::exists(path, error), DataError,
            "{}: expected a checkpoint (.pt, .pth, .safetensors) or a directory of them, found {}",
            path.string(), obstacle(path).value_or("nothing of that name"));
  if (!fs::is_directory(path, error)) {
    VPD_CHECK(!step, UsageError, "--step chooses among the checkpoints of a directory, and {} is a file",
              path.string());
    return {path, step_of(path)};
  }
  const std::vector<CheckpointFile> all = checkpoints_in(path);
  VPD_CHECK(!all.empty(), DataError,
            "{}: expected checkpoints (.pt, .pth, .safetensors) in the directory, found none; name the file",
            path.string());
  if (!step) {
    VPD_CHECK(all.back().step || all.size() == 1, DataError,
              "{}: expected one checkpoint, or names that end with their step (model_10.pth), found {} files "
              "without; name one of them",
              path.string(), all.size());
    return all.back();
  }
  std::vector<std::string> steps;
  for (const CheckpointFile& checkpoint : all) {
    if (checkpoint.step == *step) return checkpoint;
    if (checkpoint.step) steps.push_back(std::to_string(*checkpoint.step));
  }
  throw DataError(
      fmt::format("{}: expected a checkpoint of step {}, found {}", path.string(), *step,
                  steps.empty() ? "none with a step in its name" : "those of " + join_words(steps)));
}

std::vector<fs::path> directories_of(const CheckpointFile& checkpoint) {
  const fs::path directory = fs::absolute(checkpoint.path).lexically_normal().parent_path();
  return {directory, directory.parent_path()};
}

std::optional<std::string> embedding_of(const ForeignState& state, const std::string& prefix) {
  for (const char* name : {"wte.weight", "lm_head.weight"}) {
    if (state.contains(prefix + name)) return prefix + name;
  }
  return std::nullopt;
}

NamedTensors take_target(ForeignState& state, const std::string& prefix, const LlamaSimpleMlpConfig& model,
                         std::vector<std::string>& warnings) {
  VPD_CHECK(!state.contains(prefix + "h.0.attn.c_attn.weight") || model.n_key_value_heads == model.n_head,
            DataError,
            "{}: expected matrices q_proj, k_proj and v_proj, found one c_attn for all three, which has as "
            "many key "
            "and value heads as query heads, and {} where n_head is {}",
            state.file().string(), model.n_key_value_heads, model.n_head);
  const std::string wte = prefix + "wte.weight", head = prefix + "lm_head.weight";
  const std::string embedding = embedding_of(state, prefix).value_or(wte);
  const bool both = state.contains(wte) && state.contains(head);
  VPD_CHECK(
      model.tied_head || both, DataError,
      "{}: expected {} and {}, as tie_word_embeddings: false in the model's configuration says, found one "
      "of the two",
      state.file().string(), wte, head);
  const std::vector<std::int64_t> shape = {model.vocab_size, model.n_embd};
  const bool untied = both && !at::equal(state.take(head, shape), state.take(wte, shape));
  if (untied && model.tied_head) {
    warnings.push_back(
        fmt::format("{}: {} and {} differ, which a LlamaSimpleMLP ties: the head stays a matrix of its own",
                    state.file().string(), head, wte));
  }
  if (!both) state.skip(head);
  NamedTensors weights;
  for (const TensorSpec& spec : llama_simple_mlp_weights(model, untied)) {
    const std::string name = spec.name == "wte.weight" ? embedding : prefix + spec.name;
    weights.emplace_back(spec.name, take_weight(state, name, spec.shape));
  }
  for (const std::string& name : state.left(prefix)) {
    // Tables of angles and the causal mask, which some versions saved.
    const bool is_table = name.ends_with(".rotary_sin") || name.ends_with(".rotary_cos") ||
                          (name.ends_with(".attn.bias") && state.shape(name).size() == 4);
    state.skip(name);
    if (!is_table) {
      warnings.push_back(fmt::format("{}: the tensor {} is not part of a LlamaSimpleMLP and was passed over",
                                     state.file().string(), name));
    }
  }
  return weights;
}

void write_import_provenance(const fs::path& path, const ImportOptions& options,
                             const std::vector<fs::path>& inputs) {
  nlohmann::ordered_json json = {
      {"version", version()}, {"git_revision", git_revision()}, {"command_line", options.command_line}};
  for (const fs::path& input : inputs) {
    json["imported"][fs::absolute(input).lexically_normal().string()] = sha256_of_file(input);
  }
  write_atomically(path, json_text(json, 2) + "\n");
}

}  // namespace vpd
