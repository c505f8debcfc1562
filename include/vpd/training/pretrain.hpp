#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/config/pretrain.hpp"
#include "vpd/decomposition/parameter_set.hpp"
#include "vpd/io/safetensors.hpp"
#include "vpd/kernels/lanes.hpp"
#include "vpd/target/numerics.hpp"
#include "vpd/training/optimizer.hpp"

// The training of a target itself (method, section 8). It stands in this room, not beside the targets,
// because it uses the same parameter sets, reduction over lanes and optimizer as the training of a
// decomposition.
//
// Shapes: B rows, T tokens a row; position t predicts token t + 1 of its row, so a row has T - 1 predictions.

namespace vpd {

/// What a step measured before its update. Zero-dimensional float64 on the run's device: reading one waits
/// for it.
struct PretrainStepResult {
  at::Tensor cross_entropy;  ///< nats, mean over the predictions
  at::Tensor gradient_norm;  ///< of all parameters together, before clipping
};

/// A LlamaSimpleMLP in training: its weights, one gradient buffer per lane, and AdamW's state. Each lane
/// works on its own rows of the batch from the embedding to the last gradient.
class Pretraining {
 public:
  /// `weights` as llama_simple_mlp_weights() lists them; an untied head is trained as one. `lanes` must
  /// outlive this.
  Pretraining(const PretrainConfig& config, const NamedTensors& weights, const Numerics& numerics,
              Lanes& lanes);
  ~Pretraining();

  /// Cross-entropy of tokens [B, T] (int64, on the CPU) and its gradient, which gradients() shows until the
  /// next call.
  PretrainStepResult backward(const at::Tensor& tokens);

  /// One step of training: backward() and AdamW on what clipping leaves of the gradient. Throws
  /// NumericalError, with nothing updated, where the loss or its gradient is NaN or infinite (on CUDA the
  /// update is skipped on the device, and check() reports it).
  PretrainStepResult run(const at::Tensor& tokens, std::int64_t step);
  void check(const PretrainStepResult& result, std::int64_t step) const;

  /// Cross-entropy in nats of tokens [B, T], mean over the predictions, without gradients.
  double cross_entropy(const at::Tensor& tokens);

  /// Views of the masters and of the last backward()'s gradients, in the order of the weights given.
  NamedTensors weights() const;
  NamedTensors gradients() const;

 private:
  struct Lane;

  void make_models();
  at::Tensor mean_cross_entropy(const at::Tensor& tokens, bool trains);
  NamedTensors in_order(const NamedTensors& matrices, const NamedTensors& vectors) const;

  PretrainConfig config_;
  Numerics numerics_;
  Lanes& pool_;
  ParameterSet matrices_;  // weight decay applies to these alone, the embedding among them
  ParameterSet vectors_;   // norms and biases
  std::vector<bool> is_matrix_;
  std::vector<Lane> lanes_;
  AdamWState matrices_state_, vectors_state_;
};

}  // namespace vpd
