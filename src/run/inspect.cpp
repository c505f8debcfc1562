#include "vpd/run/inspect.hpp"

#include <algorithm>
#include <functional>
#include <optional>
#include <system_error>

#include "inspect_kinds.hpp"
#include "machine/scoped_thread_count.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/file_format.hpp"
#include "vpd/base/path_meaning.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/target/checkpoint.hpp"
#include "vpd/target/huggingface.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Inspector = std::function<Findings(const fs::path&, const Observer&)>;

constexpr const char* known_things =
    "a run, checkpoint or target directory, token files (.bin, .npy), a .safetensors file or a "
    "tokenizer.json";

bool is_token_file(const fs::path& path) { return path.extension() == ".bin" || path.extension() == ".npy"; }

Inspector inspector_of_directory(const fs::path& path) {
  std::error_code error;
  if (fs::exists(path / components_file, error)) return inspect_checkpoint;
  if (fs::exists(path / "config.yaml", error) && fs::is_directory(path / "checkpoints", error))
    return inspect_run;
  if (model_config_in(path)) return inspect_target;
  if (is_huggingface(path)) return inspect_huggingface;
  const std::vector<fs::path> entries = visible_entries(path);
  if (std::any_of(entries.begin(), entries.end(), is_token_file)) return inspect_tokens;
  const auto closed = obstacle(path / components_file);
  throw DataError(fmt::format("{}: expected {}, found {}; `vpd check` reads configurations", path.string(),
                              known_things, closed.value_or("a directory without any of these")));
}

Inspector inspector_of_file(const fs::path& path) {
  if (is_token_file(path)) return inspect_tokens;
  if (path.extension() == ".safetensors") return inspect_safetensors;
  if (path.filename() == "tokenizer.json") return inspect_tokenizer;
  const auto format = other_format(path, FileUse::anything);
  throw DataError(fmt::format("{}: expected {}, found another file{}; `vpd check` reads configurations",
                              path.string(), known_things, format ? ", " + *format : ""));
}

Findings look_into(const fs::path& path, const Observer& observer) {
  const PathMeaning meaning = meaning_of(path);
  VPD_CHECK(!meaning.paths.empty(), DataError, "{}: expected something to look into, found {}", path.string(),
            meaning.obstacle.value_or(meaning.is_pattern ? "nothing that matches the pattern"
                                                         : "nothing of that name"));
  const fs::path& only = meaning.paths.front();
  if (meaning.paths.size() > 1) {
    VPD_CHECK(std::any_of(meaning.paths.begin(), meaning.paths.end(), is_token_file), DataError,
              "{}: expected a pattern of one thing or of token files (.bin, .npy), found {} others that it "
              "matches, the first of which is {}; name one of them",
              path.string(), meaning.paths.size(), only.string());
    return inspect_tokens(path, observer);
  }
  std::error_code error;
  const bool is_directory = fs::is_directory(only, error);
  return (is_directory ? inspector_of_directory(only) : inspector_of_file(only))(only, observer);
}

}  // namespace

Inspection inspect(const fs::path& path, const Observer& observer) {
  const ScopedThreadCount threads(0);
  Findings findings = look_into(path, observer);
  config::Value::List warnings;
  for (const std::string& warning : findings.warnings) {
    findings.text += "warning: " + printable(warning) + "\n";
    warnings.emplace_back(warning);
  }
  config::Value::Map& map = *findings.data.map();
  map.insert(map.begin(), {{"kind", config::Value(findings.kind)}, {"path", config::Value(path.string())}});
  map.push_back({"warnings", config::Value(std::move(warnings))});
  const std::string title = printable(fmt::format("{}: {}", path.string(), findings.title));
  return {findings.kind, title + "\n\n" + printable_lines(findings.text), config::to_json(findings.data)};
}

}  // namespace vpd
