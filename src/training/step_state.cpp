#include <ATen/ATen.h>

#include "step_impl.hpp"

namespace vpd {
namespace {

/// What a frequency term has averaged so far, float64: "mean/<site>" [C] each, "weight" [1].
NamedTensors parts_of(const FrequencyAverage& average, const Sites& sites) {
  NamedTensors parts;
  for (const Site& site : sites) parts.emplace_back("mean/" + site.name, site.columns(average.mean()));
  parts.emplace_back("weight", average.weight());
  return parts;
}

}  // namespace

void TrainingStep::Impl::share() {
  for (ParameterSet* parameters : std::initializer_list<ParameterSet*>{&d_.components, &d_.ci_parameters}) {
    processes_.broadcast(parameters->flat());
    parameters->refresh();
  }
  for (const StepTerm& term : terms_) {
    if (term.persistent) term.persistent->share(processes_);
  }
}

NamedTensors TrainingStep::Impl::state() const {
  NamedTensors tensors;
  const auto add = [&](const std::string& prefix, const NamedTensors& part) {
    for (const auto& [name, value] : part) tensors.emplace_back(prefix + name, value);
  };
  add("optimizer/m/", d_.components.named(components_state_.m));
  add("optimizer/v/", d_.components.named(components_state_.v));
  add("optimizer/m/causal_importance.", d_.ci_parameters.named(ci_state_.m));
  add("optimizer/v/causal_importance.", d_.ci_parameters.named(ci_state_.v));
  for (const StepTerm& term : terms_) {
    if (term.persistent)
      add("adversary/" + term.plan.label + "/", term.persistent->state(d_.sites, processes_));
    if (term.average) add("minimality/" + term.plan.label + "/", parts_of(*term.average, d_.sites));
  }
  return tensors;
}

void TrainingStep::Impl::load(const std::filesystem::path& path, std::int64_t steps_made) {
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
  for (StepTerm& term : terms_) {
    if (term.average) {
      for (const auto& [name, value] : parts_of(*term.average, d_.sites)) {
        at::Tensor(value).copy_(
            load_checked(file, "minimality/" + term.plan.label + "/" + name, value.sizes(), at::kDouble));
      }
    }
    if (!term.persistent) continue;
    term.persistent->load(file, "adversary/" + term.plan.label + "/", d_.sites);
    term.persistent->ascents = steps_awake(term.plan.coefficient, steps_made, config_.training.steps) *
                               (term.persistent->config().warmup_steps + 1);
  }
}

}  // namespace vpd
