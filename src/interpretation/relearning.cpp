#include "relearning.hpp"

#include <map>
#include <utility>

#include <ATen/ATen.h>
#include <torch/optim/adam.h>

#include "prompt_losses.hpp"
#include "statistics.hpp"

namespace vpd {
namespace {

using Changes = std::map<std::size_t, at::Tensor>;  // by the matrix's number: [d_out, d_in]

/// Adds what training changed to each matrix.
class Trained final : public ForwardingExecutor {
 public:
  Trained(const Changes& changes, std::unique_ptr<Executor> below)
      : ForwardingExecutor(below.get()), changes_(changes), below_(std::move(below)) {}

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    at::Tensor y = inner().linear(matrix, x);
    const auto change = changes_.find(matrix.index);
    if (change == changes_.end()) return y;
    return (y + x.to(change->second.scalar_type()).matmul(change->second.t())).to(y.scalar_type());
  }

 private:
  const Changes& changes_;
  std::unique_ptr<Executor> below_;
};

bool is_shown(std::int64_t step, std::int64_t last) {
  if (step == last) return true;
  std::int64_t leading = step;
  while (leading >= 10 && leading % 10 == 0) leading /= 10;
  return leading == 0 || leading == 1 || leading == 2 || leading == 5;
}

}  // namespace

RelearningCurve relearn(const Decomposition& d, const Alteration& alteration,
                        const std::vector<AuditPrompt>& train, const std::vector<AuditPrompt>& test,
                        const RelearnSettings& settings, Lanes& lanes) {
  Changes changes;
  std::vector<at::Tensor> parameters;
  for (const Matrix& matrix : d.target->matrices()) {
    if (!matrix.in_block || matrix.embedding) continue;
    const at::Tensor change =
        at::zeros({matrix.d_out(), matrix.d_in()}, d.numerics.options()).requires_grad_(true);
    changes.emplace(matrix.index, change);
    parameters.push_back(change);
  }
  const Alteration trained = [&](std::int64_t N) {
    return std::make_unique<Trained>(changes, alteration ? alteration(N) : std::make_unique<PlainExecutor>());
  };
  torch::optim::Adam optimizer(parameters, torch::optim::AdamOptions(settings.rate));
  std::vector<AuditPrompt> told = train;  // ln p(target) is what training raises, contrast or not
  for (AuditPrompt& prompt : told) prompt.contrast.reset();
  const std::vector<PromptBatch> batches = batch_prompts(told, d.numerics.device);
  RelearningCurve curve;
  for (std::int64_t step = 0;; ++step) {
    if (is_shown(step, settings.steps)) {
      curve.steps.push_back(step);
      curve.probability.push_back(mean_of(prompt_figures(d, test, trained, lanes).probability));
    }
    if (step == settings.steps) return curve;
    if (settings.each_step) settings.each_step();
    const at::AutoGradMode record(true);
    optimizer.zero_grad();
    double count = 0.0;
    for (const AuditPrompt& prompt : told) count += prompt.target.has_value();
    for (const PromptBatch& batch : batches) {
      const auto [sum, some] = summed_metric(d, batch, told, trained);
      if (some > 0) (-sum / count).backward();
    }
    optimizer.step();
  }
}

}  // namespace vpd
