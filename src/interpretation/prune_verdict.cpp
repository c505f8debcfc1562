// What the importances of a prompt withstand.

#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "given_masks.hpp"
#include "uniform_draws.hpp"
#include "vpd/base/error.hpp"
#include "vpd/interpretation/prompt_importance.hpp"

namespace vpd {
namespace {

class Judge {
 public:
  Judge(const Decomposition& d, const at::Tensor& input, const std::vector<OutputTarget>& targets,
        const PromptImportance& pruned, const VerdictSettings& settings, const StopAsked& stop)
      : d_(d),
        targets_(targets),
        settings_(settings),
        stop_(stop),
        g_(pruned.after),
        alive_(pruned.alive_entries),
        input_(input.unsqueeze(0).to(d.numerics.device)) {
    const at::NoGradGuard no_grad;
    PlainExecutor plain;
    clean_ = d.target->forward(input_, plain);
  }

  MaskedOutputs of_target() const { return outputs(clean_); }
  MaskedOutputs under(const at::Tensor& masks) const {
    const at::NoGradGuard no_grad;
    return outputs(logits(masks, no_delta()));
  }

  MaskedOutputs under_random() const {
    const at::NoGradGuard no_grad;
    std::vector<MaskedOutputs> all;
    for (std::int64_t k = 0; k < settings_.samples; ++k) {
      end_if_asked(stop_, "the verdict");
      const auto number = static_cast<std::uint64_t>(k);
      all.push_back(outputs(logits(g_ + (1.0 - g_) * draw(2 * number, g_.size(1)), delta(2 * number + 1))));
    }
    MaskedOutputs mean;
    const auto count = static_cast<double>(all.size());
    for (const MaskedOutputs& one : all) {
      mean.D += one.D / count;
      mean.p += one.p / count;
    }
    for (const MaskedOutputs& one : all) {
      mean.D_spread += (one.D - mean.D) * (one.D - mean.D) / std::max(1.0, count - 1.0);
      mean.p_spread += (one.p - mean.p) * (one.p - mean.p) / std::max(1.0, count - 1.0);
    }
    mean.D_spread = std::sqrt(mean.D_spread);
    mean.p_spread = std::sqrt(mean.p_spread);
    return mean;
  }

  /// The worst of several starts. As in the optimisation the adversary chooses sources of the alive set;
  /// those off it and Δ are random, anew in each pass.
  MaskedOutputs under_attack(std::int64_t steps, double size, std::uint64_t which) const {
    MaskedOutputs worst;
    for (std::int64_t start = 0; start < settings_.starts; ++start) {
      const std::uint64_t first = (which << 16 | static_cast<std::uint64_t>(start)) << 16;
      at::Tensor r = draw(first, g_.size(1));
      const auto rest = [&](std::int64_t k) { return first + 2 * static_cast<std::uint64_t>(k) + 2; };
      const auto masks = [&](const at::Tensor& sources, std::int64_t k) {
        return g_ + (1.0 - g_) * at::where(alive_, sources, draw(rest(k), g_.size(1)));
      };
      for (std::int64_t k = 0; k < steps; ++k) {
        end_if_asked(stop_, "the verdict");
        const at::AutoGradMode record(true);
        const at::Tensor leaf = r.detach().requires_grad_(true);
        const at::Tensor D = loss(logits(masks(leaf, k), delta(rest(k) + 1)));
        const at::Tensor slope = torch::autograd::grad({D}, {leaf})[0];
        r = (r + size * slope.sign()).clamp(0.0, 1.0);
      }
      const at::NoGradGuard no_grad;
      const MaskedOutputs found = outputs(logits(masks(r, steps), delta(rest(steps) + 1)));
      if (start == 0 || found.D > worst.D) worst = found;
    }
    return worst;
  }

 private:
  at::Tensor logits(const at::Tensor& columns, const at::Tensor& delta_mask) const {
    const ColumnMasks masks{columns, delta_mask};
    GivenMasks executor(d_, masks);
    return d_.target->forward(input_, executor);
  }
  at::Tensor loss(const at::Tensor& logits) const {
    return output_loss(clean_, logits, targets_, d_.target->divergence());
  }
  MaskedOutputs outputs(const at::Tensor& logits) const {
    const OutputTarget& first = targets_.front();
    const bool says = first.token && d_.target->divergence() == Divergence::kl;
    return {.D = loss(logits).item<double>(),
            .p = says ? logits[first.at].to(at::kDouble).softmax(0)[*first.token].item<double>()
                      : std::numeric_limits<double>::quiet_NaN()};
  }
  at::Tensor draw(std::uint64_t number, std::int64_t width) const {
    return uniform_draws(settings_.seed, stream_of_verdicts, number, {g_.size(0), width}, g_.options());
  }
  at::Tensor no_delta() const {
    return at::zeros({g_.size(0), static_cast<std::int64_t>(d_.sites.size())}, g_.options());
  }
  at::Tensor delta(std::uint64_t number) const {
    return d_.delta_component ? draw(number, static_cast<std::int64_t>(d_.sites.size())) : no_delta();
  }

  const Decomposition& d_;
  const std::vector<OutputTarget>& targets_;
  const VerdictSettings& settings_;
  const StopAsked& stop_;
  at::Tensor g_, alive_, input_, clean_;
};

}  // namespace

PruneVerdict judge_importance(const Decomposition& d, const at::Tensor& input,
                              const std::vector<OutputTarget>& targets, const PromptImportance& pruned,
                              PruneMasks masks, const VerdictSettings& settings, const StopAsked& stop) {
  const Judge judge(d, input, targets, pruned, settings, stop);
  const at::Tensor& importance = pruned.after;
  PruneVerdict verdict{.target = judge.of_target(),
                       .unmasked = judge.under(at::ones_like(importance)),
                       .importance = judge.under(importance),
                       .rounded = judge.under(importance.gt(0.0).to(importance.scalar_type())),
                       .stochastic = judge.under_random(),
                       .adversarial_short = judge.under_attack(4, 1.0, 1),
                       .adversarial_long = judge.under_attack(20, 0.1, 2),
                       .zeroed = judge.under(at::zeros_like(importance))};
  const double worst = std::max(verdict.adversarial_short.D, verdict.adversarial_long.D) - verdict.target.D;
  if (masks != PruneMasks::adversarial)
    verdict.reason = fmt::format("pruned with {} masks alone, without an adversary", name_of(masks));
  else if (!(worst <= settings.tolerance))
    verdict.reason = fmt::format(
        "an adversary raises the loss by {:.3g}{} over the target's, more than the {:g} that are "
        "tolerated",
        worst, d.target->divergence() == Divergence::kl ? " nats" : "", settings.tolerance);
  verdict.faithful = verdict.reason.empty();
  return verdict;
}

}  // namespace vpd
