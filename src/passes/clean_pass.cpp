#include "vpd/passes/clean_pass.hpp"

#include <ATen/ATen.h>

namespace vpd {

at::Tensor CleanPass::at_compared(const at::Tensor& x) const {
  if (compared == ComparedPositions::all) return x;
  return x.unflatten(0, {B(), T()}).select(1, T() - 1);
}

CleanPass clean_pass(const Decomposition& decomposition, const at::Tensor& input, bool keep_outputs,
                     ComparedPositions compared) {
  const at::NoGradGuard no_grad;
  const std::size_t block = decomposition.first_block();
  RecordingExecutor executor(decomposition.sites.of_matrix(), decomposition.sites.size(), keep_outputs,
                             block > 0 ? std::optional(block) : std::nullopt);
  CleanPass clean;
  clean.input = input;
  clean.compared = compared;
  const at::Tensor hidden = decomposition.target->hidden(input, executor);
  // A head that is a site has importances of every position.
  clean.output = decomposition.frozen_head()
                     ? decomposition.target->output(clean.at_compared(hidden).contiguous(), executor)
                     : clean.at_compared(decomposition.target->output(hidden, executor)).contiguous();
  clean.inputs = std::move(executor.inputs);
  clean.outputs = std::move(executor.outputs);
  clean.start = {block, std::move(executor.residual_stream)};
  return clean;
}

CleanPass clean_pass(const Decomposition& decomposition, const at::Tensor& input, const Range& rows,
                     bool keep_outputs, ComparedPositions compared) {
  const at::Tensor own = input.narrow(0, rows.begin, rows.size());
  return clean_pass(decomposition, own.to(decomposition.numerics.device), keep_outputs, compared);
}

Importance causal_importance(const Decomposition& decomposition, const CleanPass& clean,
                             const std::vector<Parameter>& parameters, const BoundSubcomponents& components,
                             bool want_lower, const GradientsReady& ready) {
  std::vector<at::Tensor> inputs = clean.inputs;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (decomposition.sites[i].embedding) inputs[i] = embedding(inputs[i], components.V(i));
  }
  Importance importance;
  const Numerics& numerics = decomposition.numerics;
  importance.z = decomposition.ci->forward_notifying(inputs, clean.B(), parameters, components, ready);
  if (importance.z.scalar_type() != numerics.compute) importance.z = importance.z.to(numerics.wide);
  importance.z = importance.z.contiguous();  // a custom function's need not be
  if (want_lower) importance.lower = importance.z.detach().to(numerics.wide).clamp(0.0, 1.0);
  return importance;
}

}  // namespace vpd
