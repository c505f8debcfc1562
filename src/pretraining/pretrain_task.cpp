#include "vpd/pretraining/pretrain_task.hpp"

#include <algorithm>
#include <variant>

#include <ATen/ATen.h>

#include "pretrain_kinds.hpp"
#include "vpd/target/llama_simple_mlp.hpp"

namespace vpd {
namespace {

/// Position t predicts token t + 1 of its row, so a row has T - 1 predictions.
class LanguageModelTask final : public PretrainTask {
 public:
  explicit LanguageModelTask(const LlamaSimpleMlpConfig& model) : model_(model) {}

  InputShape input() const override {
    return {.vocabulary = model_.vocab_size,
            .longest = std::max(model_.block_size, model_.n_ctx.value_or(model_.block_size))};
  }
  NamedTensors initial(std::uint64_t seed) const override { return initial_llama_simple_mlp(model_, seed); }
  bool trains(std::string_view) const override { return true; }
  std::unique_ptr<Target> make(const NamedTensors& weights, const Numerics& numerics,
                               const NamedTensors& gradients) const override {
    return std::make_unique<LlamaSimpleMlp>(model_, weights, numerics, gradients);
  }

  std::string_view loss() const override { return "cross_entropy"; }
  /// The last token of a row is predicted, and predicts nothing.
  at::Tensor summed_loss(const Target& target, const at::Tensor& tokens) const override {
    const std::int64_t predictions = tokens.size(1) - 1;
    PlainExecutor executor;
    const at::Tensor logits = target.forward(tokens.narrow(1, 0, predictions), executor);
    const at::Tensor next = tokens.narrow(1, 1, predictions).reshape({-1});
    return at::cross_entropy_loss(logits.to(target.numerics().wide), next, {}, at::Reduction::None)
        .sum(at::kDouble);
  }
  std::int64_t predictions(std::int64_t B, std::int64_t T) const override { return B * (T - 1); }
  /// Rows whose logits fit in a quarter of a GiB of float32.
  std::int64_t rows_at_once(std::int64_t T) const override {
    constexpr std::int64_t most_logits = std::int64_t{1} << 26;
    return std::max<std::int64_t>(1, most_logits / std::max<std::int64_t>(1, T * model_.vocab_size));
  }

  void write(const std::filesystem::path& directory, const NamedTensors& weights) const override {
    write_llama_simple_mlp(directory, model_, weights);
  }

 private:
  LlamaSimpleMlpConfig model_;
};

}  // namespace

std::unique_ptr<PretrainTask> pretrain_task(const LlamaSimpleMlpConfig& model) {
  return std::make_unique<LanguageModelTask>(model);
}

std::string in_words(std::string_view loss) {
  return loss == "mse" ? "mean squared error" : loss == "cross_entropy" ? "cross-entropy" : std::string(loss);
}

std::unique_ptr<PretrainTask> make_pretrain_task(const PretrainModelConfig& model) {
  return std::visit([](const auto& kind) { return pretrain_task(kind); }, model);
}

}  // namespace vpd
