#include "vpd/decomposition/opened_run.hpp"

#include <algorithm>
#include <string_view>

#include "inputs.hpp"
#include "machine/scoped_thread_count.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse_without_checkpoint(const RunDirectory& run) {
  throw DataError(fmt::format(
      "{}: expected a complete checkpoint under checkpoints/, found none: run `vpd decompose --resume "
      "{}` first",
      run.path().string(), shell_quoted(run.path().string())));
}

/// Loads the weights of a checkpoint, the latest unless `step` says another.
Checkpoint load_chosen(const RunDirectory& run, std::optional<std::int64_t> step,
                       Decomposition& decomposition) {
  Checkpoint chosen;
  const auto load = [&](const Checkpoint& checkpoint) {
    verify_checkpoint(checkpoint.path);
    load_weights(decomposition, checkpoint.path);
    chosen = checkpoint;
  };
  if (step) {
    load(run.checkpoint(*step));
  } else if (!run.read_latest(load)) {
    refuse_without_checkpoint(run);
  }
  return chosen;
}

/// Whether one of the overrides speaks of that part of the configuration.
bool is_overridden(const std::vector<std::string>& overrides, std::string_view part) {
  return std::any_of(overrides.begin(), overrides.end(), [&](const std::string& text) {
    const std::string_view key = std::string_view(text).substr(0, text.find('='));
    return key == part || key.starts_with(std::string(part) + ".") ||
           part.starts_with(std::string(key) + ".");
  });
}

/// The target and the held-out rows have to be those of the run; other rows only where they were asked for.
void verify_what_is_read(const OpenedRun& run, const OpenOptions& options, const Observer& observer) {
  std::vector<InputRole> roles = input_roles(run.config);
  std::erase_if(roles, [&](const InputRole& role) {
    return role.name != "target" &&
           (role.name != "data.eval" || is_overridden(options.overrides, "data.eval.path"));
  });
  verify_inputs(run.directory.provenance_path(), roles, observer);
}

}  // namespace

struct OpenedRun::Threads {
  explicit Threads(int wanted) : number(wanted) {}
  ScopedThreadCount number;
};

OpenedRun::OpenedRun(OpenedRun&&) noexcept = default;
OpenedRun::~OpenedRun() = default;

OpenedRun::OpenedRun(const fs::path& path, const OpenOptions& options, const Observer& observer)
    : directory(RunDirectory::open(path)), config_name(directory.config_path().string()) {
  std::vector<std::string> overrides = options.overrides;
  if (options.device) overrides.push_back("device=" + *options.device);
  config = load_run_config(directory.config_path(), overrides, config::Files::may_be_missing);
  if (options.check) options.check(config);
  if (options.checkpoint) directory.checkpoint(*options.checkpoint);  // before anything large is read
  if (!directory.latest()) refuse_without_checkpoint(directory);
  threads_ = std::make_unique<Threads>(options.threads);
  numerics = resolve_numerics(config.device, config.precision);
  observer.announce("reading the target");
  decomposition = make_decomposition(config, numerics, config_name, warnings);
  verify_what_is_read(*this, options, observer);
  observer.announce("reading the checkpoint");
  checkpoint = load_chosen(directory, options.checkpoint, decomposition);
  eval = open_dataset(config, DataRole::eval, decomposition.target->input(), config_name);
  compute_with(options.rows > 0 ? options.rows : config.evaluation.batch_size);
}

void OpenedRun::compute_with(std::int64_t rows) {
  const int threads = threads_->number.get();
  const int count = suitable_lanes(numerics.device, std::min(rows, eval->rows().value_or(rows)), threads);
  lanes.reset();
  lanes = std::make_unique<Lanes>(count, threads / count);
}

std::unique_ptr<Dataset> OpenedRun::open_train() const {
  return open_dataset(config, DataRole::train, decomposition.target->input(), config_name);
}

std::unique_ptr<Dataset> OpenedRun::open_background() const {
  if (!config.data.background) return nullptr;
  return open_dataset(config, DataRole::background, decomposition.target->input(), config_name);
}

std::optional<Tokenizer> find_tokenizer(const RunConfig& config) {
  std::vector<fs::path> files;
  // Prompts to train on are asked as well: those to evaluate on may have been replaced by tokens.
  for (const DataSource* source : {&config.data.eval, &config.data.train}) {
    const auto* prompts = std::get_if<PromptsData>(source);
    if (prompts && prompts->tokenizer) files.push_back(*prompts->tokenizer);
  }
  std::vector<fs::path> places = {
      std::visit([](const auto& target) -> const fs::path& { return target.path; }, config.target)};
  if (const auto* tokens = std::get_if<TokensData>(&config.data.eval)) {
    places.push_back(tokens->path);
    places.push_back(tokens->path.parent_path());
  }
  for (const fs::path& place : places) files.push_back(place / "tokenizer.json");
  std::error_code error;
  for (const fs::path& file : files)
    if (fs::exists(file, error)) return Tokenizer::load(file);
  return std::nullopt;
}

}  // namespace vpd
