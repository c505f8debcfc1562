#pragma once

// The published configuration of the original code, and what becomes of it with passages replaced.

#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "import/config.hpp"
#include "io/support.hpp"
#include "vpd/io/files.hpp"

namespace vpd {

using testing::contains;
using testing::TemporaryDirectory;

inline const std::string published = R"(
wandb_project: spd
seed: 3
autocast_bf16: true
n_mask_samples: 2
ci_config:
  mode: global
  fn_type: global_shared_transformer
  hidden_dims: null
  block_groups: null
  simple_transformer_ci_cfg:
    d_model: 2048
    n_blocks: 8
    mlp_hidden_dim: [8192]
    attn_config: {n_heads: 16, max_len: 512, rope_base: 1000.0}
sampling: continuous
sigmoid_type: leaky_hard
module_info:
- {module_pattern: h.*.mlp.c_fc, C: 3072}
- {module_pattern: h.*.attn.q_proj, C: 512}
identity_module_info: null
use_delta_component: true
loss_metric_configs:
- {coeff: 0.0002, classname: ImportanceMinimalityLoss, pnorm: 2.0, beta: 0.5, p_anneal_start_frac: 0.0,
   p_anneal_final_p: 0.4, p_anneal_end_frac: 1.0, eps: 1.0e-12}
- {coeff: 0.5, classname: StochasticReconSubsetLoss, routing: {type: uniform_k_subset}}
- coeff: 0.5
  classname: PersistentPGDReconLoss
  optimizer:
    type: adam
    beta1: 0.5
    beta2: 0.99
    eps: 1.0e-08
    lr_schedule: {start_val: 0.01, warmup_pct: 0.025, final_val_frac: 1.0, fn_type: constant}
  scope: {type: per_batch_per_position}
  use_sigmoid_parameterization: false
  n_warmup_steps: 2
- {coeff: 10000000.0, classname: FaithfulnessLoss}
output_loss_type: kl
lr_schedule: {start_val: 5.0e-05, warmup_pct: 0.0, final_val_frac: 0.1, fn_type: cosine}
steps: 400000
batch_size: 64
grad_clip_norm_components: 0.01
grad_clip_norm_ci_fns: null
faithfulness_warmup_steps: 400
faithfulness_warmup_lr: 0.001
faithfulness_warmup_weight_decay: 0.0
train_log_freq: 200
eval_freq: 1000
eval_batch_size: 128
slow_eval_freq: 10000
n_eval_steps: 1
slow_eval_on_first_step: true
save_freq: null
eval_metric_configs:
- {classname: CIHistograms, n_batches_accum: 1}
- {classname: ComponentActivationDensity}
- {classname: CIMeanPerComponent}
- classname: CI_L0
  groups: {layer_0: [h.0.*], total: ['*']}
- {classname: CEandKLLosses, rounding_threshold: 0.0}
- {coeff: null, classname: StochasticHiddenActsReconLoss}
- {classname: CIHiddenActsReconLoss}
- {coeff: null, init: random, step_size: 0.1, n_steps: 20, mask_scope: shared_across_batch, classname: PGDReconLoss}
ci_alive_threshold: 0.0
pretrained_model_class: spd.pretrain.models.llama_simple_mlp.LlamaSimpleMLP
pretrained_model_path: null
pretrained_model_name: goodfire/spd/runs/t-9d2b8f02
pretrained_model_output_attr: idx_0
task_config: {task_name: lm, max_seq_len: 512, dataset_name: danbraunai/pile, is_tokenized: true}
)";

class ImportConfig : public ::testing::Test {
 protected:
  TranslatedConfig translate(const std::string& text) {
    write_atomically(path_, text);
    return translate_config(path_);
  }

  // The published configuration with one passage replaced.
  TranslatedConfig with(const std::string& passage, const std::string& by) {
    std::string text = published;
    const std::size_t at = text.find(passage);
    EXPECT_NE(at, std::string::npos) << passage;
    return translate(text.replace(at, passage.size(), by));
  }

  void expect_rejected(const std::string& passage, const std::string& by, const std::string& part) {
    EXPECT_DATA_ERROR(part, with(passage, by));
    EXPECT_DATA_ERROR("final_config.yaml:", with(passage, by));
  }

  void expect_warning(const TranslatedConfig& translated, const std::string& part) {
    std::string all;
    for (const std::string& warning : translated.warnings) all += warning + "\n";
    EXPECT_TRUE(contains(all, part)) << "expected '" << part << "' among:\n" << all;
  }

  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "final_config.yaml";
};

}  // namespace vpd
