#include "vpd/interpretation/results.hpp"

#include <algorithm>
#include <cctype>
#include <system_error>

#include <unistd.h>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/host.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/base/version.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/known_files.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* about_file = "about.json";

/// "; names that are there: king, queen": of results of the same kind, the first few.
std::string named_beside(const fs::path& path) {
  constexpr std::size_t most = 8;
  std::vector<std::string> names;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(path.parent_path(), error)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_directory(error) && !name.starts_with('.')) names.push_back(name);
  }
  if (names.empty()) return "";
  std::sort(names.begin(), names.end());
  if (names.size() > most) names.resize(most), names.push_back("...");
  return "; names that are there: " + join_words(names);
}

}  // namespace

fs::path results_path(const RunDirectory& run, std::int64_t step) {
  return run.path() / "interpretation" / fmt::format("step_{:08}", step);
}

fs::path existing_result(const RunDirectory& run, std::int64_t step, const std::string& name,
                         const std::string& command) {
  const fs::path path = results_path(run, step) / name;
  std::error_code error;
  if (fs::is_directory(path, error)) return path;
  std::vector<std::string> others;
  for (const Checkpoint& checkpoint : run.checkpoints()) {
    if (fs::is_directory(results_path(run, checkpoint.step) / name, error))
      others.push_back(std::to_string(checkpoint.step));
  }
  std::string cure = others.empty() ? "" : "; steps that have it: " + join_words(others);
  if (path.parent_path() != results_path(run, step)) cure += named_beside(path);
  throw DataError(fmt::format("{}: expected what `vpd {} {}` leaves there, found nothing: run it first{}",
                              path.string(), command, shell_quoted(run.path().string()), cure));
}

void check_slug(const std::string& name) {
  const bool plain = !name.empty() && name.size() <= 100 && name[0] != '.' &&
                     std::all_of(name.begin(), name.end(), [](unsigned char c) {
                       return std::isalnum(c) || c == '.' || c == '_' || c == '-';
                     });
  VPD_CHECK(plain, UsageError, "--slug: expected a name of letters, digits, \".\", \"_\" and \"-\", found {}",
            quote_foreign(name));
}

void publish_result(const fs::path& destination, const std::function<void(const fs::path&)>& write) {
  if (!destination.has_filename())
    return publish_result(destination.parent_path(), write);  // a slash at the end
  const fs::path temporary =
      destination.parent_path() / fmt::format(".tmp-{}.{}", destination.filename().string(), ::getpid());
  std::error_code error;
  fs::create_directories(temporary, error);
  VPD_CHECK(!error, DataError, "{}: cannot make the directory: {}; allow writing there",
            destination.parent_path().string(), error.message());
  try {
    write(temporary);
    publish_directory(temporary, destination);
  } catch (...) {
    fs::remove_all(temporary, error);
    throw;
  }
}

Json weight_hashes(const fs::path& checkpoint, const Observer& observer) {
  Json hashes;
  for (const char* name : {components_file, causal_importance_file})
    hashes[name] = known_sha256(checkpoint / name, observer.stop);
  return hashes;
}

void check_weights(const fs::path& path, const Json& about, const Json& weights, const fs::path& checkpoint) {
  for (const auto& [name, hash] : weights.items()) {
    VPD_CHECK(about.contains("weights") && about["weights"].value(name, Json()) == hash, DataError,
              "{}: expected a result for {}, found one that was made of other weights; make it again",
              (path / about_file).string(), (checkpoint / name).string());
  }
}

Json about_result(const std::string& command_line, std::int64_t step, const Json& weights,
                  const std::vector<std::string>& warnings) {
  return {{"version", version()},
          {"git_revision", git_revision()},
          {"command_line", command_line},
          {"time", utc_now()},
          {"step", step},
          {"weights", weights},
          {"warnings", warnings},
          {"claim", claim}};
}

void write_about(const fs::path& directory, const Json& about) {
  write_atomically(directory / about_file, json_text(about, 1) + "\n");
}

Json read_about(const fs::path& directory) {
  const fs::path path = directory / about_file;
  Json about = Json::parse(read_text(path), nullptr, /*allow_exceptions=*/false);
  VPD_CHECK(about.is_object(), DataError, "{}: expected a JSON object, found none; make the result again",
            path.string());
  return about;
}

}  // namespace vpd
