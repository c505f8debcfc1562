#include "named_target.hpp"

#include <system_error>

#include "vpd/base/error.hpp"
#include "vpd/base/path_meaning.hpp"
#include "vpd/decomposition/opened_run.hpp"
#include "vpd/io/run_directory.hpp"
#include "vpd/target/checkpoint.hpp"
#include "vpd/target/huggingface.hpp"
#include "vpd/target/target_directory.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

NamedTarget of_run(const fs::path& config) {
  RunConfig run = load_run_config(config, {}, config::Files::may_be_missing);
  TargetConfig target = run.target;
  return {std::move(target), std::move(run)};
}

}  // namespace

NamedTarget named_target(const fs::path& path) {
  std::error_code error;
  VPD_CHECK(fs::exists(path, error), DataError,
            "{}: expected a target's directory, a run or its configuration, found {}", path.string(),
            obstacle(path).value_or("nothing of that name"));
  if (!fs::is_directory(path, error)) return of_run(path);
  if (model_config_in(path) || is_huggingface(path)) return {target_in(path), std::nullopt};
  VPD_CHECK(fs::exists(path / "config.yaml", error), DataError,
            "{}: expected a target's directory, which has a config.json or a model_config.json, or a run's, "
            "which has a config.yaml, found one without these",
            path.string());
  return of_run(RunDirectory::open(path).config_path());
}

std::optional<Tokenizer> find_tokenizer(const NamedTarget& target) {
  if (target.run) return find_tokenizer(*target.run);
  std::error_code error;
  const fs::path beside = directory_of(target.target) / "tokenizer.json";
  if (!fs::exists(beside, error)) return std::nullopt;
  return Tokenizer::load(beside);
}

}  // namespace vpd
