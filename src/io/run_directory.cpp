#include "vpd/io/run_directory.hpp"

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <system_error>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "vpd/base/error.hpp"
#include "vpd/base/file_format.hpp"
#include "vpd/base/path_meaning.hpp"
#include "vpd/base/text.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/sha256.hpp"

namespace vpd {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kTemporaryPrefix = ".tmp-";
constexpr std::string_view kLostAndFound = "lost+found";  // of a volume that is mounted there

std::string name_of(std::int64_t step) { return fmt::format("step_{:08d}", step); }

std::optional<std::int64_t> step_of(const std::string& name) {
  constexpr std::string_view prefix = "step_";
  if (!name.starts_with(prefix)) return std::nullopt;
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), step);
  // Comparing with the name that we would write leaves out signs, missing zeros and anything after the
  // digits.
  if (error != std::errc{} || end != name.data() + name.size() || step < 0 || name_of(step) != name)
    return std::nullopt;
  return step;
}

[[noreturn]] void cannot(const fs::path& path, std::string_view action, const std::error_code& error) {
  throw DataError(fmt::format("{}: cannot {}: {}; check the path, its permissions and the free space",
                              path.string(), action, error.message()));
}

void make_directories(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) cannot(path, "create the directory", error);
}

void remove_directory(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) cannot(path, "remove the directory", error);
}

// A checkpoint is renamed before it is removed, so that a kill halfway leaves no incomplete one under its
// good name.
void remove_checkpoint(const fs::path& path) {
  const fs::path aside =
      path.parent_path() / fmt::format("{}removed_{}", kTemporaryPrefix, path.filename().string());
  remove_directory(aside);
  std::error_code error;
  fs::rename(path, aside, error);
  if (error) cannot(path, "remove the old checkpoint", error);
  remove_directory(aside);
}

/// "<path>.<word>", or with a number where that is taken.
fs::path free_name(const fs::path& path, std::string_view word) {
  std::error_code error;
  for (int number = 1;; ++number) {
    const std::string ending = number == 1 ? std::string(word) : fmt::format("{}-{}", word, number);
    fs::path name = path.parent_path() / fmt::format("{}.{}", path.filename().string(), ending);
    if (!fs::exists(fs::symlink_status(name, error))) return name;
  }
}

std::vector<fs::path> entries_of(const fs::path& path) {
  std::error_code error;
  std::vector<fs::path> entries;
  for (fs::directory_iterator i(path, error), end; !error && i != end; i.increment(error))
    entries.push_back(i->path());
  if (error && error != std::errc::no_such_file_or_directory) cannot(path, "list the directory", error);
  return entries;
}

/// Whether a directory is empty, or holds nothing but what comes before a run's config.yaml.
bool never_begun(const fs::path& path) {
  const auto temporary = [](const fs::path& entry) {
    return entry.filename().string().starts_with(kTemporaryPrefix);
  };
  for (const fs::path& entry : entries_of(path)) {
    const std::string name = entry.filename().string();
    if (name == "log.txt" || name == "provenance.json" || name == "status.json" || name == kLostAndFound ||
        temporary(entry))
      continue;
    if (name != "checkpoints") return false;
    const std::vector<fs::path> inside = entries_of(entry);
    if (!std::all_of(inside.begin(), inside.end(), temporary)) return false;
  }
  return true;
}

}  // namespace

RunDirectory::RunDirectory(fs::path path) : path_(std::move(path)) {}

void RunDirectory::check_free(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return;
  VPD_CHECK(fs::is_directory(path, error), DataError,
            "{}: expected a new directory for the run, found a file; choose another --out", path.string());
  VPD_CHECK(never_begun(path), DataError,
            "{} already exists and is not empty: choose another --out or resume with --resume",
            path.string());
}

RunDirectory RunDirectory::create(const fs::path& path) {
  check_free(path);
  RunDirectory run(path);
  make_directories(run.checkpoints_path());
  return run;
}

RunDirectory RunDirectory::open(const fs::path& path) {
  std::error_code error;
  VPD_CHECK(fs::is_directory(path, error), DataError, "{}: expected the directory of a run, found {}",
            path.string(),
            obstacle(path).value_or(fs::exists(path, error) ? "a file" : "nothing of that name"));
  RunDirectory run(path);
  VPD_CHECK(fs::is_directory(run.checkpoints_path(), error), DataError,
            "{}: expected the directory of a run, which holds config.yaml and checkpoints/, found {}",
            path.string(), obstacle(run.checkpoints_path()).value_or("no checkpoints/"));
  return run;
}

RunDirectory RunDirectory::open_for_resume(const fs::path& path) {
  RunDirectory run = open(path);
  for (const fs::path& directory : {run.path_, run.checkpoints_path()}) {
    for (const fs::path& entry : entries_of(directory)) {
      if (entry.filename().string().starts_with(kTemporaryPrefix)) remove_directory(entry);
    }
  }
  return run;
}

fs::path RunDirectory::checkpoint_path(std::int64_t step) const { return checkpoints_path() / name_of(step); }

std::vector<Checkpoint> RunDirectory::checkpoints() const {
  std::vector<Checkpoint> found;
  for (const fs::path& entry : entries_of(checkpoints_path())) {
    std::error_code error;
    const auto step = step_of(entry.filename().string());
    if (step && fs::is_directory(entry, error)) found.push_back({*step, entry});
  }
  std::sort(found.begin(), found.end(),
            [](const Checkpoint& a, const Checkpoint& b) { return a.step < b.step; });
  return found;
}

std::optional<Checkpoint> RunDirectory::latest() const {
  const std::vector<Checkpoint> all = checkpoints();
  std::error_code error;
  const fs::path target = fs::read_symlink(checkpoints_path() / "latest", error);
  if (!error) {
    for (const Checkpoint& checkpoint : all) {
      if (checkpoint.path.filename() == target) return checkpoint;
    }
  }
  return all.empty() ? std::nullopt : std::optional(all.back());
}

Checkpoint RunDirectory::checkpoint(std::int64_t step) const {
  std::vector<std::string> steps;
  for (const Checkpoint& checkpoint : checkpoints()) {
    if (checkpoint.step == step) return checkpoint;
    steps.push_back(std::to_string(checkpoint.step));
  }
  throw DataError(fmt::format("{}: expected a checkpoint of step {}, found {}", path_.string(), step,
                              steps.empty() ? "none" : "those of " + join_words(steps)));
}

bool RunDirectory::read_latest(const std::function<void(const Checkpoint&)>& read) const {
  constexpr int attempts = 5;
  for (int attempt = 1;; ++attempt) {
    const std::optional<Checkpoint> checkpoint = latest();
    if (!checkpoint) return false;
    try {
      read(*checkpoint);
      return true;
    } catch (const DataError&) {
      std::error_code error;
      if (fs::exists(checkpoint->path, error) || attempt == attempts) throw;
    }
  }
}

std::vector<std::string> RunDirectory::publish_checkpoint(std::int64_t step,
                                                          const std::function<void(const fs::path&)>& write,
                                                          std::int64_t keep) const {
  VPD_CHECK(step >= 0 && keep >= 1, UsageError,
            "expected a step of at least 0 and at least 1 checkpoint to keep, found step {} and {}", step,
            keep);
  const fs::path temporary =
      checkpoints_path() / fmt::format("{}{}.{}", kTemporaryPrefix, name_of(step), ::getpid());
  remove_directory(temporary);
  make_directories(temporary);
  try {
    write(temporary);
    publish_directory(temporary, checkpoint_path(step));
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }

  // The checkpoint is whole. What comes now is convenience, and does not end a run where it fails.
  std::vector<std::string> warnings;
  const auto attempt = [&](const auto& work) {
    try {
      work();
    } catch (const DataError& error) {
      warnings.emplace_back(error.what());
    }
  };
  attempt([&] { point_latest_at(name_of(step)); });
  attempt([&] {
    std::vector<Checkpoint> all = checkpoints();
    const auto excess = static_cast<std::int64_t>(all.size()) - keep;
    for (std::int64_t i = 0; i < excess; ++i) {
      const Checkpoint& old = all[static_cast<std::size_t>(i)];
      if (old.step != step) attempt([&] { remove_checkpoint(old.path); });
    }
  });
  return warnings;
}

void RunDirectory::point_latest_at(const std::string& name) const {
  const fs::path link = checkpoints_path() / "latest";
  std::error_code error;
  // A run that was copied with its links followed has a whole checkpoint there, and not the last one for
  // long.
  if (fs::is_directory(fs::symlink_status(link, error))) {
    const fs::path aside = free_name(link, "copy");
    fs::rename(link, aside, error);
    VPD_CHECK(
        !error, DataError,
        "{}: expected a link to the last checkpoint, found a directory that cannot be moved away ({}): it "
        "is not the last checkpoint; remove it",
        link.string(), error.message());
  }
  try {
    replace_symlink(link, name);
  } catch (const DataError& failure) {
    const bool stale = fs::remove(link, error);
    throw DataError(fmt::format(
        "{}; the file system may have no links: without one the last checkpoint is the one of the highest "
        "step{}",
        failure.what(),
        error   ? ". What stands there is not the last checkpoint: remove it"
        : stale ? ", and what stood there was removed"
                : ""));
  }
}

void RunDirectory::set_aside_after(std::int64_t step) const {
  std::error_code error;
  for (const Checkpoint& checkpoint : checkpoints()) {
    if (checkpoint.step <= step) continue;
    fs::rename(checkpoint.path, free_name(checkpoint.path, "set_aside"), error);
    if (error) cannot(checkpoint.path, "rename the checkpoint", error);
  }
}

void verify_checkpoint(const fs::path& checkpoint) {
  const fs::path state_path = checkpoint / "state.json";
  std::error_code error;
  VPD_CHECK(fs::is_directory(checkpoint, error), DataError,
            "{}: expected the directory of a checkpoint, found {}", checkpoint.string(),
            obstacle(checkpoint).value_or(fs::exists(checkpoint, error) ? "a file" : "nothing of that name"));
  if (!fs::exists(state_path, error)) return;
  const nlohmann::json state = nlohmann::json::parse(read_text(state_path), nullptr, false);
  VPD_CHECK(
      state.is_object() && state.contains("sha256") && state["sha256"].is_object(), DataError,
      "{}: expected a JSON object with the hashes of the checkpoint's files under \"sha256\", found none",
      state_path.string());
  for (const auto& [name, hash] : state["sha256"].items()) {
    VPD_CHECK(hash.is_string() && fs::path(name).filename() == name, DataError,
              "{}: expected names of files beside it and their hashes under \"sha256\", found '{}'",
              state_path.string(), name);
    const std::string found = sha256_of_file(checkpoint / name);
    if (found == hash.get<std::string>()) continue;
    const auto format = other_format(checkpoint / name, FileUse::safetensors);
    throw DataError(fmt::format(
        "{}: expected the SHA-256 {} of state.json, found {}{}; the file was changed or damaged, use another "
        "checkpoint",
        (checkpoint / name).string(), hash.get<std::string>(), found, format ? ", " + *format : ""));
  }
}

}  // namespace vpd
