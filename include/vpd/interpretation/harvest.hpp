#pragma once

// Evidence for every subcomponent: what makes it fire, what the model says there, and with whom it fires.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "vpd/passes/batch.hpp"

namespace vpd {

struct HarvestSettings {
  double threshold = 0.1;          ///< a subcomponent fires where its importance is above
  std::int64_t window = 20;        ///< positions of an example on each side
  std::int64_t examples = 20;      ///< kept of each sign, drawn at random
  std::int64_t strongest = 10;     ///< kept besides, of the largest importance · |activation|
  std::int64_t output_tokens = 0;  ///< the most probable tokens of a position that are counted; 0: all
  std::uint64_t seed = 0;          ///< of the examples that are drawn

  bool operator==(const HarvestSettings&) const = default;
};
nlohmann::ordered_json to_json(const HarvestSettings& settings);

/// Counts and sums over positions, examples of firings, and who fires together. What it holds depends on
/// which rows it has seen and not on their order: those of several parts of the data can be merged.
///
/// c fires at a position where g_c > threshold; its activation there is a_c = ‖U_c‖ V_cᵀ x. Tokens are those
/// at the position itself (input side) and what the target says there, its softmax (output side). Of a target
/// that reads features the features that are not 0 are the tokens, and there is no output side.
class Harvest {
 public:
  Harvest(const Decomposition& decomposition, std::int64_t T, const HarvestSettings& settings);
  ~Harvest();
  Harvest(Harvest&&) noexcept;
  Harvest& operator=(Harvest&&) noexcept;

  /// A batch that it has not seen; `batch.first` counts its rows in the data.
  void add(const Batch& batch);

  /// Rows of the same data that this one has not seen. Throws UsageError where the settings differ.
  void merge(const Harvest& other);

  const HarvestSettings& settings() const;
  std::int64_t positions() const;
  std::int64_t rows() const;
  std::int64_t alive() const;  ///< columns that have fired
  double firings() const;      ///< of all columns

  /// Everything, so that load() of another object for the same decomposition and settings goes on from there.
  /// Throws DataError.
  void save(const std::filesystem::path& directory) const;
  void load(const std::filesystem::path& directory);

  /// What every command reads (docs/formats.md, "Evidence"): the tables of `directory`, of each alive
  /// subcomponent its `partners` most frequent ones (0: all of them; -1: no such table). Throws DataError.
  void write_tables(const std::filesystem::path& directory, std::int64_t partners) const;

  struct State;  ///< private to the library
  const State& state() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

/// What a site has to do with the residual stream: it reads its norm, or writes to it.
enum class StreamRole { none, reads, writes };
/// Of each site; none of a target without tokens or without a head.
std::vector<StreamRole> stream_roles(const Decomposition& decomposition);
/// The same of each matrix of the target.
std::vector<StreamRole> matrix_roles(const Decomposition& decomposition);

/// Where the tables of output tokens are small enough to count all of them: 0, else 50.
std::int64_t suitable_output_tokens(std::int64_t columns, std::int64_t vocabulary);
/// Rows of a batch that keep [N, Σ C] and logits with their softmax within 256 MiB.
std::int64_t suitable_harvest_rows(std::int64_t columns, std::int64_t T, std::int64_t vocabulary);

}  // namespace vpd
