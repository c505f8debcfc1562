#pragma once

#include <memory>

#include "support.hpp"
#include "support/places.hpp"
#include "vpd/target/tms.hpp"

namespace vpd::testing {

/// A toy model of n features whose two matrices are the identity, each decomposed into one subcomponent a
/// feature, V = U = 1: it gives back the positive part of what it reads, and feature j goes through linear1:j
/// and linear2:j alone.
inline Decomposition identity_toy(std::int64_t n) {
  const RunConfig config = load_run_config(
      source_dir() / "configs" / "toys" / "tms_5-2.yaml",
      {fmt::format("sites=[{{pattern: \"linear*\", C: {}}}]", n), where_it_reads(), "evaluation.metrics=[]"},
      config::Files::may_be_missing);
  const NamedTensors weights = {
      {"linear1.weight", at::eye(n)}, {"linear2.weight", at::eye(n)}, {"linear2.bias", at::zeros({n})}};
  Decomposition d = make_decomposition(
      config, {}, "config.yaml",
      std::make_unique<Tms>(TmsConfig{.n_features = n, .n_hidden = n}, weights, Numerics{}));
  for (std::size_t i = 0; i < d.components.size(); ++i) at::Tensor(d.components.value(i)).copy_(at::eye(n));
  return d;
}

}  // namespace vpd::testing
