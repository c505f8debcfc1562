#include "vpd/run/inspect.hpp"

#include <functional>
#include <optional>

#include "inspect_kinds.hpp"
#include "thread_number.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/found.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/target/checkpoint.hpp"
#include "vpd/target/huggingface.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

bool has_token_files(const fs::path& directory) {
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    const fs::path extension = entry->path().extension();
    if (extension == ".bin" || extension == ".npy") return true;
  }
  VPD_CHECK(!error, DataError, "{}: cannot list the directory: {}; check its permissions", directory.string(),
            error.message());
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

Inspection inspect(const fs::path& path, const Observer& observer) {
  const bool pattern = path.string().find_first_of("*?[") != std::string::npos;
  std::error_code error;
  VPD_CHECK(pattern || fs::exists(path, error), DataError, "{}: expected something to look into, found {}",
            path.string(), found_instead(path, "nothing of that name"));
  const auto inspector = inspector_of(path);
  VPD_CHECK(inspector, DataError,
            "{}: expected a run, checkpoint or target directory, token files (.bin, .npy), a .safetensors "
            "file or a tokenizer.json, found "
            "{}; `vpd check` reads configurations",
            path.string(), fs::is_directory(path) ? "a directory without any of these" : "another file");
  const ThreadNumber threads(0);
  observer.announce("reading " + path.string());
  Findings findings = inspector(path);
  findings.data.map()->insert(findings.data.map()->begin(), {{"kind", config::Value(findings.kind)},
                                                             {"path", config::Value(path.string())}});
  return {findings.kind, fmt::format("{}: {}\n\n{}", path.string(), findings.title, findings.text),
          config::to_json(findings.data)};
}

}  // namespace vpd
