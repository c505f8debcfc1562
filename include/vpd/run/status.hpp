#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace vpd {

enum class RunState { running, done, interrupted, diverged, failed };

/// How a run stands: what status.json says. A program that was killed leaves `running` behind it, with a
/// process that is no more.
struct RunStatus {
  RunState state = RunState::running;
  std::int64_t step = 0;           ///< steps made when this was written
  std::int64_t steps = 0;          ///< planned
  std::optional<int> exit_code{};  ///< of the program, once it has ended
  std::string sentence{};          ///< what it said last
};

std::string name_of(RunState state);

/// Replaces status.json in one step, and adds host, job and process. Throws DataError.
void write_status(const std::filesystem::path& run, const RunStatus& status);

/// Nothing where there is no such file. Throws DataError where it cannot be read.
std::optional<RunStatus> read_status(const std::filesystem::path& run);

/// Of a run whose program ends this moment, at a second Ctrl-C. Passes over errors.
void note_stopped_at_once(const std::filesystem::path& run, int exit_code) noexcept;

/// A run for programs: {"run", "state", "step", "steps", "exit_code", "sentence", "metrics": {name: number}},
/// with the last value of each metric. Throws DataError.
std::string run_json(const std::filesystem::path& run);

}  // namespace vpd
