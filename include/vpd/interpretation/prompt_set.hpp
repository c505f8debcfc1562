#pragma once

// Examples of a behaviour: beginnings of texts, and what is to come next.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/decomposition/decomposition.hpp"
#include "vpd/machine/lanes.hpp"
#include "vpd/target/executor.hpp"

namespace vpd {

/// A beginning, and what is to come next.
struct AuditPrompt {
  std::vector<std::int64_t> tokens;
  std::optional<std::int64_t> target{};    ///< without one its rows count for damage alone
  std::optional<std::int64_t> contrast{};  ///< what could come instead
  std::string group{};
};
using EncodeText = std::function<std::vector<std::int64_t>(const std::string&)>;

/// JSON lines: {"prompt": text or "tokens": [numbers], "target": " Paris", "contrast": " London"?, "group"?};
/// a target of several tokens stands for its first. `warnings` takes a sentence for each of these. Throws
/// DataError naming file and line.
std::vector<AuditPrompt> read_prompts(const std::filesystem::path& path, std::int64_t vocabulary,
                                      std::int64_t longest, const EncodeText& encode,
                                      std::vector<std::string>& warnings);
/// Plain text: each line that is not empty is a prompt without a target, cut where it is longer than
/// `longest`. Throws DataError.
std::vector<AuditPrompt> read_text_prompts(const std::filesystem::path& path, std::int64_t vocabulary,
                                           std::int64_t longest, const EncodeText& encode);

/// Prompts that candidates are chosen by, and others that every figure is from: a prompt is in the one or the
/// other by a hash of its tokens. Those with a target and those without are divided each by themselves, and
/// where a half would have fewer than two of them, all of them stand in both.
struct PromptSplit {
  std::vector<AuditPrompt> select, report;
  std::int64_t in_both = 0;
};
PromptSplit split_prompts(const std::vector<AuditPrompt>& prompts);

/// ln p(target) behind the prompt, or the logit of the target less that of the contrast; logits [V] of the
/// last position.
double prompt_metric(const at::Tensor& logits, const AuditPrompt& prompt);

/// Some prompts of one length, which a pass computes at once.
struct PromptBatch {
  at::Tensor tokens;               ///< int64 [B, T], on the device
  std::vector<std::size_t> which;  ///< their numbers
};
std::vector<PromptBatch> batch_prompts(const std::vector<AuditPrompt>& prompts, const c10::Device& device,
                                       std::size_t most = 32);

/// The target with something changed in its pass: makes what a pass of N positions goes through.
using Alteration = std::function<std::unique_ptr<Executor>(std::int64_t N)>;

/// Takes subcomponents out everywhere.
Alteration without_subcomponents(const std::vector<std::int64_t>& columns,
                                 const Decomposition& decomposition);

/// What an altered target says, prompt by prompt.
struct PromptFigures {
  std::vector<double> metric, probability;  ///< of the target token; NaN without one
  std::vector<double> last_kl;              ///< from the target, at the last position
  std::vector<std::vector<float>> kl;       ///< at every position
};
/// Without an alteration that of the target itself, with KL 0.
PromptFigures prompt_figures(const Decomposition& decomposition, const std::vector<AuditPrompt>& prompts,
                             const Alteration& alteration, Lanes& lanes);

/// Runs work(i) for each i below count, divided among the lanes.
void divide_work(std::size_t count, Lanes& lanes, const std::function<void(std::size_t)>& work);

/// Runs work(), on one thread where the target's products over `positions` are so small that dividing each
/// among threads takes longer than it saves.
void compute_undivided(const Decomposition& decomposition, std::int64_t positions,
                       const std::function<void()>& work);

}  // namespace vpd
