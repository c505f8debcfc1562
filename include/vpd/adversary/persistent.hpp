#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/adversary/sources.hpp"
#include "vpd/config/adversary.hpp"

namespace vpd {

/// Sources that live as long as the run, with their ascent's state (method, section 6).
///
/// Their rows belong either to one lane each (`local()`: per-position sources), and each lane climbs its own
/// on its own, or are shared by lanes, whose gradients are added up before each ascent.
class PersistentAdversary {
 public:
  /// B: the whole batch's rows; T: positions. Initial values are drawn from `seed` and `term`, the term's
  /// place in the objective.
  PersistentAdversary(const PersistentAdversaryConfig& config, const Sites& sites, std::int64_t B,
                      std::int64_t T, const Numerics& numerics, std::uint64_t seed, std::uint64_t term);

  const PersistentAdversaryConfig& config() const { return config_; }
  const SourceLayout& layout() const { return layout_; }
  bool local() const { return config_.scope == PersistentScope::per_position; }

  /// Sources in [0, 1] for batch rows [first, first + count) of length T, for a pass over them. `gradient`, a
  /// buffer of make_gradient()'s shape, receives gradient_scale · dL/dr; `overwrite` it where each of its
  /// entries is met once (local() alone).
  SourceUse use(std::int64_t first, std::int64_t count, std::int64_t T, const at::Tensor& gradient,
                double gradient_scale, bool overwrite) const;

  /// Zeroed [R, Σ (C + 1)].
  at::Tensor make_gradient() const;

  /// One ascent along `gradient` (of the loss itself) on rows [begin, end) of the sources. `ascents` is the
  /// count of ascents made, this one included.
  void ascend(const at::Tensor& gradient, std::int64_t begin, std::int64_t end, double rate,
              std::int64_t ascents);

  /// Part of the sources within 0.01 of 0 or 1, zero-dimensional float64 on their device. One pass over them.
  at::Tensor saturated() const;

  std::int64_t ascents = 0;  ///< made so far

  /// Everything a resumed run needs: "source/<site>" (values as they are held), "m/<site>", "v/<site>".
  NamedTensors state(const Sites& sites) const;
  void load(const SafetensorsFile& file, const std::string& prefix, const Sites& sites);

 private:
  NamedTensors buffers() const;

  PersistentAdversaryConfig config_;
  SourceLayout layout_;
  at::Tensor values_;  // sources, or unbounded values whose sigmoid they are
  at::Tensor m_, v_;   // undefined for sign steps
};

}  // namespace vpd
