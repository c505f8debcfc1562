#include "control_groups.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

namespace vpd {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> words(const std::string& line, char separator = ' ') {
  std::vector<std::string> found;
  std::istringstream stream(line);
  for (std::string word; std::getline(stream, word, separator);) found.push_back(word);
  return found;
}

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end == text.data()) return std::nullopt;  // "max"
  return value;
}

/// The first words of a file; none where there is no such file.
std::vector<std::string> contents(const fs::path& file) {
  std::ifstream stream(file);
  std::vector<std::string> found;
  for (std::string word; stream >> word;) found.push_back(word);
  return found;
}

std::optional<std::int64_t> number_in(const fs::path& file) {
  const std::vector<std::string> found = contents(file);
  return found.empty() ? std::nullopt : number(found[0]);
}

/// The number after `key` in memory.stat.
std::int64_t statistic(const fs::path& file, const char* key) {
  const std::vector<std::string> found = contents(file);
  const auto place = std::find(found.begin(), found.end(), key);
  return place == found.end() || place + 1 == found.end() ? 0 : number(place[1]).value_or(0);
}

/// Spaces in mountinfo stand as \040.
std::string unescaped(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    int code = 0;
    const bool escape =
        text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 4, code, 8).ptr == text.data() + i + 4;
    plain.push_back(escape ? static_cast<char>(code) : text[i]);
    if (escape) i += 3;
  }
  return plain;
}

struct Mount {
  std::string root, point;                 ///< what of the hierarchy is mounted, and where
  bool unified = false;                    ///< version 2
  std::vector<std::string> controllers{};  ///< of version 1
};

std::vector<Mount> mounts(const fs::path& root) {
  std::vector<Mount> found;
  std::ifstream file(root / "proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    // 36 25 0:31 /part /where/it/is options [optional fields] - type source options
    const std::vector<std::string> word = words(line);
    const auto dash = std::find(word.begin(), word.end(), "-");
    if (word.size() < 6 || word.end() - dash < 4) continue;
    const bool unified = dash[1] == "cgroup2";
    if (!unified && dash[1] != "cgroup") continue;
    found.push_back({unescaped(word[3]), unescaped(word[4]), unified, words(dash[3], ',')});
  }
  return found;
}

bool has(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

/// This process's group in the hierarchy that is mounted there: lines "4:memory:/path", of version 2
/// "0::/path".
std::string path_in(const Mount& mount, const fs::path& root) {
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::vector<std::string> controllers = words(line.substr(first + 1, second - first - 1), ',');
    const bool same = mount.unified ? controllers.empty()
                                    : std::any_of(controllers.begin(), controllers.end(),
                                                  [&](const auto& c) { return has(mount.controllers, c); });
    if (same) return line.substr(second + 1);
  }
  return "/";
}

/// From the process's own group to the root of the mount.
std::vector<fs::path> directories(const Mount& mount, const fs::path& root) {
  const std::string path = path_in(mount, root);
  std::string below;  // the root of the mount
  if (mount.root == "/") {
    below = path;
  } else if (path.starts_with(mount.root + "/")) {
    below = path.substr(mount.root.size());
  }
  // Of a group outside of the namespace that this process sees, "/../other", the root is all there is.
  if (below.find("/..") != std::string::npos) below.clear();
  const auto relative = [](const std::string& text) { return fs::path(text).relative_path(); };
  const fs::path top = (root / relative(mount.point)).lexically_normal();
  std::vector<fs::path> found;
  fs::path inside = relative(below).lexically_normal();
  if (!inside.has_filename()) inside = inside.parent_path();
  for (; !inside.empty() && inside != "."; inside = inside.parent_path()) found.push_back(top / inside);
  found.push_back(top);
  return found;
}

ControlGroup read_unified(const fs::path& directory) {
  ControlGroup group;
  // Above memory.high a group is slowed down until it gives memory back: no place for a run either.
  for (const char* name : {"memory.max", "memory.high"}) {
    const auto limit = number_in(directory / name);
    if (limit) group.memory = std::min(*limit, group.memory.value_or(*limit));
  }
  if (group.memory) {
    group.memory_used = number_in(directory / "memory.current").value_or(0) -
                        statistic(directory / "memory.stat", "inactive_file");
  }
  const std::vector<std::string> quota = contents(directory / "cpu.max");  // "50000 100000" or "max 100000"
  const auto time = quota.size() == 2 ? number(quota[0]) : std::nullopt;
  const auto period = quota.size() == 2 ? number(quota[1]) : std::nullopt;
  if (time && period && *period > 0) group.cores = static_cast<double>(*time) / static_cast<double>(*period);
  return group;
}

ControlGroup read_version_1(const fs::path& directory) {
  ControlGroup group;
  constexpr std::int64_t unlimited = std::int64_t{1} << 62;  // the largest number of whole pages stands there
  const auto limit = number_in(directory / "memory.limit_in_bytes");
  if (limit && *limit < unlimited) {
    group.memory = limit;
    group.memory_used = number_in(directory / "memory.usage_in_bytes").value_or(0) -
                        statistic(directory / "memory.stat", "total_inactive_file");
  }
  const auto time = number_in(directory / "cpu.cfs_quota_us");  // -1: no quota
  const auto period = number_in(directory / "cpu.cfs_period_us");
  if (time && period && *time > 0 && *period > 0)
    group.cores = static_cast<double>(*time) / static_cast<double>(*period);
  return group;
}

}  // namespace

std::vector<ControlGroup> control_groups(const fs::path& root) {
  std::vector<ControlGroup> groups;
  for (const Mount& mount : mounts(root)) {
    for (const fs::path& directory : directories(mount, root)) {
      ControlGroup group = mount.unified ? read_unified(directory) : read_version_1(directory);
      group.processes = number_in(directory / "pids.max");
      group.processes_there = number_in(directory / "pids.current").value_or(0);
      groups.push_back(group);
    }
  }
  return groups;
}

}  // namespace vpd
