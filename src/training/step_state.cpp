#include <ATen/ATen.h>

#include "step_parts.hpp"
#include "vpd/training/step.hpp"

namespace vpd {

NamedTensors TrainingStep::state() const {
  NamedTensors tensors;
  const auto add = [&](const std::string& prefix, const NamedTensors& part) {
    for (const auto& [name, value] : part) tensors.emplace_back(prefix + name, value);
  };
  add("optimizer/m/", d_.components.named(components_state_.m));
  add("optimizer/v/", d_.components.named(components_state_.v));
  add("optimizer/m/causal_importance.", d_.ci_parameters.named(ci_state_.m));
  add("optimizer/v/causal_importance.", d_.ci_parameters.named(ci_state_.v));
  for (const StepTerm& term : terms_) {
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
  for (StepTerm& term : terms_) {
    if (!term.persistent) continue;
    term.persistent->load(file, "adversary/" + term.label + "/", d_.sites);
    term.persistent->ascents = steps_made * (term.persistent->config().warmup_steps + 1);
  }
}

}  // namespace vpd
