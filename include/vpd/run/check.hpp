#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/config/run.hpp"
#include "vpd/cost/step_shape.hpp"

namespace vpd {

struct CheckOptions {
  std::filesystem::path config{};
  std::vector<std::string> overrides{};  ///< key=value
  std::optional<std::string> device{};   ///< in place of the configuration's
  int threads = 0;                       ///< that the run would compute with; 0: as many as it may use
  bool measure = false;                  ///< make steps, and say what they took
  bool without_weights = false;          ///< shapes of a `transformers` model from config.json alone
};

/// What one of a run's two sources of rows holds.
struct CheckedData {
  std::string role;  ///< "train" or "eval"
  std::string made;  ///< what rows are that are made as they are asked for; empty: tokens, from files
  std::filesystem::path path;
  std::size_t files = 0;
  std::int64_t tokens = 0;
  std::int64_t rows = 0;  ///< of sequence_length tokens
};

/// What steps really took.
struct MeasuredStep {
  double seconds = 0.0;
  std::int64_t peak_bytes = 0;  ///< the most that the process held on the device, as peak_memory_bytes() says
};

/// What a run would be, found out without building it.
struct CheckReport {
  RunConfig config;
  StepShape step_shape;
  std::string device;  ///< in words
  int threads = 1;
  std::string threads_bound;  ///< what makes them fewer than LibTorch would use; empty: nothing does
  std::vector<CheckedData> data;
  std::vector<OperationCount> operations;  ///< of one training step
  std::vector<MemoryPart> memory;  ///< at the largest moment of training; the program itself first on a CPU
  std::optional<std::int64_t> available;  ///< bytes that the device has for it; unknown: it is not here
  std::string available_giver;            ///< who has them, as in MemoryLimit
  double product_peak = 0.0;  ///< operations a second that matrix products reach here; 0: the device is not
  std::optional<MeasuredStep> measured;  ///< where it was asked for
  std::vector<std::string> warnings;

  /// Of a step: measured, or estimated; nothing where the device is not here.
  std::optional<double> step_seconds() const;

  std::int64_t target_parameters() const { return step_shape.target.parameters; }
  std::optional<bool> fits() const {
    return available ? std::optional<bool>(total(memory) <= *available) : std::nullopt;
  }
};

/// Reads everything that `vpd decompose` would read, weights' values apart: the configuration, the target's
/// configuration and the header of its weights, the headers of `initialize_from`, and every token against the
/// vocabulary. Throws ConfigError or DataError as the run would, but for a CUDA device on a machine that has
/// none: what the run would take there is counted all the same. With `measure` the run is built and makes a
/// few steps, of which nothing is kept. The observer is told of what takes long.
CheckReport check_run(const CheckOptions& options, const Observer& observer = {});

/// The report for people, and as a JSON object.
std::string check_text(const CheckReport& report);
std::string check_json(const CheckReport& report);

}  // namespace vpd
