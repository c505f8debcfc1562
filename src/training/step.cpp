#include "vpd/training/step.hpp"

#include "step_impl.hpp"

namespace vpd {

std::int64_t gradients_of_a_lane(const ParameterSet& components, const ParameterSet& ci_parameters,
                                 const CausalImportance& ci) {
  return components.flat().numel() + (ci.reads_parameters_once() ? 0 : ci_parameters.flat().numel());
}

int suitable_lanes(const Decomposition& decomposition, std::int64_t rows, int threads) {
  return suitable_lanes(
      decomposition.numerics.device, rows, threads,
      gradients_of_a_lane(decomposition.components, decomposition.ci_parameters, *decomposition.ci));
}

TrainingStep::TrainingStep(Decomposition& decomposition, const RunConfig& config, std::int64_t T,
                           Lanes& lanes, Processes& processes)
    : TrainingStep(decomposition, config, plan_of(config.objective), T, lanes, processes) {}

TrainingStep::TrainingStep(Decomposition& decomposition, const RunConfig& config, ObjectivePlan objective,
                           std::int64_t T, Lanes& lanes, Processes& processes)
    : impl_(std::make_unique<Impl>(decomposition, config, std::move(objective), T, lanes, processes)) {}

TrainingStep::~TrainingStep() = default;

Range TrainingStep::rows(TermRows which) const {
  return impl_->streams_[static_cast<std::size_t>(which)].rows;
}
void TrainingStep::share() { impl_->share(); }
StepResult TrainingStep::run(const at::Tensor& tokens, std::int64_t number, bool want_l0,
                             const at::Tensor& background) {
  return impl_->run(background.defined() ? std::vector{tokens, background} : std::vector{tokens}, number,
                    want_l0);
}
void TrainingStep::check(const StepResult& result, std::int64_t step) const { impl_->check(result, step); }
void TrainingStep::forget_batch() { impl_->forget_batch(); }
at::Tensor TrainingStep::warm_up() { return impl_->warm_up(); }
NamedTensors TrainingStep::state() const { return impl_->state(); }
void TrainingStep::load(const std::filesystem::path& file, std::int64_t steps_made) {
  impl_->load(file, steps_made);
}

}  // namespace vpd
