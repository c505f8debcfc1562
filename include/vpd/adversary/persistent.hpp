#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/config/adversary.hpp"
#include "vpd/config/routing.hpp"
#include "vpd/kernels/ascent.hpp"
#include "vpd/kernels/late_value.hpp"
#include "vpd/machine/lanes.hpp"
#include "vpd/machine/processes.hpp"
#include "vpd/passes/sources.hpp"

namespace vpd {

/// Whether sources can climb in the backward pass itself, which then keeps no gradient of them: clamped ones
/// that one position each meets, and once.
bool climbs_in_pass(const PersistentAdversaryConfig& config, const RoutingConfig& routing);

/// Sources that live as long as the run, with their ascent's state (method, section 6).
///
/// Their rows belong either to one lane of one process each (`local()`: sources of one batch row), and each
/// lane climbs its own on its own, or are shared by lanes and processes, whose gradients are added up before
/// each ascent.
///
/// Pooled sources are K a batch row, of which a step uses one: begin_step() draws and takes it out of the
/// pool, with its moments and the count of its own ascents, and end_step() puts it back.
class PersistentAdversary {
 public:
  /// B: the whole batch's rows; T: positions. Initial values are drawn from `seed` and `term`, the term's
  /// place in the objective. `rows`: those of the batch that this process has, and no others of local()
  /// sources; nothing: all.
  PersistentAdversary(const PersistentAdversaryConfig& config, const Sites& sites, std::int64_t B,
                      std::int64_t T, const Numerics& numerics, std::uint64_t seed, std::uint64_t term,
                      std::optional<Range> rows = std::nullopt);

  const PersistentAdversaryConfig& config() const { return config_; }
  const SourceLayout& layout() const { return layout_; }
  bool local() const {
    return config_.scope == PersistentScope::per_position || config_.scope == PersistentScope::pooled;
  }
  /// Rows of the sources that batch rows [first, first + count) use: of local() ones alone.
  Range rows_of_batch(std::int64_t first, std::int64_t count) const {
    return {first * layout_.time_rows, (first + count) * layout_.time_rows};
  }

  /// From now on rows of batches have T positions, no more than at first: sources of the positions beyond
  /// stay as they are.
  void use_length(std::int64_t T) { length_ = std::min(T, layout_.time_rows); }

  void begin_step(const LateKey& key);
  void end_step();

  /// Sources in [0, 1] for batch rows [first, first + count) of length T, for a pass over them: numbers in
  /// the whole batch, or, for local() sources, among this process's rows. `gradient`, a buffer of
  /// make_gradient()'s shape, receives gradient_scale · dL/dr: `once` says that this pass is all
  /// that it is to hold, so that local() rows need not be zeroed before.
  SourceOf use(std::int64_t first, std::int64_t count, std::int64_t T, const at::Tensor& gradient,
               double gradient_scale, bool once) const;

  /// As use(), for sources that climb in the backward pass itself: ascend() is not to follow.
  SourceOf climb_in_pass(std::int64_t first, std::int64_t T, double gradient_scale,
                         const AscentRule& rule) const;

  /// Zeroed, with the sources' shape.
  at::Tensor make_gradient() const;

  /// One ascent along `gradient` (of the loss itself) on rows [begin, end) of the sources.
  void ascend(const at::Tensor& gradient, std::int64_t begin, std::int64_t end, const AscentRule& rule);

  /// How sources climb in the ascent that is number `count` (from 1) of the run. Pooled ones correct Adam's
  /// bias by their own counts instead.
  AscentRule rule(double rate, std::int64_t count) const;

  /// Part of the sources within 0.01 of 0 or 1, zero-dimensional float64 on their device. One pass over them.
  at::Tensor saturated() const;

  std::int64_t ascents = 0;  ///< made so far

  /// From process 0 to all: values and moments of sources that processes share.
  void share(Processes& processes) const;

  /// Everything a resumed run needs: "source/<site>" (values as they are held), "m/<site>", "v/<site>", each
  /// [B, T, C + 1] for the whole batch, with N or 1 for B and 1 or K for T where sources are shared or
  /// pooled; of a pool "ascents" too, float64 [B, K]. All processes call it; local() sources come to process
  /// 0 from all of them, and the others get nothing.
  NamedTensors state(const Sites& sites, Processes& processes = Processes::none()) const;
  void load(const SafetensorsFile& file, const std::string& prefix, const Sites& sites);

 private:
  NamedTensors buffers() const;
  NamedTensors parts(const Sites& sites, Processes& processes) const;

  PersistentAdversaryConfig config_;
  Range rows_;          // of the whole batch, this process's
  SourceLayout whole_;  // of the sources of all processes
  SourceLayout layout_;
  std::int64_t length_;  // positions of a row whose sources are met, of layout_.time_rows
  at::Tensor values_;    // sources, or unbounded values whose sigmoid they are
  at::Tensor m_, v_;     // undefined for sign steps
  struct Pool {
    at::Tensor values, m, v;  // [B K, columns]
    at::Tensor counts;        // int64 [B K]: ascents of each
    at::Tensor drawn;         // int64 [B]: rows of the pool
  } pool_;                    // of scope pooled
  at::Tensor counts_;         // int64 [B]: ascents of those drawn
};

}  // namespace vpd
