#pragma once

// Tensors that are not as stated below are a UsageError.

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <utility>

#include <ATen/core/Tensor.h>

namespace vpd {

/// Rotary position embedding: pair j of a head is turned by t · base^(-2j / d_head) at position t. Pairs are
/// (j, j + d_head/2), or (2j, 2j + 1) when `adjacent`. Angles are computed in float32 (float64 for float64),
/// as published checkpoints were trained.
struct RotaryTable {
  at::Tensor cosine;  ///< [T, d_head / 2], float32 or float64
  at::Tensor sine;
  bool adjacent = false;

  /// Of the T positions from `first` on.
  RotaryTable rows(std::int64_t first, std::int64_t T) const {
    return {cosine.narrow(0, first, T), sine.narrow(0, first, T), adjacent};
  }
};

RotaryTable make_rotary_table(std::int64_t T, std::int64_t d_head, double base, bool adjacent,
                              at::ScalarType dtype, at::Device device);

/// The same from each pair's angle a position, `frequency` [d_head / 2] (float32 or float64): for
/// checkpoints that stretch them.
RotaryTable make_rotary_table(std::int64_t T, const at::Tensor& frequency, bool adjacent);

/// Tables by length, each made when it is first asked for, by any thread.
class RotaryTables {
 public:
  explicit RotaryTables(std::function<RotaryTable(std::int64_t T)> make) : make_(std::move(make)) {}

  /// The table of T positions; the reference stays valid.
  const RotaryTable& of(std::int64_t T) const;

 private:
  std::function<RotaryTable(std::int64_t)> make_;
  mutable std::mutex mutex_;
  mutable std::map<std::int64_t, RotaryTable> tables_;
};

/// x [B T, K d_head] rotated (or rotated back: `inverse`, which is also the backward pass); row n is at
/// position n % T. Contiguous rows; same dtype out.
at::Tensor rotate(const at::Tensor& x, const RotaryTable& table, bool inverse);

}  // namespace vpd
