// What the target, or an altered one, says to prompts.

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include <ATen/ATen.h>

#include "machine/scoped_thread_count.hpp"
#include "vpd/interpretation/edit.hpp"
#include "vpd/interpretation/prompt_set.hpp"

namespace vpd {

Alteration without_subcomponents(const std::vector<std::int64_t>& columns, const Decomposition& d) {
  const auto edits = std::make_shared<std::vector<RankOneEdit>>(ablations_of(columns, d));
  return [edits, &d](std::int64_t N) {
    return std::make_unique<EditedExecutor>(d, *edits, edit_factors(*edits, N, N, {}, d.numerics.options()));
  };
}

double prompt_metric(const at::Tensor& logits, const AuditPrompt& prompt) {
  const at::Tensor wide = logits.to(at::kDouble);
  if (prompt.contrast) return (wide[*prompt.target] - wide[*prompt.contrast]).item<double>();
  return (wide[*prompt.target] - wide.logsumexp(0)).item<double>();
}

std::vector<PromptBatch> batch_prompts(const std::vector<AuditPrompt>& prompts, const c10::Device& device,
                                       std::size_t most) {
  std::map<std::size_t, std::vector<std::size_t>> by_length;
  for (std::size_t i = 0; i < prompts.size(); ++i) by_length[prompts[i].tokens.size()].push_back(i);
  std::vector<PromptBatch> batches;
  for (const auto& [length, numbers] : by_length) {
    for (std::size_t first = 0; first < numbers.size(); first += most) {
      const std::size_t end = std::min(first + most, numbers.size());
      PromptBatch batch;
      std::vector<std::int64_t> tokens;
      for (std::size_t i = first; i < end; ++i) {
        batch.which.push_back(numbers[i]);
        tokens.insert(tokens.end(), prompts[numbers[i]].tokens.begin(), prompts[numbers[i]].tokens.end());
      }
      batch.tokens = at::tensor(tokens, at::kLong)
                         .view({static_cast<std::int64_t>(end - first), static_cast<std::int64_t>(length)})
                         .to(device);
      batches.push_back(std::move(batch));
    }
  }
  return batches;
}

void divide_work(std::size_t count, Lanes& lanes, const std::function<void(std::size_t)>& work) {
  lanes.run([&](int lane) {
    for (auto i = static_cast<std::size_t>(lane); i < count; i += static_cast<std::size_t>(lanes.count()))
      work(i);
  });
}

void compute_undivided(const Decomposition& d, std::int64_t positions, const std::function<void()>& work) {
  constexpr std::int64_t worth_dividing = 8'000'000;  // multiplications of the largest product
  std::int64_t largest = 0;
  for (const Matrix& matrix : d.target->matrices())
    if (!matrix.embedding) largest = std::max(largest, matrix.d_in() * matrix.d_out());
  if (positions * largest >= worth_dividing) return work();
  const ScopedThreadCount one(1);
  work();
}

PromptFigures prompt_figures(const Decomposition& d, const std::vector<AuditPrompt>& prompts,
                             const Alteration& alteration, Lanes& lanes) {
  const double none = std::numeric_limits<double>::quiet_NaN();
  PromptFigures figures{.metric = std::vector<double>(prompts.size(), none),
                        .probability = std::vector<double>(prompts.size(), none),
                        .last_kl = std::vector<double>(prompts.size()),
                        .kl = std::vector<std::vector<float>>(prompts.size())};
  const std::vector<PromptBatch> batches = batch_prompts(prompts, d.numerics.device);
  divide_work(batches.size(), lanes, [&](std::size_t number) {
    const at::NoGradGuard no_grad;
    const PromptBatch& batch = batches[number];
    const std::int64_t B = batch.tokens.size(0), T = batch.tokens.size(1);
    PlainExecutor plain;
    at::Tensor logits = d.target->forward(batch.tokens, plain).view({B, T, -1});
    at::Tensor kl = at::zeros({B, T}, at::kFloat);
    if (alteration) {
      const at::Tensor before = logits.log_softmax(2);
      const std::unique_ptr<Executor> altered = alteration(B * T);
      logits = d.target->forward(batch.tokens, *altered).view({B, T, -1});
      kl = (before.exp() * (before - logits.log_softmax(2)))
               .sum(2, false, at::kDouble)
               .to(at::kFloat)
               .cpu()
               .contiguous();
    }
    for (std::int64_t b = 0; b < B; ++b) {
      const std::size_t p = batch.which[static_cast<std::size_t>(b)];
      const auto* row = kl.const_data_ptr<float>() + b * T;
      figures.kl[p].assign(row, row + T);
      figures.last_kl[p] = row[T - 1];
      const AuditPrompt& prompt = prompts[p];
      if (!prompt.target) continue;
      figures.metric[p] = prompt_metric(logits[b][-1], prompt);
      figures.probability[p] =
          prompt.contrast ? std::exp(prompt_metric(logits[b][-1], {.tokens = {}, .target = prompt.target}))
                          : std::exp(figures.metric[p]);
    }
  });
  return figures;
}

}  // namespace vpd
