#include "prompt_losses.hpp"

#include <ATen/ATen.h>

namespace vpd {

std::pair<at::Tensor, std::int64_t> summed_metric(const Decomposition& d, const PromptBatch& batch,
                                                  const std::vector<AuditPrompt>& prompts,
                                                  const Alteration& alteration, const PassStart& start) {
  std::vector<std::int64_t> rows, targets, contrasts;
  for (std::size_t b = 0; b < batch.which.size(); ++b) {
    const AuditPrompt& prompt = prompts[batch.which[b]];
    if (!prompt.target) continue;
    rows.push_back(static_cast<std::int64_t>(b));
    targets.push_back(*prompt.target);
    contrasts.push_back(prompt.contrast.value_or(-1));
  }
  if (rows.empty()) return {at::Tensor(), 0};
  const std::int64_t B = batch.tokens.size(0), T = batch.tokens.size(1);
  const std::unique_ptr<Executor> altered = alteration(B * T);
  const at::Device device = batch.tokens.device();
  const at::Tensor chosen = at::tensor(rows, at::kLong).to(device);
  const at::Tensor log_p = d.target->forward(batch.tokens, *altered, start)
                               .view({B, T, -1})
                               .select(1, T - 1)
                               .index_select(0, chosen)
                               .log_softmax(1);
  const auto of = [&](std::vector<std::int64_t> tokens) {
    for (std::int64_t& token : tokens) token = std::max<std::int64_t>(token, 0);
    return log_p.gather(1, at::tensor(tokens, at::kLong).to(device).unsqueeze(1)).squeeze(1);
  };
  // ln p(target) - ln p(contrast) is the difference of their logits.
  const at::Tensor has_contrast = at::tensor(contrasts, at::kLong).to(device).ge(0);
  const at::Tensor metric = of(targets) - of(contrasts) * has_contrast;
  return {metric.sum(), static_cast<std::int64_t>(rows.size())};
}

at::Tensor summed_kl(const Decomposition& d, const PromptBatch& batch, const Alteration& alteration,
                     const PassStart& start) {
  at::Tensor before;
  {
    const at::NoGradGuard no_grad;
    PlainExecutor plain;
    before = d.target->forward(batch.tokens, plain, start).log_softmax(1);
  }
  const std::unique_ptr<Executor> altered = alteration(batch.tokens.numel());
  const at::Tensor after = d.target->forward(batch.tokens, *altered, start).log_softmax(1);
  return (before.exp() * (before - after)).sum();
}

}  // namespace vpd
