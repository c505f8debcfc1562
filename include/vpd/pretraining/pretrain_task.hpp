#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include <ATen/core/Tensor.h>

#include "vpd/config/pretrain.hpp"
#include "vpd/io/safetensors.hpp"
#include "vpd/target/target.hpp"

namespace vpd {

/// What the training of one kind of target consists of (method, section 8): its weights, its loss and its
/// files. B rows, T positions a row.
class PretrainTask {
 public:
  virtual ~PretrainTask() = default;

  virtual InputShape input() const = 0;

  /// The weights to start from, those that stay as they are among them: float32 on the CPU.
  virtual NamedTensors initial(std::uint64_t seed) const = 0;
  virtual bool trains(std::string_view weight) const = 0;

  /// A target of these weights, named as initial() names them. It looks at the very tensors where they are of
  /// the type of matrix products, and so follows their updates. `gradients`: one for each trained weight, or
  /// none at all.
  virtual std::unique_ptr<Target> make(const NamedTensors& weights, const Numerics& numerics,
                                       const NamedTensors& gradients) const = 0;

  /// What the loss is called in metrics.jsonl: cross_entropy (in nats) or mse.
  virtual std::string_view loss() const = 0;
  /// Sum of the loss over the predictions of some rows, zero-dimensional float64, on the graph.
  virtual at::Tensor summed_loss(const Target& target, const at::Tensor& rows) const = 0;
  virtual std::int64_t predictions(std::int64_t B, std::int64_t T) const = 0;
  /// How many rows of T positions may be worked on together; gradients add up in their buffers whichever way
  /// a batch is cut.
  virtual std::int64_t rows_at_once(std::int64_t T) const = 0;

  /// Writes the target's directory.
  virtual void write(const std::filesystem::path& directory, const NamedTensors& weights) const = 0;
};

/// PretrainTask::loss() for people: "cross-entropy", "mean squared error".
std::string in_words(std::string_view loss);

std::unique_ptr<PretrainTask> make_pretrain_task(const PretrainModelConfig& model);

}  // namespace vpd
