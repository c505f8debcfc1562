#pragma once

#include <array>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "count_map.hpp"
#include "examples.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/interpretation/harvest.hpp"
#include "wide_sum.hpp"

namespace vpd {

/// Which of a subcomponent's firings are counted apart: by the activation's sign, and by the half of the rows
/// that noise is estimated from.
enum class FiringSign : std::uint8_t { none = 0, positive = 1, negative = 2 };
inline constexpr std::size_t firing_groups = 6;
inline std::size_t group_of(FiringSign sign, bool half) { return 2 * static_cast<std::size_t>(sign) + half; }
inline FiringSign sign_of(std::size_t group) { return static_cast<FiringSign>(group / 2); }
inline bool half_of(std::size_t group) { return group % 2 != 0; }
/// Key of a token's counts in a group; tokens are above it, so that sorted keys have a token's groups
/// together.
inline std::uint64_t count_key(std::int64_t token, std::size_t group) {
  return static_cast<std::uint64_t>(token) << 3 | group;
}

/// Sums of probabilities over a batch are added up as whole multiples of 2^-36, so that the order of batches
/// does not change a bit: up to 2^27 positions.
inline constexpr double mass_unit = 0x1p-36;

/// Everything about one subcomponent.
struct HarvestColumn {
  std::int64_t positive = 0, negative = 0, zero = 0;                     ///< firings by sign
  std::int64_t rows = 0;                                                 ///< with a firing
  WideSum importance, importance_square, activation, activation_square;  ///< over all positions
  WideSum firing_activation, firing_activation_abs;
  float activation_min = 0.0f, activation_max = 0.0f;         ///< over firings
  CountMap input;                                             ///< firings by count_key()
  CountMap output;                                            ///< mass by count_key(), of some tokens
  std::array<std::vector<std::int64_t>, firing_groups> mass;  ///< mass by token, of all tokens
  std::vector<std::int32_t> together;  ///< firings with each later column, from the next one on
  std::array<BottomK, example_kinds> examples;

  std::int64_t firings() const { return positive + negative + zero; }
  /// Of some tokens or of all, as (key, mass) by key.
  std::vector<std::pair<std::uint64_t, std::int64_t>> output_mass() const;
};

/// Bins of positions: 0 to 3 one each, then four an octave.
std::int64_t position_bin(std::int64_t t);
std::int64_t position_bins(std::int64_t T);

struct Harvest::State {
  const Decomposition* decomposition = nullptr;
  HarvestSettings settings;
  std::int64_t T = 1;
  std::int64_t vocabulary = 0;    ///< of the input side: tokens, or features
  bool has_outputs = false;       ///< the target says tokens
  std::vector<at::Tensor> reads;  ///< of each site V_c ‖U_c‖, float32 [d_in, C] on the run's device

  std::int64_t positions = 0, rows = 0;
  std::vector<HarvestColumn> columns;
  at::Tensor histogram;                        ///< int64 [22, Σ C], on the CPU
  std::vector<std::int64_t> position_firings;  ///< [bins][Σ C]
  std::vector<std::int64_t> input_marginal;    ///< by token
  std::vector<std::int64_t> output_marginal;   ///< by token, mass

  std::size_t A() const { return columns.size(); }
  std::size_t most(ExampleKind kind) const {
    return static_cast<std::size_t>(kind == ExampleKind::strongest ? settings.strongest : settings.examples);
  }
  std::int64_t output_vocabulary() const { return has_outputs ? vocabulary : 0; }
  /// The bit of a row that halves the data.
  bool half(std::int64_t row) const;
};

}  // namespace vpd
