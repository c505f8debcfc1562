#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/config/run.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/data.hpp"
#include "vpd/io/run_directory.hpp"
#include "vpd/io/tokenizer.hpp"
#include "vpd/machine/lanes.hpp"

namespace vpd {

struct OpenOptions {
  std::optional<std::int64_t> checkpoint{};  ///< its step; nothing: the latest
  std::vector<std::string> overrides{};      ///< key=value, in place of what the run's configuration says
  std::optional<std::string> device{};       ///< in place of the configuration's
  int threads = 0;                           ///< 0: as many as this process may use
  std::int64_t rows = 0;                     ///< computed with at once; 0: evaluation.batch_size
  /// Sees the configuration before anything large is read, and may throw.
  std::function<void(const RunConfig&)> check{};
};

/// The tokenizer that the run's prompts name, else the tokenizer.json beside the target's weights or beside
/// the held-out tokens, whichever is there; nothing where none is. Throws DataError for one that cannot be
/// read.
std::optional<Tokenizer> find_tokenizer(const RunConfig& config);

/// A run as a checkpoint left it, ready to be computed with: what evaluation, interpretation and programs of
/// one's own begin with.
///
/// While it lives LibTorch has the number of threads that was asked for: of several, the last opened is to be
/// the first that goes. What was made of it (a BatchReader, say) refers to where it is: move it before.
class OpenedRun {
  struct Threads;
  std::unique_ptr<Threads> threads_;

 public:
  /// Reads the run's configuration, its target, its checkpoint and its held-out rows, and compares them with
  /// the hashes that the run and the checkpoint keep (other rows than the run's are read only where an
  /// override asks for them). Throws DataError or ConfigError naming the file that is missing, damaged or
  /// changed, and Interrupted once the observer asks for a stop.
  explicit OpenedRun(const std::filesystem::path& path, const OpenOptions& options = {},
                     const Observer& observer = {});
  ~OpenedRun();
  OpenedRun(OpenedRun&&) noexcept;
  OpenedRun& operator=(OpenedRun&&) = delete;

  RunDirectory directory;
  RunConfig config;  ///< with the overrides
  Checkpoint checkpoint;
  Numerics numerics;
  Decomposition decomposition;
  std::unique_ptr<Dataset> eval;      ///< the held-out rows
  std::unique_ptr<Lanes> lanes;       ///< that suit `rows` on this machine
  std::vector<std::string> warnings;  ///< a sentence for each thing that was passed over
  std::string config_name;            ///< the configuration's name in errors

  /// Lanes that suit so many rows at once, in place of those that OpenOptions::rows asked for. What uses the
  /// old ones is to be made after.
  void compute_with(std::int64_t rows);

  /// The rows that the run trained on; no epoch of them is checked.
  std::unique_ptr<Dataset> open_train() const;
  /// Rows of the background; null: there are none.
  std::unique_ptr<Dataset> open_background() const;

  std::optional<Tokenizer> tokenizer() const { return find_tokenizer(config); }
};

}  // namespace vpd
