#include <algorithm>

#include <ATen/ATen.h>

#include "vpd/cost/workload.hpp"
#include "vpd/machine/memory.hpp"
#include "vpd/target/llama_simple_mlp.hpp"
#include "vpd/training/step.hpp"

namespace vpd {
namespace {

/// Two steps of a model as small as they come, with every kind of operation in them.
void step_of_a_tiny_model(int threads, int lanes) {
  const ModelConfig model{.vocab_size = 64,
                          .n_layer = 1,
                          .n_head = 2,
                          .n_embd = 32,
                          .n_intermediate = 64,
                          .n_key_value_heads = 1,
                          .block_size = 16};
  RunConfig config;
  config.sites = {{"h.*", 32}};
  config.causal_importance =
      GlobalSharedTransformerConfig{.d_model = 32, .n_blocks = 1, .n_heads = 2, .d_mlp = 64};
  const Coefficient one = Coefficient::from_number(1.0);
  config.objective = {FaithfulnessTerm{.coefficient = one}, ImportanceMinimalityTerm{.coefficient = one},
                      StochasticReconTerm{.coefficient = one, .routing = UniformKSubsetRoutingConfig{}},
                      AdversarialReconTerm{.coefficient = one, .adversary = PersistentAdversaryConfig{}}};
  config.training.steps = 2;
  config.training.batch_size = 2 * lanes;
  const Numerics numerics;
  Decomposition decomposition = make_decomposition(
      config, numerics, "",
      std::make_unique<LlamaSimpleMlp>(model, initial_llama_simple_mlp(model, 0), numerics));
  Lanes pool(lanes, std::max(1, threads / lanes));
  TrainingStep step(decomposition, config, model.block_size, pool);
  const at::Tensor tokens = at::zeros({config.training.batch_size, model.block_size}, at::kLong);
  for (std::int64_t s = 0; s < config.training.steps; ++s) step.run(tokens, s);
}

}  // namespace

std::int64_t program_bytes(const at::Device& device, int threads, int lanes) {
  if (!device.is_cpu()) return 0;
  step_of_a_tiny_model(threads, lanes);
  return resident_bytes();
}

}  // namespace vpd
