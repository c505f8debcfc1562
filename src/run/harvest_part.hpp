#pragma once

#include <filesystem>
#include <functional>
#include <optional>

#include <nlohmann/json.hpp>

#include "vpd/run/harvest.hpp"

namespace vpd {

/// harvest.parts/<index>-of-<count>: what one shard has seen so far, saved now and then.
class HarvestPart {
 public:
  /// Makes the directory or finds it, holds it against other programs, and compares the settings with those
  /// that it began with. Throws DataError.
  HarvestPart(const std::filesystem::path& parts, const HarvestShard& shard, nlohmann::ordered_json settings);
  ~HarvestPart();
  HarvestPart(const HarvestPart&) = delete;
  HarvestPart& operator=(const HarvestPart&) = delete;

  struct State {
    std::filesystem::path path;
    std::int64_t next = 0;  ///< batch that comes next
    bool done = false;
  };
  /// The last state that is whole; nothing: none was saved yet.
  std::optional<State> latest() const;
  /// `write` puts it into an empty directory. Two states are kept.
  void save(std::int64_t next, bool done,
            const std::function<void(const std::filesystem::path&)>& write) const;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int lock_ = -1;
};

/// The shards of a directory of parts: those of `count` in all, or (0) of whatever count there is. Throws
/// DataError where some are missing or of several counts.
std::vector<HarvestShard> shards_of(const std::filesystem::path& parts, int count = 0);

}  // namespace vpd
