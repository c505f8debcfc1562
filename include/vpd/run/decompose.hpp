#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/launch.hpp"
#include "vpd/base/observer.hpp"

namespace vpd {

struct DecomposeOptions {
  std::filesystem::path config{};  ///< may be empty with `resume`
  std::optional<std::filesystem::path>
      out{};  ///< the run's directory; nothing: runs/<name of config>-<date>-<time>
  std::optional<std::filesystem::path> resume{};  ///< the directory of a run to go on with
  bool continue_run = false;                 ///< begin a run in `out`, or go on with the one that is there
  std::optional<std::int64_t> checkpoint{};  ///< step of the one to go on from; nothing: the last
  std::vector<std::string> overrides{};      ///< "training.steps=100"
  std::optional<std::string> device{};       ///< the same as an override of `device`
  int threads = 0;                           ///< of the CPU; 0: as many as it may use
  std::string command_line{};                ///< for provenance.json
  Launch launch{};                           ///< one process alone, or one of several that train together
  std::chrono::milliseconds process_timeout =
      std::chrono::minutes(10);  ///< how long one of several waits for the others within a step
};

/// Trains a decomposition and leaves a run directory, whose path it returns.
///
/// Whatever can be wrong with configuration, target and data is found before the directory is made. A resumed
/// run goes on from its latest complete checkpoint, or starts over where there is none; its configuration may
/// differ in `output`, in when it is evaluated, and in where its inputs lie, as long as these are the same by
/// their hashes. One that is complete is left as it is. status.json tells how a run stands (run/status.hpp).
/// Throws ConfigError, UsageError, DataError, NumericalError, and Interrupted after `observer.stop` was
/// obeyed.
///
/// Each of several processes calls it with its own `launch` and with options that are otherwise the same.
/// Process 0 reads the configuration, writes the directory and talks to its observer; where any of them is
/// asked to stop, all do. Where one fails the others throw ProcessError.
std::filesystem::path decompose(const DecomposeOptions& options, const Observer& observer);

}  // namespace vpd
