#pragma once

// What the model says where a subcomponent fires: its probabilities of all tokens, added up over firings.
//
// That is a product of a sparse matrix, which has a 1 where a subcomponent fires, with the probabilities. It
// is bound by reads of these, so they are laid out in tiles that stay in the first-level cache while all
// subcomponents take their rows of them.

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "harvest_state.hpp"

namespace vpd {

/// Probabilities [n, V] of a batch as [blocks of tokens][positions][tokens of a block].
class ProbabilityBlocks {
 public:
  static constexpr std::int64_t width = 64;  ///< tokens of a block

  ProbabilityBlocks() = default;
  ProbabilityBlocks(std::int64_t positions, std::int64_t V);

  /// Probabilities [n, V] of positions `first` and on.
  void put(std::int64_t first, const at::Tensor& probability) const;

  std::int64_t count() const { return blocks_.defined() ? blocks_.size(0) : 0; }
  std::int64_t positions() const { return blocks_.size(1); }
  /// [positions][width].
  const float* block(std::int64_t b) const {
    return blocks_.const_data_ptr<float>() + b * blocks_.size(1) * width;
  }

 private:
  at::Tensor blocks_;  // 0 behind the last token
};

/// The firings of some columns, in the order in which tiles are read: by chunk of positions, then by column
/// and group.
class MassPlan {
 public:
  static constexpr std::int64_t chunk = 128;  ///< positions of a tile: 32 KiB with a block's tokens

  MassPlan() = default;
  explicit MassPlan(std::int64_t positions);

  /// The firings of a column, `groups[k]` of the one at `positions[k]`, ascending.
  void add(std::int32_t column, std::span<const std::int32_t> positions,
           std::span<const std::uint8_t> groups);

  /// Makes room in the columns for the masses of all groups that add() was given.
  void prepare(std::vector<HarvestColumn>& columns, std::int64_t V) const;

  /// Firings of one column and group.
  struct Cell {
    std::int32_t column = 0;
    std::uint8_t group = 0;
  };
  /// Those of them in a chunk.
  struct Run {
    std::int32_t cell = 0, count = 0;
  };
  struct Chunk {
    std::vector<Run> runs;
    std::vector<std::uint8_t> places;  ///< of positions in the chunk, run after run
  };
  std::span<const Cell> cells() const { return cells_; }
  const Chunk& chunk_at(std::int64_t number) const { return chunks_[static_cast<std::size_t>(number)]; }

 private:
  std::vector<Cell> cells_;
  std::vector<Chunk> chunks_;
};

/// Adds the masses of the tokens of block b: where the plans' firings are, and, to `marginal`, everywhere.
void add_masses(const ProbabilityBlocks& blocks, std::int64_t b, std::span<const MassPlan> plans,
                std::vector<HarvestColumn>& columns, std::vector<std::int64_t>& marginal);

/// Of one harvest, all its parts together: masses have 63 bits then, and counts fit into 32.
inline constexpr std::int64_t most_harvest_positions = static_cast<std::int64_t>(0x1p63 * mass_unit);

/// A probability, or a sum of them, as whole multiples of mass_unit.
inline std::int64_t mass_units(double p) { return static_cast<std::int64_t>(p / mass_unit + 0.5); }

}  // namespace vpd
