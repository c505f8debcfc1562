#include "vpd/training/step.hpp"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "step_lane.hpp"
#include "vpd/base/error.hpp"
#include "vpd/kernels/squash.hpp"
#include "vpd/objective/faithfulness.hpp"
#include "vpd/objective/minimality.hpp"

namespace vpd {
namespace {

at::Tensor scalar(double value, const Numerics& numerics) {
  return at::full({}, value, numerics.options().dtype(at::kDouble));
}

}  // namespace

int suitable_lanes(const Decomposition& decomposition, std::int64_t rows, int threads) {
  const std::int64_t parameters =
      decomposition.components.flat().numel() + decomposition.ci_parameters.flat().numel();
  return suitable_lanes(decomposition.numerics.device, rows, threads, parameters);
}

TrainingStep::TrainingStep(Decomposition& decomposition, const RunConfig& config, std::int64_t T,
                           Lanes& lanes)
    : d_(decomposition),
      config_(config),
      pool_(lanes),
      B_(config.training.batch_size),
      T_(T),
      micro_(config.training.micro_batch_size.value_or(config.training.batch_size)),
      components_state_(AdamWState::for_parameters(decomposition.components)),
      ci_state_(AdamWState::for_parameters(decomposition.ci_parameters)) {
  for (std::size_t k = 0; k < config.objective.size(); ++k) {
    Term term;
    term.config = &config.objective[k];
    term.label = label(config.objective[k]);
    term.number = k;
    if (const auto* adversarial = std::get_if<AdversarialReconTerm>(term.config)) {
      if (const auto* persistent = std::get_if<PersistentAdversaryConfig>(&adversarial->adversary)) {
        term.persistent =
            std::make_unique<PersistentAdversary>(*persistent, d_.sites, B_, T_, d_.numerics, config.seed, k);
        if (term.persistent->local()) term.local_gradient = term.persistent->make_gradient();
      }
    }
    terms_.push_back(std::move(term));
  }
  for (int i = 0; i < pool_.count(); ++i) {
    Lane lane;
    lane.components_gradient = d_.components.make_gradient();
    lane.ci_gradient = d_.ci_parameters.make_gradient();
    lane.components = d_.components.bind(lane.components_gradient);
    lane.frozen_components = d_.components.bind({});
    lane.ci_parameters = d_.ci_parameters.bind(lane.ci_gradient);
    lane.frozen_ci_parameters = d_.ci_parameters.bind({});
    lane.source_gradients.resize(terms_.size());
    lanes_.push_back(std::move(lane));
  }
}

TrainingStep::~TrainingStep() = default;

void TrainingStep::prepare(const at::Tensor& tokens, std::int64_t first, bool graph,
                           const std::vector<MinimalityPower>* powers) {
  pool_.run([&](int i) {
    Lane& lane = lanes_[static_cast<std::size_t>(i)];
    const Range part = lane_range(micro_, i, pool_.count());
    lane.first_batch = first + part.begin;
    const at::Tensor rows = tokens.narrow(0, lane.first_batch, part.size()).to(d_.numerics.device);
    lane.clean = clean_pass(d_, rows);
    const at::AutoGradMode record(graph);
    lane.importance =
        causal_importance(d_, lane.clean, graph ? lane.ci_parameters : lane.frozen_ci_parameters);
    const at::NoGradGuard no_grad;
    if (graph) lane.importance_gradient = at::zeros_like(lane.importance.lower);
    if (!powers) return;
    for (std::size_t k = 0; k < powers->size(); ++k) {
      lane.sums[k].add_(power_sums(lane.importance.z.detach(), (*powers)[k].p, (*powers)[k].eps));
    }
  });
}

/// One pass of a reconstruction term on a lane's rows. An ascent wants the sources' gradient alone; the loss
/// itself, with `coefficient`, those of parameters and importances too. `draw` tells the random draws of one
/// step apart.
at::Tensor TrainingStep::term_pass(Lane& lane, const Term& term, std::int64_t step, std::int64_t draw,
                                   bool ascent, double coefficient) {
  const double positions = static_cast<double>(B_ * T_);
  const bool trains = !ascent && coefficient != 0.0;
  PassContext context{.decomposition = &d_,
                      .clean = &lane.clean,
                      .importance = lane.importance.lower,
                      .components = trains ? &lane.components : &lane.frozen_components,
                      .first_row = lane.first_batch * T_};
  if (trains) context.importance_gradient = lane.importance_gradient;
  const auto key = [&](RandomPurpose purpose, std::int64_t which) {
    return make_key(config_.seed, purpose, static_cast<std::uint64_t>(step), term.number,
                    static_cast<std::uint64_t>(which));
  };
  if (const auto* stochastic = std::get_if<StochasticReconTerm>(term.config)) {
    const SourceKind kind =
        stochastic->sources == SourceDistribution::uniform ? SourceKind::uniform : SourceKind::binomial;
    const double share = 1.0 / static_cast<double>(stochastic->samples);
    at::Tensor sum;
    for (std::int64_t s = 0; s < stochastic->samples; ++s) {
      const RoutingDraw routing = draw_routing(stochastic->routing, key(RandomPurpose::routing, s), context);
      const at::Tensor one =
          reconstruct(context, random_sources(context, kind, key(RandomPurpose::mask_sources, s)), routing,
                      coefficient * share / positions);
      sum = sum.defined() ? sum.add_(one) : one;
    }
    return sum.mul_(share);
  }
  if (const auto* adversarial = std::get_if<AdversarialReconTerm>(term.config)) {
    const bool fresh = !term.persistent;
    const RoutingDraw routing =
        draw_routing(adversarial->routing, key(RandomPurpose::routing, fresh ? 0 : draw), context);
    // Sources follow the gradient of the loss itself, so the coefficient that the backward pass carries is
    // divided out.
    const double scale = trains ? 1.0 / coefficient : 1.0;
    const at::Tensor gradient =
        term.local_gradient.defined() ? term.local_gradient : lane.source_gradients[term.number];
    SourceUse use;
    if (fresh) {
      use = use_fresh(term.fresh, lane.first_batch, T_, /*want_gradient=*/false);
      if (ascent) use.gradient = gradient;
    } else {
      const bool overwrite = term.local_gradient.defined() && !routing.layerwise;
      use = term.persistent->use(lane.first_batch, lane.clean.B(), T_, gradient, scale, overwrite);
    }
    if (term.local_gradient.defined() && routing.layerwise) lane_rows(lane, term.local_gradient, T_).zero_();
    const double seed = (trains ? coefficient : (fresh && !ascent ? 0.0 : 1.0)) / positions;
    return reconstruct(context, tensor_sources(d_.sites, use), routing, seed);
  }
  const double mask = std::holds_alternative<UnmaskedReconTerm>(*term.config) ? 1.0 : 0.0;
  return reconstruct(context, constant_sources(mask, /*delta=*/0.0), {}, coefficient / positions);
}

/// Ascents of sources that lanes share: all lanes (and micro-batches) finish each before the next begins.
void TrainingStep::ascend_shared(const at::Tensor& tokens, std::int64_t step) {
  for (Term& term : terms_) {
    const auto* adversarial = std::get_if<AdversarialReconTerm>(term.config);
    if (!adversarial || term.local_gradient.defined()) continue;
    const auto* fresh = std::get_if<FreshAdversaryConfig>(&adversarial->adversary);
    if (fresh) {
      const RandomKey key =
          make_key(config_.seed, RandomPurpose::fresh_sources, static_cast<std::uint64_t>(step), term.number);
      term.fresh = start_fresh(*fresh, d_.sites, B_, key, d_.numerics);
    }
    const auto zero_gradients = [&] {
      for (Lane& lane : lanes_) {
        at::Tensor& gradient = lane.source_gradients[term.number];
        if (gradient.defined())
          gradient.zero_();
        else
          gradient = fresh ? at::zeros_like(term.fresh.values) : term.persistent->make_gradient();
      }
    };
    const std::int64_t ascents = fresh ? fresh->steps : term.persistent->config().warmup_steps;
    for (std::int64_t a = 0; a < ascents; ++a) {
      zero_gradients();
      for (std::int64_t first = 0; first < B_; first += micro_) {
        if (micro_ < B_) prepare(tokens, first, /*graph=*/false, nullptr);
        pool_.run([&](int i) {
          term_pass(lanes_[static_cast<std::size_t>(i)], term, step, a, /*ascent=*/true, 0.0);
        });
      }
      ascend_together(term, step);
    }
    zero_gradients();
  }
}

/// One ascent along the sum of the lanes' gradients.
void TrainingStep::ascend_together(Term& term, std::int64_t step) {
  at::Tensor gradient = lanes_.front().source_gradients[term.number];
  for (std::size_t i = 1; i < lanes_.size(); ++i) gradient.add_(lanes_[i].source_gradients[term.number]);
  if (term.persistent) {
    const double rate = value_at(term.persistent->config().learning_rate, step, config_.training.steps);
    term.persistent->ascend(gradient, 0, term.persistent->layout().rows(), rate, ++term.persistent->ascents);
  } else {
    const auto& adversarial = std::get<AdversarialReconTerm>(*term.config);
    term.fresh.gradient = gradient;
    step_fresh(term.fresh, std::get<FreshAdversaryConfig>(adversarial.adversary).step_size);
  }
}

/// Everything that needs one lane alone: ascents of its own sources, losses, and one backward pass to all
/// parameters.
void TrainingStep::lane_losses(Lane& lane, std::size_t number, std::int64_t step,
                               const std::vector<PowerGradient>& powers, bool first_micro_batch) {
  const std::int64_t steps = config_.training.steps;
  for (const Term& term : terms_) {
    const double coefficient = value_at(coefficient_of(*term.config), step, steps);
    const bool reconstructs = !std::holds_alternative<FaithfulnessTerm>(*term.config) &&
                              !std::holds_alternative<ImportanceMinimalityTerm>(*term.config) &&
                              !std::holds_alternative<FrequencyMinimalityTerm>(*term.config);
    std::int64_t draw = 0;
    if (term.local_gradient.defined()) {
      const PersistentAdversaryConfig& adversary = term.persistent->config();
      const double rate = value_at(adversary.learning_rate, step, steps);
      for (; draw < adversary.warmup_steps; ++draw) {
        term_pass(lane, term, step, draw, /*ascent=*/true, 0.0);
        term.persistent->ascend(term.local_gradient, lane.first_batch * T_,
                                (lane.first_batch + lane.clean.B()) * T_, rate,
                                term.persistent->ascents + draw + 1);
      }
    } else if (term.persistent) {
      draw = term.persistent->config().warmup_steps;
    }
    if (reconstructs) {
      lane.losses[term.number].add_(term_pass(lane, term, step, draw, /*ascent=*/false, coefficient));
    } else if (first_micro_batch && std::holds_alternative<FaithfulnessTerm>(*term.config)) {
      const double seed = coefficient / static_cast<double>(d_.sites.entries());
      for (std::size_t i = number; i < d_.sites.size(); i += lanes_.size()) {
        const auto gradient = [&](std::size_t parameter) {
          return seed != 0.0 ? lane.components[parameter].gradient : at::Tensor();
        };
        lane.losses[term.number].add_(squared_delta(d_, i, seed, gradient(2 * i), gradient(2 * i + 1)));
      }
    }
  }
  const at::Tensor dz = squash_backward(lane.importance.z.detach(), lane.importance_gradient, powers.data(),
                                        static_cast<int>(powers.size()));
  torch::autograd::backward({lane.importance.z}, {dz});
  lane.importance.z = lane.importance.z.detach();
}

StepResult TrainingStep::run(const at::Tensor& tokens, std::int64_t step, bool want_l0) {
  warm_up_state_ = {};  // its moments are not the loop's
  const std::int64_t steps = config_.training.steps, N = B_ * T_;
  const std::vector<MinimalityPower> powers = minimality_powers(config_.objective, step, steps);
  const bool whole = micro_ == B_;
  for (Lane& lane : lanes_) {
    lane.losses.clear();
    lane.sums.clear();
    for (std::size_t k = 0; k < terms_.size(); ++k) lane.losses.push_back(scalar(0.0, d_.numerics));
    for (std::size_t k = 0; k < powers.size(); ++k) {
      lane.sums.push_back(at::zeros({d_.sites.total_C()}, d_.numerics.options().dtype(at::kDouble)));
    }
  }
  if (whole || !powers.empty()) {
    for (std::int64_t first = 0; first < B_; first += micro_)
      prepare(tokens, first, /*graph=*/whole, &powers);
  }
  std::vector<at::Tensor> sums;
  std::vector<PowerGradient> power_gradients;
  for (std::size_t k = 0; k < powers.size(); ++k) {
    at::Tensor total = lanes_.front().sums[k];
    for (std::size_t i = 1; i < lanes_.size(); ++i) total.add_(lanes_[i].sums[k]);
    power_gradients.push_back(minimality_gradient(powers[k], total, N));
    sums.push_back(total);
  }
  ascend_shared(tokens, step);
  at::Tensor active = scalar(0.0, d_.numerics);
  for (std::int64_t first = 0; first < B_; first += micro_) {
    if (!whole) prepare(tokens, first, /*graph=*/true, nullptr);
    pool_.run([&](int i) {
      Lane& lane = lanes_[static_cast<std::size_t>(i)];
      if (first == 0) {
        lane.components_gradient.zero_();
        lane.ci_gradient.zero_();
      }
      lane_losses(lane, static_cast<std::size_t>(i), step, power_gradients, first == 0);
    });
    if (want_l0) {
      for (const Lane& lane : lanes_) active.add_(at::count_nonzero(lane.importance.lower));
    }
  }

  StepResult result;
  result.total = scalar(0.0, d_.numerics);
  if (want_l0) result.l0 = active / static_cast<double>(N);
  for (const Term& term : terms_) {
    at::Tensor loss = lanes_.front().losses[term.number];
    for (std::size_t i = 1; i < lanes_.size(); ++i) loss.add_(lanes_[i].losses[term.number]);
    if (std::holds_alternative<ImportanceMinimalityTerm>(*term.config)) {
      loss = importance_minimality(sums.front(), N);
    } else if (std::holds_alternative<FrequencyMinimalityTerm>(*term.config)) {
      loss = frequency_minimality(sums.back(), N);
    } else {
      loss.div_(static_cast<double>(
          std::holds_alternative<FaithfulnessTerm>(*term.config) ? d_.sites.entries() : N));
    }
    result.labels.push_back(term.label);
    result.losses.push_back(loss);
    result.total.add_(loss, value_at(coefficient_of(*term.config), step, steps));
  }
  if (d_.numerics.device.is_cpu()) check(result, step);

  std::vector<at::Tensor> components, ci;
  for (const Lane& lane : lanes_) {
    components.push_back(lane.components_gradient);
    ci.push_back(lane.ci_gradient);
  }
  const ClippedNorm components_norm =
      reduce_gradients(components, config_.training.gradient_clip.components, pool_);
  const ClippedNorm ci_norm = reduce_gradients(ci, config_.training.gradient_clip.causal_importance, pool_);
  result.components_norm = components_norm.norm;
  result.causal_importance_norm = ci_norm.norm;
  const at::Tensor finite = at::isfinite(result.total + components_norm.norm + ci_norm.norm);
  if (d_.numerics.device.is_cpu()) check(result, step);
  // Once a step was not finite no later one changes anything either, until somebody looks.
  const at::Tensor bad = finite.logical_not().to(at::kFloat);
  broken_ = broken_.defined() ? at::maximum(broken_, bad) : bad;
  result.broken = broken_;
  const auto& adamw = std::get<AdamWConfig>(config_.training.optimizer);
  const double rate = value_at(config_.training.learning_rate, step, steps);
  update(d_.components, components.front(), components_state_, adamw, rate, components_norm.divisor, broken_,
         pool_);
  update(d_.ci_parameters, ci.front(), ci_state_, adamw, rate, ci_norm.divisor, broken_, pool_);

  for (Term& term : terms_) {
    if (!term.persistent) continue;
    if (!term.local_gradient.defined()) {
      ascend_together(term, step);
      continue;
    }
    term.persistent->ascents += term.persistent->config().warmup_steps + 1;
    const double ascent_rate = value_at(term.persistent->config().learning_rate, step, steps);
    pool_.run([&](int i) {
      const Range rows = lane_range(term.persistent->layout().rows(), i, pool_.count());
      term.persistent->ascend(term.local_gradient, rows.begin, rows.end, ascent_rate,
                              term.persistent->ascents);
    });
  }
  if (want_l0) {
    for (const Term& term : terms_)
      result.saturated_sources.push_back(term.persistent ? term.persistent->saturated() : at::Tensor());
  }
  return result;
}

void TrainingStep::check(const StepResult& result, std::int64_t step) const {
  std::string culprit;
  const auto bad = [](const at::Tensor& x) { return x.defined() && !std::isfinite(x.item<double>()); };
  for (std::size_t k = 0; k < result.losses.size() && culprit.empty(); ++k) {
    if (bad(result.losses[k])) culprit = "the loss " + result.labels[k];
  }
  if (culprit.empty() && bad(result.components_norm)) culprit = "the gradient of U and V";
  if (culprit.empty() && bad(result.causal_importance_norm))
    culprit = "the gradient of the causal-importance function";
  if (culprit.empty() && result.broken.defined() && result.broken.item<double>() != 0.0) {
    culprit = "a loss or a gradient of a step since the last check";
  }
  if (culprit.empty()) return;
  const auto broken = [](const at::Tensor& x) { return !at::isfinite(x).all().item<bool>(); };
  // Causes before what follows from them: a NaN anywhere makes every gradient one.
  std::string where = "no site's values are";
  for (int pass = 0; pass < 2; ++pass) {
    for (std::size_t i = 0; i < d_.sites.size(); ++i) {
      const Site& site = d_.sites[i];
      const char* what = nullptr;
      if (pass == 0 && (broken(d_.components.value(2 * i)) || broken(d_.components.value(2 * i + 1))))
        what = "its U or V";
      for (const Lane& lane : lanes_) {
        if (what) break;
        if (pass == 0 && broken(lane.clean.inputs[i])) {
          what = "its input in the target";
        } else if (pass == 0 && broken(lane.importance.lower_of(site))) {
          what = "its causal importances";
        } else if (pass == 1 &&
                   (broken(lane.components[2 * i].gradient) || broken(lane.components[2 * i + 1].gradient))) {
          what = "the gradient of its U or V";
        }
      }
      if (!what) continue;
      where = fmt::format("the first site is {} ({})", site.name, what);
      pass = 2;
      break;
    }
  }
  throw NumericalError(
      fmt::format("step {}: {} is NaN or infinite; {}: lower training.learning_rate or the term's "
                  "coefficient and resume from "
                  "the last checkpoint",
                  step, culprit, where));
}

at::Tensor TrainingStep::warm_up() {
  if (!warm_up_state_.m.defined()) warm_up_state_ = AdamWState::for_parameters(d_.components);
  const double entries = static_cast<double>(d_.sites.entries());
  std::vector<at::Tensor> values(lanes_.size()), gradients;
  for (const Lane& lane : lanes_) gradients.push_back(lane.components_gradient);
  pool_.run([&](int n) {
    Lane& lane = lanes_[static_cast<std::size_t>(n)];
    lane.components_gradient.zero_();
    at::Tensor sum = scalar(0.0, d_.numerics);
    for (std::size_t i = static_cast<std::size_t>(n); i < d_.sites.size(); i += lanes_.size()) {
      sum.add_(squared_delta(d_, i, 1.0 / entries, lane.components[2 * i].gradient,
                             lane.components[2 * i + 1].gradient));
    }
    values[static_cast<std::size_t>(n)] = sum;
  });
  for (std::size_t i = 1; i < values.size(); ++i) values.front().add_(values[i]);
  const ClippedNorm norm = reduce_gradients(gradients, std::nullopt, pool_);
  const FaithfulnessWarmupConfig& config = config_.training.faithfulness_warmup;
  update(d_.components, gradients.front(), warm_up_state_, {.weight_decay = config.weight_decay},
         config.learning_rate, norm.divisor, {}, pool_);
  return values.front().div_(entries);
}

NamedTensors TrainingStep::state() const {
  NamedTensors tensors;
  const auto add = [&](const std::string& prefix, const NamedTensors& part) {
    for (const auto& [name, value] : part) tensors.emplace_back(prefix + name, value);
  };
  add("optimizer/m/", d_.components.named(components_state_.m));
  add("optimizer/v/", d_.components.named(components_state_.v));
  add("optimizer/m/causal_importance.", d_.ci_parameters.named(ci_state_.m));
  add("optimizer/v/causal_importance.", d_.ci_parameters.named(ci_state_.v));
  for (const Term& term : terms_) {
    if (term.persistent) add("adversary/" + term.label + "/", term.persistent->state(d_.sites));
  }
  return tensors;
}

void TrainingStep::load(const std::filesystem::path& path, std::int64_t steps_made) {
  const SafetensorsFile file(path);
  const auto take = [&](const std::string& prefix, const NamedTensors& part) {
    for (const auto& [name, value] : part)
      at::Tensor(value).copy_(load_checked(file, prefix + name, value.sizes()));
  };
  take("optimizer/m/", d_.components.named(components_state_.m));
  take("optimizer/v/", d_.components.named(components_state_.v));
  take("optimizer/m/causal_importance.", d_.ci_parameters.named(ci_state_.m));
  take("optimizer/v/causal_importance.", d_.ci_parameters.named(ci_state_.v));
  components_state_.count = ci_state_.count = steps_made;
  for (Term& term : terms_) {
    if (!term.persistent) continue;
    term.persistent->load(file, "adversary/" + term.label + "/", d_.sites);
    term.persistent->ascents = steps_made * (term.persistent->config().warmup_steps + 1);
  }
}

}  // namespace vpd
