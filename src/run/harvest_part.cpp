#include "harvest_part.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <set>
#include <system_error>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "vpd/base/error.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::string_view state_prefix = "state_";
constexpr const char* progress_file = "progress.json";

/// The first key whose values differ, and both values.
void check_same(const Json& found, const Json& wanted, const fs::path& path) {
  for (const auto& [key, value] : wanted.items()) {
    VPD_CHECK(
        found.contains(key) && found[key] == value, DataError,
        "{}: expected \"{}\" to be {}, as this harvest has it, found {} in what an earlier one saved; go on "
        "with the same options, or remove {} to begin anew",
        path.string(), key, json_text(value), found.contains(key) ? json_text(found[key]) : "nothing",
        path.parent_path().parent_path().string());
  }
}

std::vector<fs::path> entries_of(const fs::path& path) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator i(path, error), end; !error && i != end; i.increment(error))
    entries.push_back(i->path());
  std::sort(entries.begin(), entries.end());
  return entries;
}

}  // namespace

HarvestShard shard_of(const std::string& text) {
  HarvestShard shard;
  const std::size_t slash = text.find_first_of("/-");
  const auto number = [&](std::string_view part, int& value) {
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    return error == std::errc() && end == part.data() + part.size();
  };
  const bool read = slash != std::string::npos &&
                    number(std::string_view(text).substr(0, slash), shard.index) &&
                    number(std::string_view(text).substr(slash + 1), shard.count);
  VPD_CHECK(
      read && shard.count >= 1 && shard.index >= 0 && shard.index < shard.count, UsageError,
      "--shard: expected a part and the number of parts, from 0/8 to 7/8 for eight of them, found \"{}\"",
      text);
  return shard;
}

HarvestPart::HarvestPart(const fs::path& parts, const HarvestShard& shard, Json settings)
    : path_(parts / fmt::format("{}-of-{}", shard.index, shard.count)) {
  std::error_code error;
  fs::create_directories(path_, error);
  VPD_CHECK(!error, DataError, "{}: cannot make the directory: {}; allow writing there", path_.string(),
            error.message());
  lock_ = ::open((path_ / "lock").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  VPD_CHECK(lock_ >= 0, DataError, "{}: cannot write there: {}", path_.string(),
            std::generic_category().message(errno));
  VPD_CHECK(::flock(lock_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK, DataError,
            "{}: another program harvests this part; wait for it or stop it", path_.string());
  for (const fs::path& entry : entries_of(path_)) {
    if (entry.filename().string().starts_with(".tmp-")) fs::remove_all(entry, error);
  }
  const fs::path file = path_ / "settings.json";
  if (fs::exists(file, error) && latest()) {
    const Json found = Json::parse(read_text(file), nullptr, /*allow_exceptions=*/false);
    VPD_CHECK(found.is_object(), DataError, "{}: expected a JSON object, found none; remove {}",
              file.string(), path_.string());
    check_same(found, settings, file);
  } else {
    write_atomically(file, json_text(settings, 1) + "\n");
  }
}

HarvestPart::~HarvestPart() {
  if (lock_ >= 0) ::close(lock_);
}

std::optional<HarvestPart::State> HarvestPart::latest() const {
  std::optional<State> latest;
  for (const fs::path& entry : entries_of(path_)) {
    if (!entry.filename().string().starts_with(state_prefix)) continue;
    const Json progress = Json::parse(read_text(entry / progress_file), nullptr, /*allow_exceptions=*/false);
    VPD_CHECK(progress.is_object() && progress.contains("next") && progress["next"].is_number_integer(),
              DataError, "{}: expected the number of the next batch, found none; remove {}",
              (entry / progress_file).string(), entry.string());
    latest = State{entry, progress["next"].get<std::int64_t>(), progress.value("done", false)};
  }
  return latest;
}

void HarvestPart::save(std::int64_t next, bool done,
                       const std::function<void(const fs::path&)>& write) const {
  publish_result(path_ / fmt::format("{}{:010}{}", state_prefix, next, done ? "_done" : ""),
                 [&](const fs::path& directory) {
                   write(directory);
                   const Json progress = {{"next", next}, {"done", done}};
                   write_atomically(directory / progress_file, json_text(progress) + "\n");
                 });
  std::vector<fs::path> states;
  for (const fs::path& entry : entries_of(path_))
    if (entry.filename().string().starts_with(state_prefix)) states.push_back(entry);
  std::error_code ignored;
  for (std::size_t i = 0; i + 2 < states.size(); ++i) fs::remove_all(states[i], ignored);
}

std::vector<HarvestShard> shards_of(const fs::path& parts, int count) {
  std::vector<HarvestShard> shards;
  std::set<int> counts;
  for (const fs::path& entry : entries_of(parts)) {
    std::string name = entry.filename().string();
    const std::size_t of = name.find("-of-");
    if (of == std::string::npos) continue;
    const HarvestShard shard = shard_of(name.substr(0, of) + "/" + name.substr(of + 4));
    if (count > 0 && shard.count != count) continue;
    shards.push_back(shard);
    counts.insert(shard.count);
  }
  VPD_CHECK(
      !shards.empty(), DataError,
      "{}: expected the parts of a harvest, found none: run `vpd harvest RUN --shard 0/N` and so on first",
      parts.string());
  VPD_CHECK(counts.size() == 1, DataError,
            "{}: expected parts of one number of shards, found several; remove those that are not wanted",
            parts.string());
  std::sort(shards.begin(), shards.end(), [](const auto& a, const auto& b) { return a.index < b.index; });
  std::vector<std::string> missing;
  std::size_t k = 0;
  for (int i = 0; i < *counts.begin(); ++i) {
    if (k < shards.size() && shards[k].index == i) {
      ++k;
    } else {
      missing.push_back(std::to_string(i));
    }
  }
  VPD_CHECK(missing.empty(), DataError, "{}: expected all {} parts, found none of shard {}: run those first",
            parts.string(), *counts.begin(), join_words(missing));
  return shards;
}

}  // namespace vpd
