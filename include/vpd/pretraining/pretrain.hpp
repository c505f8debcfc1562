#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/config/pretrain.hpp"
#include "vpd/io/safetensors.hpp"
#include "vpd/machine/lanes.hpp"
#include "vpd/machine/numerics.hpp"
#include "vpd/ops/optimizer.hpp"
#include "vpd/ops/parameter_set.hpp"
#include "vpd/pretraining/pretrain_task.hpp"

// The training of a target itself (method, section 8). It stands in this room, not beside the targets,
// because it uses the same parameter sets, reduction over lanes and optimizer as the training of a
// decomposition.
//
// Shapes: B rows of an input, which are tokens [B, T] (int64) or features [B, n] (floating point).

namespace vpd {

/// What a step measured before its update. Zero-dimensional float64 on the run's device: reading one waits
/// for it.
struct PretrainStepResult {
  at::Tensor loss;           ///< mean over the predictions
  at::Tensor gradient_norm;  ///< of all parameters together, before clipping
};

/// A target in training: its weights, one gradient buffer per lane, and AdamW's state. Each lane works on its
/// own rows of the batch from the input to the last gradient.
class Pretraining {
 public:
  /// `weights` as the task of `config.model` names them (PretrainTask::initial()); an untied head of a
  /// LlamaSimpleMLP is trained as one. `lanes` must outlive this.
  Pretraining(const PretrainConfig& config, const NamedTensors& weights, const Numerics& numerics,
              Lanes& lanes);
  ~Pretraining();

  /// The loss of an input (on the CPU) and its gradient, which gradients() shows until the next call.
  PretrainStepResult backward(const at::Tensor& input);

  /// One step of training: backward() and AdamW on what clipping leaves of the gradient. Throws
  /// NumericalError, with nothing updated, where the loss or its gradient is NaN or infinite (on CUDA the
  /// update is skipped on the device, and check() reports it).
  PretrainStepResult run(const at::Tensor& input, std::int64_t step);
  void check(const PretrainStepResult& result, std::int64_t step) const;

  /// Mean over the predictions, without gradients.
  double loss(const at::Tensor& input);

  /// The weights, views of the masters where they are trained, in the order in which they were given.
  NamedTensors weights() const;
  /// Views of the last backward()'s gradients of the trained ones, in the same order.
  NamedTensors gradients() const;

 private:
  struct Lane;

  void make_models();
  at::Tensor mean_loss(const at::Tensor& input, bool trains);
  NamedTensors in_order(const NamedTensors& matrices, const NamedTensors& vectors,
                        const NamedTensors& fixed) const;

  enum class Part { matrix, vector, fixed };

  PretrainConfig config_;
  std::unique_ptr<PretrainTask> task_;
  Numerics numerics_;
  Lanes& pool_;
  ParameterSet matrices_;    // weight decay applies to these alone, the embedding among them
  ParameterSet vectors_;     // norms and biases
  NamedTensors fixed_;       // what stays as it was given
  std::vector<Part> parts_;  // of the weights, in their order
  std::vector<Lane> lanes_;
  AdamWState matrices_state_, vectors_state_;
};

}  // namespace vpd
