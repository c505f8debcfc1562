#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "run_log.hpp"
#include "vpd/run/status.hpp"

namespace vpd {

/// Keeps status.json while a run goes on, and its last sentence in log.txt. A file that cannot be written is
/// warned of.
class StatusKeeper {
 public:
  /// From here on the run is `running`.
  StatusKeeper(std::filesystem::path run, std::int64_t step, std::int64_t steps, RunLog& log);

  /// Steps made, for the next time that something is written.
  void made(std::int64_t step) { status_.step = step; }
  /// After a checkpoint.
  void saved(std::int64_t step);
  void done(const std::string& sentence);

  /// Runs `work`, and records what it throws.
  void record(const std::function<void()>& work);

 private:
  void ended(RunState state, int exit_code, const std::string& sentence);
  void write();

  std::filesystem::path run_;
  RunStatus status_;
  RunLog& log_;
};

}  // namespace vpd
