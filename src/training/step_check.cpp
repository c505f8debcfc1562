#include <cmath>

#include <ATen/ATen.h>

#include "step_impl.hpp"
#include "vpd/base/error.hpp"

namespace vpd {

void TrainingStep::Impl::check(const StepResult& result, std::int64_t step) const {
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
      if (pass == 0 && (broken(d_.components.V(i)) || broken(d_.components.U(i)))) what = "its U or V";
      for (const StepLane& lane : lanes_) {
        if (what) break;
        if (pass == 0 && broken(lane.clean.inputs[i])) {
          what = "its input in the target";
        } else if (pass == 0 && broken(site.columns(lane.importance.z))) {
          what = "its causal importances";
        } else if (pass == 1 &&
                   (broken(lane.components.V(i).gradient) || broken(lane.components.U(i).gradient))) {
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
                  "coefficient in a new run, which may begin with the weights of a checkpoint of this one "
                  "(initialize_from: RUN/checkpoints/step_N)",
                  step, culprit, where));
}

}  // namespace vpd
