#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "passes/written_out.hpp"
#include "vpd/config/plan.hpp"
#include "vpd/config/run.hpp"
#include "vpd/decomposition/decomposition.hpp"

namespace vpd {

/// One training step as the method writes it (method, sections 4 to 7), in plain tensor expressions that
/// LibTorch's autograd differentiates: no lanes, no fused kernels, nothing stored or drawn twice. It is what
/// the fast step (training/step.hpp) is compared with, and what to read first. Only random draws and the
/// causal-importance function are the fast step's own; the latter has a plain reference of its own in its
/// tests.
///
/// Knows every term but merged masks, and every adversary but pools and compact storage (UsageError).
class ReferenceStep {
 public:
  /// `decomposition` on a CPU in float64. Rows of T positions.
  ReferenceStep(Decomposition& decomposition, const RunConfig& config, std::int64_t T);

  /// A step on the whole batch, and on that of the background, where the configuration has one: the losses of
  /// the terms before its update, in the objective's order; 0 of those that sleep.
  std::vector<double> run(const at::Tensor& input, std::int64_t number, const at::Tensor& background = {});

 private:
  /// A persistent adversary's sources of each site, [rows, positions, C + 1], with Adam's moments.
  struct Sources {
    std::vector<at::Tensor> values, m, v;
    std::int64_t ascents = 0;
  };
  struct Moments {
    at::Tensor m, v;
  };
  struct Batch {
    TermRows rows;
    std::int64_t step;
    CleanPass clean;
    WrittenOut passes;  ///< with V, U and g, lower-leaky, as leaves
    at::Tensor made_z;  ///< as the causal-importance function gave it, on its graph
    at::Tensor z;       ///< a leaf of its own, which penalties are taken of
    at::Tensor kept;    ///< [N, Σ C], of LargestMasks

    double positions() const { return static_cast<double>(clean.N()); }
  };

  static const PersistentAdversaryConfig* persistent_of(const TermPlan& term);

  // reference_step.cpp
  Batch batch_of(TermRows rows, const at::Tensor& input, std::int64_t number,
                 const std::vector<Parameter>& ci_parameters, const BoundSubcomponents& components) const;
  void go_back(const Batch& batch, const at::Tensor& components_gradient) const;
  void decay_unused(const std::vector<Batch>& batches, std::int64_t step);
  void update(ParameterSet& parameters, const at::Tensor& gradient, Moments& moments,
              std::optional<double> limit, std::int64_t step);

  // reference_terms.cpp
  at::Tensor term_loss(const Batch& batch, std::size_t term, std::vector<at::Tensor>& last_ascent);
  at::Tensor loss_of(const Batch& batch, std::size_t term, const ReconstructionPlan& plan,
                     const std::vector<at::Tensor>& sources, std::int64_t draw) const;
  at::Tensor masked_loss(const Batch& batch, std::size_t term, const ReconstructionPlan& plan,
                         const std::function<WrittenOutMask(std::size_t)>& mask_of, std::int64_t draw) const;
  at::Tensor parameter_term(const Batch& batch, const TermPlan& plan) const;
  at::Tensor minimality_term(const Batch& batch, std::size_t term, const MinimalityPlan& plan);
  RandomKey key(RandomPurpose purpose, std::int64_t step, std::size_t term, std::int64_t which) const;

  // reference_adversary.cpp
  void begin_adversary(std::size_t term, std::int64_t T);
  std::vector<at::Tensor> climbed_sources(const Batch& batch, std::size_t term,
                                          const ReconstructionPlan& plan, std::int64_t& draw,
                                          std::vector<at::Tensor>& last_ascent);
  std::vector<at::Tensor> fresh_sources(const Batch& batch, std::size_t term, const ReconstructionPlan& plan,
                                        const FreshAdversaryConfig& adversary) const;
  /// T: positions of the batch's rows.
  void ascend(std::size_t term, const std::vector<at::Tensor>& gradients, std::int64_t step, std::int64_t T);

  Decomposition& d_;
  RunConfig config_;
  ObjectivePlan objective_;
  std::vector<Sources> adversaries_;  // of each term; empty for those without a persistent one
  std::vector<Moments> averages_;     // a_t and w_t of a frequency term's average
  Moments components_, ci_;
  std::int64_t updates_ = 0;
};

}  // namespace vpd
