#include "vpd/interpretation/prompt_importance.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/optim/adam.h>

#include "given_masks.hpp"
#include "uniform_draws.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/kernels/squash.hpp"
#include "vpd/passes/clean_pass.hpp"

namespace vpd {
namespace {

constexpr double penalty_eps = 1e-12;

struct MasksName {
  PruneMasks masks;
  const char* name;
};
constexpr MasksName mask_names[] = {{PruneMasks::adversarial, "adversarial"},
                                    {PruneMasks::stochastic, "stochastic"},
                                    {PruneMasks::importance, "importance"}};

class RandomDraws final : public PruneDraws {
 public:
  RandomDraws(const Decomposition& d, std::int64_t T, const PruneSettings& settings)
      : options_(d.numerics.options()),
        T_(T),
        columns_(d.sites.total_C()),
        sites_(static_cast<std::int64_t>(d.sites.size())),
        delta_(d.delta_component),
        settings_(settings) {}

  DrawnSources01 stochastic(std::int64_t step) const override { return both(step, 0); }
  at::Tensor start(std::int64_t step) const override { return draw(step, 1, columns_); }
  DrawnSources01 rest(std::int64_t step, std::int64_t ascent) const override {
    if (settings_.random_rest) return both(step, 2 + 2 * static_cast<std::uint64_t>(ascent));
    return {at::zeros({T_, columns_}, options_), at::zeros({T_, sites_}, options_)};
  }

 private:
  at::Tensor draw(std::int64_t step, std::uint64_t which, std::int64_t width) const {
    return uniform_draws(settings_.seed, stream_of_pruning, static_cast<std::uint64_t>(step) << 16 | which,
                         {T_, width}, options_);
  }
  DrawnSources01 both(std::int64_t step, std::uint64_t which) const {
    return {draw(step, which, columns_),
            delta_ ? draw(step, which | 1u << 15, sites_) : at::zeros({T_, sites_}, options_)};
  }

  at::TensorOptions options_;
  std::int64_t T_, columns_, sites_;
  bool delta_;
  PruneSettings settings_;
};

double rate_at(std::int64_t step, const PruneSettings& settings) {
  if (!settings.cosine) return settings.rate;
  const auto steps = static_cast<double>(settings.steps), warm_up = std::max(1.0, 0.01 * steps);
  const auto now = static_cast<double>(step);
  if (now < warm_up) return settings.rate * (now + 1.0) / warm_up;
  return settings.rate * 0.5 *
         (1.0 + std::cos(std::numbers::pi * (now - warm_up) / std::max(1.0, steps - warm_up)));
}

/// Optimises the importances of one prompt.
class Optimisation {
 public:
  Optimisation(const Decomposition& d, const at::Tensor& input, const std::vector<OutputTarget>& targets,
               const PruneSettings& settings, const PruneDraws& draws)
      : d_(d), targets_(targets), settings_(settings), draws_(draws), T_(positions_of(input)) {
    const at::NoGradGuard no_grad;
    const CleanPass clean = clean_pass(d, input.unsqueeze(0).to(d.numerics.device));
    input_ = clean.input;
    output_ = clean.output;
    const Importance importance =
        causal_importance(d, clean, d.ci_parameters.bind({}), d.components.bind({}));
    before_ = importance.lower.clone();
    std::int64_t last = 0;
    for (const OutputTarget& target : targets) last = std::max(last, target.at);
    const at::Tensor in_time = at::arange(T_, at::dtype(at::kLong).device(before_.device())).le(last);
    alive_ = before_.gt(0.0).logical_and(in_time.unsqueeze(1));
    z_ = importance.z.detach().to(before_.scalar_type()).clone();
  }

  PromptImportance run(const StopAsked& stop, const std::function<void(const PruneStep&)>& follow) {
    PromptImportance result{
        .before = before_, .after = {}, .alive_entries = alive_, .alive = alive_.sum().item<std::int64_t>()};
    VPD_CHECK(result.alive > 0, UsageError,
              "expected a subcomponent with a causal importance above 0 up to the last target, found none");
    torch::optim::Adam optimizer({z_}, torch::optim::AdamOptions(settings_.rate).eps(1e-8));
    for (std::int64_t step = 0; step < settings_.steps; ++step) {
      end_if_asked(stop, "the optimisation");
      PruneStep seen = gradient_of(step);
      z_.mutable_grad() = seen.gradient;
      static_cast<torch::optim::AdamOptions&>(optimizer.param_groups()[0].options())
          .lr(rate_at(step, settings_));
      optimizer.step();
      if (!follow) continue;
      seen.z = z_.clone();
      follow(seen);
    }
    z_.mutable_grad().reset();
    result.after = importances();
    result.kept = result.after.gt(0.0).sum().item<std::int64_t>();
    return result;
  }

 private:
  at::Tensor importances() const {
    return at::where(alive_, z_.clamp(0.0, 1.0), at::zeros({}, z_.options()));
  }

  /// D under masks g + (1 - g) r.
  at::Tensor loss(const at::Tensor& g, const at::Tensor& r, const at::Tensor& delta) const {
    const ColumnMasks masks{g + (1.0 - g) * r, delta};
    GivenMasks executor(d_, masks);
    return output_loss(output_, d_.target->forward(input_, executor), targets_, d_.target->divergence());
  }

  /// The adversary's sources, alive ones alone.
  at::Tensor attack(std::int64_t step, const at::Tensor& g) const {
    at::Tensor sources = draws_.start(step);
    for (std::int64_t k = 0; k < settings_.ascents; ++k) {
      const auto [rest, delta] = draws_.rest(step, k);
      const at::Tensor r = at::where(alive_, sources, rest).requires_grad_(true);
      const at::Tensor slope = torch::autograd::grad({loss(g, r, delta)}, {r})[0];
      sources = (sources + settings_.ascent_rate * slope.sign()).clamp(0.0, 1.0);
    }
    return sources;
  }

  PruneStep gradient_of(std::int64_t step) const {
    const at::AutoGradMode record(true);
    PruneStep seen{.number = step};
    const at::Tensor fixed = importances();
    const at::Tensor g = fixed.clone().requires_grad_(true);
    at::Tensor total;
    if (settings_.masks == PruneMasks::importance) {
      const at::Tensor none = at::zeros({T_, static_cast<std::int64_t>(d_.sites.size())}, g.options());
      total = loss(g, at::zeros_like(g), none);
      seen.stochastic = total.item<double>();
    } else {
      const auto [r, delta] = draws_.stochastic(step);
      total = loss(g, r, delta);
      seen.stochastic = total.item<double>();
      if (settings_.masks == PruneMasks::adversarial) {
        const at::Tensor sources = attack(step, fixed);
        const auto [rest, rest_delta] = draws_.rest(step, settings_.ascents);
        const at::Tensor adversarial = loss(g, at::where(alive_, sources, rest), rest_delta);
        seen.adversarial = adversarial.item<double>();
        seen.sources = at::where(alive_, sources, at::zeros({}, sources.options()));
        total = 0.5 * total + 0.5 * adversarial;
      }
    }
    const at::Tensor slope = torch::autograd::grad({total}, {g})[0];
    const double weight = settings_.coefficient / static_cast<double>(T_);
    const PenaltyGradient penalty{
        .weight = at::full({z_.size(1)}, weight, at::dtype(at::kDouble).device(z_.device())),
        .penalty = {.kind = PenaltyKind::power, .p = settings_.p, .eps = penalty_eps}};
    const at::Tensor dead = alive_.logical_not();
    seen.gradient = squash_backward(z_, slope, &penalty, 1).masked_fill(dead, 0.0);
    const at::Tensor upper = at::where(z_.gt(1.0), 1.0 + leaky_slope * (z_ - 1.0), z_.clamp(0.0, 1.0));
    seen.penalty = (upper + penalty_eps).pow(settings_.p).masked_fill(dead, 0.0).sum().item<double>() /
                   static_cast<double>(T_);
    seen.total = total.item<double>() + settings_.coefficient * seen.penalty;
    return seen;
  }

  const Decomposition& d_;
  const std::vector<OutputTarget>& targets_;
  const PruneSettings& settings_;
  const PruneDraws& draws_;
  std::int64_t T_;
  at::Tensor input_, output_, before_, alive_, z_;
};

void check_targets(const std::vector<OutputTarget>& targets, std::int64_t T, const Target& explained) {
  const std::int64_t outputs =
      explained.vocabulary_size() > 0 ? explained.vocabulary_size() : explained.features();
  VPD_CHECK(!targets.empty(), UsageError, "expected an output to explain, found none");
  for (const OutputTarget& target : targets) {
    VPD_CHECK(target.at >= 0 && target.at < T, UsageError,
              "expected a target at a position from 0 to {}, the prompt's last, found {}", T - 1, target.at);
    VPD_CHECK(!target.token || (*target.token >= 0 && *target.token < outputs), UsageError,
              "expected a target {} below {}, found {}", explained.vocabulary_size() > 0 ? "token" : "output",
              outputs, *target.token);
  }
}

}  // namespace

std::string name_of(PruneMasks masks) {
  for (const MasksName& one : mask_names)
    if (one.masks == masks) return one.name;
  return {};
}

PruneMasks parse_prune_masks(const std::string& text) {
  std::vector<std::string> names;
  for (const MasksName& one : mask_names) {
    if (text == one.name) return one.masks;
    names.emplace_back(one.name);
  }
  throw UsageError(fmt::format("--masks: expected {}, found {}", join_words(names), quote_foreign(text)));
}

std::unique_ptr<PruneDraws> random_prune_draws(const Decomposition& d, std::int64_t T,
                                               const PruneSettings& settings) {
  return std::make_unique<RandomDraws>(d, T, settings);
}

std::vector<std::int64_t> PromptImportance::columns() const {
  const at::Tensor found = after.gt(0.0).any(0).nonzero().view({-1}).cpu().contiguous();
  return {found.const_data_ptr<std::int64_t>(), found.const_data_ptr<std::int64_t>() + found.numel()};
}

at::Tensor output_loss(const at::Tensor& clean, const at::Tensor& output,
                       const std::vector<OutputTarget>& targets, Divergence divergence) {
  at::Tensor sum;
  const auto add = [&](const at::Tensor& one) { sum = sum.defined() ? sum + one : one; };
  for (const OutputTarget& target : targets) {
    const at::Tensor wanted = clean[target.at], y = output[target.at];
    if (divergence == Divergence::mse) {
      const at::Tensor square = (y - wanted).square() / wanted.square().sum().clamp_min(1e-30);
      add(target.token ? square[*target.token] : square.sum());
    } else if (target.token) {
      add(-y.log_softmax(0)[*target.token]);
    } else {
      const at::Tensor log_p = wanted.log_softmax(0);
      add((log_p.exp() * (log_p - y.log_softmax(0))).sum());
    }
  }
  return sum / static_cast<double>(targets.size());
}

PromptImportance optimise_importance(const Decomposition& d, const at::Tensor& input,
                                     const std::vector<OutputTarget>& targets, const PruneSettings& settings,
                                     const StopAsked& stop, const PruneDraws* draws,
                                     const std::function<void(const PruneStep&)>& follow) {
  check_targets(targets, positions_of(input), *d.target);
  const std::unique_ptr<PruneDraws> own =
      draws ? nullptr : random_prune_draws(d, positions_of(input), settings);
  return Optimisation(d, input, targets, settings, draws ? *draws : *own).run(stop, follow);
}

}  // namespace vpd
