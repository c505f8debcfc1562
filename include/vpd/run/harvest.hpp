#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/launch.hpp"
#include "vpd/base/observer.hpp"
#include "vpd/interpretation/harvest.hpp"
#include "vpd/run/pass_choice.hpp"

namespace vpd {

/// Part `index` of `count`: every count-th batch, from that number on.
struct HarvestShard {
  int index = 0;
  int count = 1;
};
/// "2/8". Throws UsageError for another text.
HarvestShard shard_of(const std::string& text);

struct HarvestOptions : PassChoice {
  std::optional<std::int64_t> positions{};  ///< at most; nothing: a million
  HarvestSettings settings{};
  std::optional<std::int64_t>
      output_tokens{};                       ///< 0: all; nothing: as many as suit (suitable_output_tokens())
  std::int64_t partners = 100;               ///< kept of a subcomponent; 0: all, -1: none
  std::optional<std::int64_t> batch_rows{};  ///< nothing: as many as suit
  std::chrono::seconds save_every{300};
  std::optional<HarvestShard> shard{};
  bool merge = false;                             ///< put the parts of all shards together
  std::optional<std::filesystem::path> sparse{};  ///< every firing as well, for delphi
  std::string command_line{};
  Launch launch{};
};

struct HarvestResult {
  std::filesystem::path directory;  ///< of the tables, or of this shard's part
  bool complete = true;             ///< false: a part of several
  std::int64_t step = 0;
  std::int64_t positions = 0, rows = 0;
  std::int64_t alive = 0, columns = 0;
  double firings = 0.0;  ///< a position
  double seconds = 0.0;
  std::vector<std::string> warnings;
};

/// Evidence for every subcomponent of a checkpoint: RUN/interpretation/step_…/harvest. Interrupted, and after
/// a kill, it goes on from what it saved. Several processes (`launch`) take a shard each, and process 0 puts
/// them together. Throws ConfigError, UsageError, DataError, and Interrupted.
HarvestResult harvest_run(const HarvestOptions& options, const Observer& observer = {});

/// What it would take, without doing it.
struct HarvestForecast {
  std::int64_t positions = 0, rows = 0, batch_rows = 0, T = 0, columns = 0;
  double operations_a_position = 0.0;
  std::int64_t alive = 0;                         ///< assumed to fire: half of the subcomponents
  double l0 = 0.0;                                ///< of them at a position, assumed: 200, or all
  std::int64_t memory_bytes = 0, disk_bytes = 0;  ///< of one process at its largest moment
  std::int64_t merge_memory_bytes = 0;            ///< of putting the parts of shards together
  std::int64_t output_tokens = 0;
  std::string device;
  std::vector<std::string> warnings;
  std::optional<double>
      seconds;  ///< at half of the speed of matrix products; nothing: the device is not here
};
HarvestForecast forecast_harvest(const HarvestOptions& options, const Observer& observer = {});

std::string harvest_text(const HarvestResult& result);
std::string harvest_json(const HarvestResult& result);
std::string forecast_text(const HarvestForecast& forecast);
std::string forecast_json(const HarvestForecast& forecast);

}  // namespace vpd
