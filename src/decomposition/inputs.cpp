#include "inputs.hpp"

#include <algorithm>
#include <variant>

#include <nlohmann/json.hpp>

#include "provenance.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/known_files.hpp"
#include "vpd/io/token_shard.hpp"
#include "vpd/target/target_directory.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::vector<fs::path> target_files(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename();
    const bool description = entry.path().stem() == "model_config" || name == "config.json" ||
                             name.ends_with(".safetensors.index.json");
    if (!name.starts_with('.') && entry.is_regular_file() && (description || name.ends_with(".safetensors")))
      files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// What provenance.json says of one role.
struct Recorded {
  std::vector<HashedFile> files;  ///< paths as JSON has them
  bool by_role = false;           ///< these and no others, in this order; else those of all roles together
};

Recorded recorded(const Json& provenance, const std::string& role) {
  Recorded found;
  const Json& inputs = provenance["inputs"];
  const Json reads = provenance.value("reads", Json::object());
  const auto hash_of = [&](const std::string& path) {
    const Json hash = inputs.value(path, Json());
    return hash.is_string() ? hash.get<std::string>() : std::string();
  };
  if (reads.is_object() && reads.contains(role) && reads[role].is_array()) {
    found.by_role = true;
    for (const Json& path : reads[role])
      if (path.is_string())
        found.files.push_back({path.get<std::string>(), hash_of(path.get<std::string>())});
  } else {
    for (const auto& [path, hash] : inputs.items()) found.files.push_back({path, hash_of(path)});
  }
  return found;
}

[[noreturn]] void refuse_changed(const fs::path& file, const std::string& now, const std::string& before) {
  throw DataError(
      fmt::format("{}: expected the file that the run began with, found one that was changed since (SHA-256 "
                  "{} instead of "
                  "{}); put the old one back or start a new run",
                  file.string(), now.substr(0, 12), before.substr(0, 12)));
}

[[noreturn]] void refuse_unknown(const fs::path& file) {
  throw DataError(fmt::format(
      "{}: expected the files that the run began with, found one that was not among them; move it "
      "away or start a new run",
      file.string()));
}

/// The recorded file that `file`, number `i` of its role, has to equal; none: there is none of its kind.
const HashedFile* counterpart(const Recorded& before, const std::string& role, const fs::path& file,
                              std::size_t i) {
  const auto by = [&](const auto& same) -> const HashedFile* {
    const auto found = std::find_if(before.files.begin(), before.files.end(), same);
    return found == before.files.end() ? nullptr : &*found;
  };
  const auto same_path = [&](const HashedFile& known) { return known.path.string() == name_in_json(file); };
  if (!before.by_role) return by(same_path);
  // Tokens are one sequence over all files, whatever these are called; a target's files are told apart by
  // name.
  if (role != "target") return i < before.files.size() ? &before.files[i] : nullptr;
  return by([&](const HashedFile& known) {
    return known.path.filename().string() == name_in_json(file.filename());
  });
}

}  // namespace

std::string name_in_json(const fs::path& path) { return to_valid_utf8(path.string()); }

InputRole target_role(const TargetConfig& target) { return {"target", target_files(directory_of(target))}; }

std::vector<InputRole> input_roles(const RunConfig& config) {
  std::vector<InputRole> roles = {target_role(config.target)};
  const auto add = [&](const char* name, const DataSource& source) {
    InputRole role{name, {}};
    if (const auto* tokens = std::get_if<TokensData>(&source)) {
      for (const TokenShard& shard : open_token_shards(tokens->path)) role.files.push_back(shard.path());
    } else if (const auto* prompts = std::get_if<PromptsData>(&source)) {
      role.files.push_back(prompts->path);
    } else {
      return;  // rows that are made, not read
    }
    roles.push_back(std::move(role));
  };
  add("data.train", config.data.train);
  add("data.eval", config.data.eval);
  if (config.data.background) add("data.background", *config.data.background);
  if (const auto& start = config.initialize_from)
    roles.push_back({"initialize_from", {*start / components_file, *start / causal_importance_file}});
  return roles;
}

std::vector<HashedRole> hash_inputs(const std::vector<InputRole>& roles, const Observer& observer) {
  constexpr double slow = 256 << 20, bytes_a_second = 300e6;
  double unknown = 0.0;
  std::error_code error;
  for (const InputRole& role : roles) {
    for (const fs::path& file : role.files) {
      if (known_file(file).sha256) continue;
      const std::uintmax_t size = fs::file_size(file, error);
      if (!error) unknown += static_cast<double>(size);
    }
  }
  if (unknown > slow && observer.say) {
    observer.say(fmt::format(
        "reading {} of inputs for their hashes: about {}, once, since an unchanged file is known afterwards",
        human_bytes(unknown), human_duration(unknown / bytes_a_second)));
  }
  std::vector<HashedRole> hashed;
  for (const InputRole& role : roles) {
    hashed.push_back({role.name, {}});
    for (const fs::path& file : role.files) {
      if (observer.status) observer.status(fmt::format("reading {} for its hash", file.string()));
      hashed.back().files.push_back({file, known_sha256(file, observer.stop)});
    }
  }
  return hashed;
}

bool knows_inputs(const fs::path& provenance) {
  const Json json = read_provenance(provenance);
  return json.contains("inputs") && json["inputs"].is_object();
}

void verify_inputs(const fs::path& path, const std::vector<InputRole>& roles, const Observer& observer) {
  const Json json = read_provenance(path);
  if (!json.contains("inputs") || !json["inputs"].is_object()) return;
  for (const HashedRole& role : hash_inputs(roles, observer)) {
    const Recorded before = recorded(json, role.name);
    for (std::size_t i = 0; i < role.files.size(); ++i) {
      const HashedFile& now = role.files[i];
      const auto has_its_hash = [&](const HashedFile& known) { return known.sha256 == now.sha256; };
      const HashedFile* expected = counterpart(before, role.name, now.path, i);
      if (expected && expected->sha256 == now.sha256) continue;
      const bool known_elsewhere = std::any_of(before.files.begin(), before.files.end(), has_its_hash);
      if (!before.by_role && !expected && known_elsewhere) continue;  // it was moved
      if (!expected) refuse_unknown(now.path);
      VPD_CHECK(
          !known_elsewhere || role.name == "target", DataError,
          "{}: expected the {} files of {} in the order that the run began with, found another order; give "
          "them names that sort as before",
          now.path.string(), before.files.size(), role.name);
      refuse_changed(now.path, now.sha256, expected->sha256);
    }
    VPD_CHECK(!before.by_role || role.files.size() == before.files.size(), DataError,
              "{}: expected the {} files that the run began with, found {} of them; put back what is missing",
              role.name, before.files.size(), role.files.size());
  }
}

}  // namespace vpd
