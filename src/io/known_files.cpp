#include "vpd/io/known_files.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <span>

#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include "vpd/base/error.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/sha256.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::int64_t smallest_worth_keeping = 1 << 20;  // below, reading takes no longer than looking up
constexpr std::int64_t second = 1'000'000'000;

std::int64_t nanoseconds(const timespec& time) { return time.tv_sec * second + time.tv_nsec; }

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// What tells a file from itself after a change.
struct Identity {
  std::string path;
  std::int64_t size = 0, inode = 0, modified = 0, changed = 0;

  bool operator==(const Identity&) const = default;

  /// Whether a change before `moment` would show: file systems count time in steps, some in whole seconds.
  bool settled_before(std::int64_t moment) const {
    const std::int64_t last = std::max(modified, changed);
    const std::int64_t step = last % second == 0 ? 2 * second : second / 10;
    return last + step < moment;
  }
};

std::optional<Identity> identity_of(const fs::path& path) {
  std::error_code error;
  const fs::path place = fs::canonical(path, error);
  struct stat status {};
  if (error || ::stat(place.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return Identity{place.string(), status.st_size, static_cast<std::int64_t>(status.st_ino),
                  nanoseconds(status.st_mtim), nanoseconds(status.st_ctim)};
}

/// The directory of what is known, or nothing.
std::optional<fs::path> cache_directory() {
  if (std::getenv("VPD_NO_CACHE")) return std::nullopt;
  const char* base = std::getenv("XDG_CACHE_HOME");
  if (base && *base == '/') return fs::path(base) / "vpd";
  const char* home = std::getenv("HOME");
  return home && *home == '/' ? std::optional(fs::path(home) / ".cache" / "vpd") : std::nullopt;
}

fs::path entry_of(const fs::path& directory, const Identity& identity) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(identity.path)));
  return directory / (hash.hex_digest().substr(0, 32) + ".json");
}

Json as_json(const Identity& identity, const KnownFile& known) {
  Json json = {{"path", identity.path},
               {"size", identity.size},
               {"inode", identity.inode},
               {"modified_ns", identity.modified},
               {"changed_ns", identity.changed}};
  if (known.sha256) json["sha256"] = *known.sha256;
  if (known.tokens) json["tokens"] = {known.tokens->smallest, known.tokens->largest};
  return json;
}

/// What an entry says of the file of that identity; nothing where it is of another, or is damaged.
KnownFile recorded(const fs::path& entry, const Identity& identity) {
  std::error_code error;
  if (!fs::exists(entry, error)) return {};
  const Json json = Json::parse(read_text(entry), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return {};
  const Json expected = Json::parse(json_text(as_json(identity, {})));
  for (const auto& [key, value] : expected.items())
    if (json.value(key, Json()) != value) return {};
  KnownFile known;
  if (const Json hash = json.value("sha256", Json()); hash.is_string())
    known.sha256 = hash.get<std::string>();
  if (const Json range = json.value("tokens", Json());
      range.is_array() && range.size() == 2 && range[0].is_number_integer() && range[1].is_number_integer())
    known.tokens = TokenRange{range[0].get<std::int64_t>(), range[1].get<std::int64_t>()};
  return known;
}

}  // namespace

KnownFile known_file(const fs::path& path) try {
  const auto directory = cache_directory();
  const auto identity = identity_of(path);
  if (!directory || !identity || identity->size < smallest_worth_keeping) return {};
  return recorded(entry_of(*directory, *identity), *identity);
} catch (const DataError&) {
  return {};
}

KnownFile read_and_remember(const fs::path& path, const std::function<KnownFile()>& read) {
  const auto directory = cache_directory();
  const auto before = identity_of(path);
  const std::int64_t began = now();
  KnownFile found = read();
  if (!directory || !before || before->size < smallest_worth_keeping) return found;
  if (identity_of(path) != before || !before->settled_before(began)) return found;
  try {
    const fs::path entry = entry_of(*directory, *before);
    const KnownFile known = recorded(entry, *before);
    KnownFile all = found;
    if (!all.sha256) all.sha256 = known.sha256;
    if (!all.tokens) all.tokens = known.tokens;
    std::error_code error;
    fs::create_directories(*directory, error);
    if (!error) write_atomically(entry, json_text(as_json(*before, all), 1) + "\n");
  } catch (const DataError&) {
    // A full disk, or a place that may only be read: the next program reads the file again.
  }
  return found;
}

std::string known_sha256(const fs::path& path, const StopAsked& stop) {
  if (const KnownFile known = known_file(path); known.sha256) return *known.sha256;
  return *read_and_remember(path, [&] {
            return KnownFile{.sha256 = sha256_of_file(path, stop), .tokens = {}};
          }).sha256;
}

}  // namespace vpd
