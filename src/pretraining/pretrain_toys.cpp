// The training of the toy models (method, section 8).

#include <ATen/ATen.h>

#include "pretrain_kinds.hpp"
#include "vpd/target/induction.hpp"
#include "vpd/target/residual_mlp.hpp"
#include "vpd/target/tms.hpp"

namespace vpd {
namespace {

constexpr std::int64_t most_rows = 4096;  // at once: what the activations of a wide residual stream allow

/// Models of features: the mean squared error between output and label, over all entries.
class FeaturesTask : public PretrainTask {
 public:
  std::string_view loss() const override { return "mse"; }
  at::Tensor summed_loss(const Target& target, const at::Tensor& features) const override {
    PlainExecutor executor;
    const at::Tensor output = target.forward(features, executor).to(target.numerics().wide);
    return at::sub(output, label(features)).square().sum(at::kDouble);
  }
  std::int64_t predictions(std::int64_t B, std::int64_t) const override { return B * input().features; }
  std::int64_t rows_at_once(std::int64_t) const override { return most_rows; }

 private:
  virtual at::Tensor label(const at::Tensor& features) const = 0;
};

/// Reconstructs |x|. linear2 is linear1 transposed as long as the model trains, and the hidden matrices stay.
class TmsTask final : public FeaturesTask {
 public:
  explicit TmsTask(const TmsConfig& model) : model_(model) {}

  InputShape input() const override { return {.features = model_.n_features}; }
  NamedTensors initial(std::uint64_t seed) const override {
    NamedTensors weights = initial_tms(model_, seed);
    std::erase_if(weights, [](const auto& weight) { return weight.first == tied; });
    return weights;
  }
  bool trains(std::string_view weight) const override { return !weight.starts_with("hidden_layers."); }
  std::unique_ptr<Target> make(const NamedTensors& weights, const Numerics& numerics,
                               const NamedTensors& gradients) const override {
    return std::make_unique<Tms>(model_, with_tied(weights), numerics, with_tied(gradients));
  }
  void write(const std::filesystem::path& directory, const NamedTensors& weights) const override {
    write_checkpoint(directory, toy_config_json(model_), with_tied(weights));
  }

 private:
  static constexpr std::string_view tied = "linear2.weight";

  at::Tensor label(const at::Tensor& features) const override { return features.abs(); }

  static NamedTensors with_tied(NamedTensors tensors) {
    for (const auto& [name, tensor] : tensors) {
      if (name != "linear1.weight") continue;
      const at::Tensor transposed = tensor.t();
      tensors.emplace_back(tied, transposed);
      break;
    }
    return tensors;
  }

  TmsConfig model_;
};

/// Learns ReLU(x) + x. The embedding stays as it was drawn.
class ResidualMlpTask final : public FeaturesTask {
 public:
  explicit ResidualMlpTask(const ResidualMlpConfig& model) : model_(model) {}

  InputShape input() const override { return {.features = model_.n_features}; }
  NamedTensors initial(std::uint64_t seed) const override { return initial_residual_mlp(model_, seed); }
  bool trains(std::string_view weight) const override { return weight.ends_with(".weight"); }
  std::unique_ptr<Target> make(const NamedTensors& weights, const Numerics& numerics,
                               const NamedTensors& gradients) const override {
    return std::make_unique<ResidualMlp>(model_, weights, numerics, gradients);
  }
  void write(const std::filesystem::path& directory, const NamedTensors& weights) const override {
    write_checkpoint(directory, toy_config_json(model_), weights);
  }

 private:
  at::Tensor label(const at::Tensor& features) const override { return at::relu(features) + features; }

  ResidualMlpConfig model_;
};

/// Says m at the last position of [BOS] t … S m t … S.
class InductionTask final : public PretrainTask {
 public:
  explicit InductionTask(const InductionConfig& model) : model_(model) {}

  InputShape input() const override {
    return {.vocabulary = model_.vocab_size, .longest = model_.block_size};
  }
  NamedTensors initial(std::uint64_t seed) const override { return initial_induction(model_, seed); }
  bool trains(std::string_view) const override { return true; }
  std::unique_ptr<Target> make(const NamedTensors& weights, const Numerics& numerics,
                               const NamedTensors& gradients) const override {
    return std::make_unique<InductionTransformer>(model_, weights, numerics, gradients);
  }

  std::string_view loss() const override { return "cross_entropy"; }
  at::Tensor summed_loss(const Target& target, const at::Tensor& tokens) const override {
    const std::int64_t B = tokens.size(0), T = tokens.size(1);
    PlainExecutor executor;
    const at::Tensor last = target.hidden(tokens, executor).view({B, T, model_.d_model}).select(1, T - 1);
    const at::Tensor logits = target.output(last.contiguous(), executor);
    return at::cross_entropy_loss(logits.to(target.numerics().wide), induction_answers(tokens, model_), {},
                                  at::Reduction::None)
        .sum(at::kDouble);
  }
  std::int64_t predictions(std::int64_t B, std::int64_t) const override { return B; }
  std::int64_t rows_at_once(std::int64_t) const override { return most_rows; }

  void write(const std::filesystem::path& directory, const NamedTensors& weights) const override {
    write_checkpoint(directory, toy_config_json(model_), weights);
  }

 private:
  InductionConfig model_;
};

}  // namespace

std::unique_ptr<PretrainTask> pretrain_task(const TmsConfig& model) {
  return std::make_unique<TmsTask>(model);
}
std::unique_ptr<PretrainTask> pretrain_task(const ResidualMlpConfig& model) {
  return std::make_unique<ResidualMlpTask>(model);
}
std::unique_ptr<PretrainTask> pretrain_task(const InductionConfig& model) {
  return std::make_unique<InductionTask>(model);
}

}  // namespace vpd
