#include "support/targets.hpp"

#include <ATen/ATen.h>

#include "support/device_case.hpp"
#include "support/places.hpp"
#include "vpd/target/huggingface.hpp"
#include "vpd/target/induction.hpp"
#include "vpd/target/llama_simple_mlp.hpp"
#include "vpd/target/residual_mlp.hpp"

namespace vpd::testing {

std::unique_ptr<Target> target_with_blocks(const std::string& name, const Numerics& numerics) {
  const std::filesystem::path data = test_data();
  if (name == "induction") {
    const InductionConfig config{.vocab_size = 50, .block_size = 20, .d_model = 12, .n_heads = 2};
    return std::make_unique<InductionTransformer>(config, initial_induction(config, 1), numerics);
  }
  if (name == "residual_mlp") {
    const ResidualMlpConfig config{.n_features = 9, .d_embed = 12, .d_mlp = 7, .n_layers = 3};
    return std::make_unique<ResidualMlp>(config, initial_residual_mlp(config, 1), numerics);
  }
  std::vector<std::string> warnings;
  if (name == "plain" || name == "grouped") {
    const LlamaSimpleMlpCheckpoint checkpoint = read_llama_simple_mlp(data / name / "target", warnings);
    return std::make_unique<LlamaSimpleMlp>(checkpoint.config, checkpoint.weights, numerics);
  }
  return make_target(read_huggingface(data / "huggingface" / name, warnings), numerics);
}

at::Tensor input_of(const Target& target) {
  if (target.features() > 0) return uniform_values({4, target.features()}, 3);
  return at::arange(2 * 7, at::kLong).mul_(5).remainder_(47).view({2, 7});
}

}  // namespace vpd::testing
