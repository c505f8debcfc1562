#pragma once

// What a term of the objective computes with, as far as its cost depends on it. The counterpart of
// src/training/term_pass.cpp.

#include <cstdint>
#include <optional>

#include "vpd/config/plan.hpp"

namespace vpd {

/// One masked pass through the target.
struct PassKind {
  bool backward = true;
  bool trains = true;                    ///< gradients of U, V and importances are wanted
  bool sources = false;                  ///< gradients of sources are wanted
  bool delta = true;                     ///< there is a Δ-mask
  bool weight = true;                    ///< x Wᵀ is part of the output: a Δ-mask or routing
  bool layerwise = false;                ///< one pass per site
  const RoutingConfig* drawn = nullptr;  ///< where routing is drawn; the term's
  bool hidden_acts = false;              ///< the sites' outputs are kept and compared, and not the target's
  bool squared_error = false;            ///< of the target's output, all of it at once
};

/// The share of N positions for which a pass makes the products of each of L sites: those that routing masks,
/// which are gathered.
double share_of_positions(const PassKind& kind, std::int64_t L, std::int64_t N, bool on_cpu);

struct TermPasses {
  PassKind loss;
  PassKind ascent;
  std::int64_t samples = 1;
  std::int64_t ascents = 0;  ///< passes before the loss is taken
  bool shared = false;       ///< sources that rows share
};

/// Nothing for terms without a masked pass.
std::optional<TermPasses> passes_of(const TermPlan& term, bool delta_component);

/// Whether terms need something of all rows before any loss.
bool needs_whole_batch(const ObjectivePlan& objective);

}  // namespace vpd
