#include "vpd/run/inspect.hpp"

#include <functional>
#include <optional>

#include "inspect_kinds.hpp"
#include "vpd/base/error.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/target/checkpoint.hpp"
#include "vpd/target/huggingface.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

bool has_token_files(const fs::path& directory) {
  for (const auto& entry : fs::directory_iterator(directory)) {
    const fs::path extension = entry.path().extension();
    if (extension == ".bin" || extension == ".npy") return true;
  }
  return false;
}

/// What stands at the path, or nothing.
std::function<Findings(const fs::path&)> inspector_of(const fs::path& path) {
  if (fs::is_directory(path)) {
    if (fs::exists(path / components_file)) return inspect_checkpoint;
    if (fs::exists(path / "config.yaml") && fs::is_directory(path / "checkpoints")) return inspect_run;
    if (model_config_in(path)) return inspect_target;
    if (is_huggingface(path)) return inspect_huggingface;
    if (has_token_files(path)) return inspect_tokens;
    return {};
  }
  const fs::path extension = path.extension();
  if (extension == ".bin" || extension == ".npy") return inspect_tokens;  // or a pattern of them
  if (extension == ".safetensors") return inspect_safetensors;
  if (path.filename() == "tokenizer.json") return inspect_tokenizer;
  return {};
}

}  // namespace

Inspection inspect(const fs::path& path) {
  const bool pattern = path.string().find_first_of("*?[") != std::string::npos;
  VPD_CHECK(pattern || fs::exists(path), DataError,
            "{}: expected something to look into, found nothing of that name", path.string());
  const auto inspector = inspector_of(path);
  VPD_CHECK(inspector, DataError,
            "{}: expected a run, checkpoint or target directory, token files (.bin, .npy), a .safetensors "
            "file or a tokenizer.json, found "
            "{}; `vpd check` reads configurations",
            path.string(), fs::is_directory(path) ? "a directory without any of these" : "another file");
  Findings findings = inspector(path);
  findings.data.map()->insert(findings.data.map()->begin(), {{"kind", config::Value(findings.kind)},
                                                             {"path", config::Value(path.string())}});
  return {findings.kind, fmt::format("{}: {}\n\n{}", path.string(), findings.title, findings.text),
          config::to_json(findings.data)};
}

}  // namespace vpd
