#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "import_parts.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/found.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/base/version.hpp"
#include "vpd/io/files.hpp"
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
    std::error_code error, ignored;
    for (fs::directory_iterator entry(place, error), end; !error && entry != end; entry.increment(error)) {
      if (has_tensors(entry->path()) && entry->is_regular_file(ignored)) {
        found.push_back({entry->path(), step_of(entry->path())});
      }
    }
    VPD_CHECK(!error || error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory,
              DataError, "{}: cannot list the directory: {}; check its permissions", place.string(),
              error.message());
  }
  std::sort(found.begin(), found.end(), [](const CheckpointFile& a, const CheckpointFile& b) {
    return a.step != b.step ? a.step < b.step : a.path < b.path;  // those without a number first
  });
  return found;
}

}  // namespace

CheckpointFile find_checkpoint(const fs::path& path, std::optional<std::int64_t> step) {
  std::error_code error;
  VPD_CHECK(fs::exists(path, error), DataError,
            "{}: expected a checkpoint (.pt, .pth, .safetensors) or a directory of them, found {}",
            path.string(), found_instead(path, "nothing of that name"));
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

NamedTensors take_target(ForeignState& state, const std::string& prefix, const ModelConfig& model,
                         std::vector<std::string>& warnings) {
  VPD_CHECK(!state.contains(prefix + "h.0.attn.c_attn.weight"), DataError,
            "{}: expected matrices q_proj, k_proj and v_proj, found one c_attn for all three "
            "(use_grouped_query_attention: false), which cannot be imported",
            state.file().string());
  const std::string head = prefix + "lm_head.weight";
  const std::vector<std::int64_t> embedding_shape = {model.vocab_size, model.n_embd};
  bool untied = state.contains(head);
  if (untied) {
    untied =
        !at::equal(state.take(head, embedding_shape), state.take(prefix + "wte.weight", embedding_shape));
  }
  NamedTensors weights;
  for (const TensorSpec& spec : llama_simple_mlp_weights(model, untied)) {
    weights.emplace_back(spec.name, state.take(prefix + spec.name, spec.shape));
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
