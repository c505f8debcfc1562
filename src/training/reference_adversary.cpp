// The adversaries of terms: how their sources begin, and how they climb.

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "reference_step.hpp"
#include "vpd/adversary/fresh.hpp"
#include "vpd/adversary/persistent.hpp"
#include "vpd/base/error.hpp"

namespace vpd {
namespace {

std::vector<at::Tensor> leaves_of(const std::vector<at::Tensor>& values) {
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& value : values) leaves.push_back(value.detach().clone().requires_grad_(true));
  return leaves;
}

std::vector<at::Tensor> gradients_of(const at::Tensor& loss, const std::vector<at::Tensor>& leaves) {
  return torch::autograd::grad({loss}, leaves, {}, /*retain_graph=*/false, /*create_graph=*/false,
                               /*allow_unused=*/true);
}

}  // namespace

const PersistentAdversaryConfig* ReferenceStep::persistent_of(const TermPlan& term) {
  return term.adversary() ? std::get_if<PersistentAdversaryConfig>(term.adversary()) : nullptr;
}

void ReferenceStep::begin_adversary(std::size_t term, std::int64_t T) {
  const PersistentAdversaryConfig* adversary = persistent_of(objective_[term]);
  const auto* masks = objective_[term].masks<AdversarialMasks>();
  const bool known = !adversary || (adversary->scope != PersistentScope::pooled &&
                                    adversary->storage == SourceStorage::float32);
  VPD_CHECK(known && !(masks && masks->merged), UsageError,
            "reference step: expected no pools, compact sources or merged masks, found {}",
            objective_[term].label);
  if (!adversary) return;
  const bool background = objective_[term].rows == TermRows::background;
  PersistentAdversary initial(
      *adversary, d_.sites, background ? config_.background_rows() : config_.training.batch_size,
      background ? row_length(config_.data.background.value()) : T, d_.numerics, config_.seed, term);
  for (const auto& [name, value] : initial.state(d_.sites)) {
    if (!name.starts_with("source/")) continue;
    adversaries_[term].values.push_back(value.clone());
    adversaries_[term].m.push_back(at::zeros_like(value)),
        adversaries_[term].v.push_back(at::zeros_like(value));
  }
}

std::vector<at::Tensor> ReferenceStep::fresh_sources(const Batch& batch, std::size_t term,
                                                     const ReconstructionPlan& plan,
                                                     const FreshAdversaryConfig& adversary) const {
  const FreshSources start = start_fresh(adversary, d_.sites, batch.clean.B(), batch.clean.T(),
                                         key(RandomPurpose::fresh_sources, batch.step, term, 0), d_.numerics);
  std::vector<at::Tensor> sources;
  for (std::size_t i = 0; i < d_.sites.size(); ++i) {
    sources.push_back(site_columns(start.values, start.layout, i)
                          .reshape({start.layout.batch_rows, start.layout.time_rows, d_.sites[i].C + 1}));
  }
  for (std::int64_t step = 0; step < adversary.steps; ++step) {
    const std::vector<at::Tensor> leaves = leaves_of(sources);
    const std::vector<at::Tensor> gradients = gradients_of(loss_of(batch, term, plan, leaves, 0), leaves);
    for (std::size_t i = 0; i < sources.size(); ++i)
      if (gradients[i].defined())
        sources[i] = (sources[i] + adversary.step_size * gradients[i].sign()).clamp(0.0, 1.0);
  }
  return sources;
}

/// A persistent adversary's sources after the ascents that come before the loss. `draw` goes on over theirs;
/// `last_ascent` gets the gradient of the one that follows the update.
std::vector<at::Tensor> ReferenceStep::climbed_sources(const Batch& batch, std::size_t term,
                                                       const ReconstructionPlan& plan, std::int64_t& draw,
                                                       std::vector<at::Tensor>& last_ascent) {
  for (; draw < persistent_of(objective_[term])->warmup_steps; ++draw) {
    const std::vector<at::Tensor> leaves = leaves_of(adversaries_[term].values);
    ascend(term, gradients_of(loss_of(batch, term, plan, leaves, draw), leaves), batch.step, batch.clean.T());
  }
  const std::vector<at::Tensor> sources = leaves_of(adversaries_[term].values);
  last_ascent = gradients_of(loss_of(batch, term, plan, sources, draw), sources);
  return sources;
}

void ReferenceStep::ascend(std::size_t term, const std::vector<at::Tensor>& gradients, std::int64_t step,
                           std::int64_t T) {
  const at::NoGradGuard no_grad;
  const PersistentAdversaryConfig& config = *persistent_of(objective_[term]);
  Sources& sources = adversaries_[term];
  const double rate = value_at(config.learning_rate, step, config_.training.steps);
  const auto count = static_cast<double>(++sources.ascents);
  for (std::size_t i = 0; i < sources.values.size(); ++i) {
    // Sources of positions behind shorter rows stay.
    const auto met = [&](const at::Tensor& y) { return y.narrow(1, 0, std::min(y.size(1), T)); };
    const at::Tensor x = met(sources.values[i]), m = met(sources.m[i]), v = met(sources.v[i]);
    const at::Tensor g = gradients[i].defined() ? met(gradients[i]) : at::zeros_like(x);
    if (const auto* adam = std::get_if<AdamAscentConfig>(&config.optimizer)) {
      m.copy_(adam->beta1 * m + (1.0 - adam->beta1) * g);
      v.copy_(adam->beta2 * v + (1.0 - adam->beta2) * g.square());
      const at::Tensor m_hat = m / (1.0 - std::pow(adam->beta1, count)),
                       v_hat = v / (1.0 - std::pow(adam->beta2, count));
      x.add_(rate * m_hat / (v_hat.sqrt() + adam->eps));
    } else {
      x.add_(rate * g.sign());
    }
    if (config.parametrization == SourceParametrization::clamped) x.clamp_(0.0, 1.0);
  }
}

}  // namespace vpd
