// The configuration of the published run, and what becomes of each key when it says something else.

#include "import/config.hpp"

#include <gtest/gtest.h>

#include "config_support.hpp"

namespace vpd {
namespace {

TEST_F(ImportConfig, Published) {
  const TranslatedConfig translated = translate(published);
  const RunConfig& run = translated.config;
  EXPECT_EQ(run.seed, 3u);
  EXPECT_EQ(run.precision, Precision::automatic);
  EXPECT_EQ(run.sites, (std::vector<SitePattern>{{"h.*.mlp.c_fc", 3072}, {"h.*.attn.q_proj", 512}}));
  EXPECT_TRUE(run.delta_component);
  EXPECT_EQ(std::get<GlobalSharedTransformerConfig>(run.causal_importance),
            (GlobalSharedTransformerConfig{
                .d_model = 2048, .n_blocks = 8, .n_heads = 16, .d_mlp = 8192, .rope_base = 1000.0}));
  const ObjectiveConfig objective = {
      ImportanceMinimalityTerm{.coefficient = {.start = 0.0002}, .p = {2.0, 0.4}, .eps = 1e-12},
      FrequencyMinimalityTerm{.coefficient = {.start = 0.0001}},
      StochasticReconTerm{
          .coefficient = {.start = 0.5}, .samples = 2, .routing = UniformKSubsetRoutingConfig{}},
      AdversarialReconTerm{.coefficient = {.start = 0.5},
                           .routing = AllRoutingConfig{},
                           .adversary =
                               PersistentAdversaryConfig{
                                   .scope = PersistentScope::per_position,
                                   .warmup_steps = 2,
                                   .optimizer = AdamAscentConfig{.beta1 = 0.5, .beta2 = 0.99, .eps = 1e-8},
                                   .learning_rate = {.start = 0.01, .warmup_fraction = 0.025}}},
      FaithfulnessTerm{.coefficient = {.start = 1e7}}};
  EXPECT_EQ(run.objective, objective);
  const TrainingConfig training = {
      .steps = 400000,
      .batch_size = 64,
      .learning_rate = {.start = 5e-5, .schedule = ScheduleShape::cosine, .final_fraction = 0.1},
      .gradient_clip = {.components = 0.01},
      .faithfulness_warmup = {.steps = 400, .learning_rate = 1e-3}};
  EXPECT_EQ(run.training, training);
  const EvaluationConfig evaluation = {
      .every = 1000,
      .slow_every = 10000,
      .batch_size = 128,
      .batches = 1,
      .metrics = {CeKlMetric{.rounding_thresholds = {0.0}}, CiL0Metric{.groups = {{"layer_0", {"h.0.*"}}}},
                  CiHistogramMetric{.threshold = 0.0}, HiddenActsMetric{}, LossesMetric{},
                  PgdMetric{.name = "pgd_20"}}};
  EXPECT_EQ(run.evaluation, evaluation);
  EXPECT_EQ(run.output, (OutputConfig{.log_every = 200, .checkpoint_every = 400000}));
  EXPECT_EQ(std::get<TokensData>(run.data.train), (TokensData{.sequence_length = 512, .shuffle = true}));
  EXPECT_EQ(std::get<TokensData>(run.data.eval), (TokensData{.sequence_length = 512, .shuffle = false}));

  ASSERT_EQ(translated.warnings.size(), 3u);
  expect_warning(translated,
                 "task_config: what data the run had is not translated, and comes with --tokens: "
                 "dataset_name danbraunai/pile, is_tokenized true");
  expect_warning(translated,
                 "eval_metric_configs[2]: CIMeanPerComponent has no counterpart here and is left out");
  expect_warning(translated,
                 "says nothing about the decomposition and is not translated: wandb_project spd, "
                 "slow_eval_on_first_step true, pretrained_model_name goodfire/spd/runs/t-9d2b8f02");
}

// Keys of ours could be forgotten in the test above; what the translation gives has to be valid, too.
TEST_F(ImportConfig, TranslationIsAValidConfiguration) {
  RunConfig run = translate(published).config;
  run.target = LlamaSimpleMlpTarget{.path = "target"};
  for (DataSource* source : {&run.data.train, &run.data.eval})
    std::get<TokensData>(*source).path = "tokens.npy";
  check(run);
}

TEST_F(ImportConfig, EveryUnknownKeyIsTold) {
  expect_warning(with("seed: 3", "seed: 3\nnew_key: [1, 2]"), "new_key: [1, 2] has no counterpart here");
  expect_warning(with("pnorm: 2.0", "pnorm: 2.0, gamma: 3"),
                 "loss_metric_configs[0].gamma: 3 has no counterpart");
  expect_warning(with("{type: uniform_k_subset}", "{type: uniform_k_subset, k: 3}"),
                 "loss_metric_configs[1].routing.k: 3 has no counterpart");
  expect_warning(with("beta1: 0.5", "beta1: 0.5\n    ema: 1"), "optimizer.ema: 1 has no counterpart");
  expect_warning(with("start_val: 0.01", "start_val: 0.01, knee: 2"),
                 "lr_schedule.knee: 2 has no counterpart");
  expect_warning(with("rounding_threshold: 0.0", "rounding_threshold: 0.0, x: 2"),
                 "eval_metric_configs[4].x: 2 has no counterpart");
}

// Whatever makes the same weights mean something else is refused.
TEST_F(ImportConfig, WhatChangesTheMeaningOfTheWeights) {
  expect_rejected("leaky_hard", "hard", "sigmoid_type: expected leaky_hard, the one squashing");
  expect_rejected("identity_module_info: null", "identity_module_info: [{module_pattern: x, C: 1}]",
                  "identity_module_info: expected none, since identity matrices cannot be sites here");
  expect_rejected("global_shared_transformer", "global_reverse_residual",
                  "ci_config.fn_type: expected mlp, vector_mlp, shared_mlp, global_shared_mlp or "
                  "global_shared_transformer, found");
  expect_rejected("hidden_dims: null", "extra_input_module_patterns: [wte]",
                  "ci_config.extra_input_module_patterns: expected none");
  expect_rejected("block_groups: null", "block_groups: [a]",
                  "ci_config.block_groups: expected none, found a list");
  expect_rejected("n_blocks: 8", "n_blocks: 8\n    dropout: 0.1",
                  "simple_transformer_ci_cfg.dropout: expected none");
  expect_rejected("max_len: 512", "max_len: 512, causal: true",
                  "attn_config.causal: expected none, found true");
  expect_rejected("[8192]", "[8192, 8192]", "mlp_hidden_dim: expected one hidden layer, found a list of 2");
  expect_rejected("output_loss_type: kl", "output_loss_type: mse", "output_loss_type: expected kl");
  expect_rejected("LlamaSimpleMLP\n", "GPT2Simple\n", "pretrained_model_class: expected a LlamaSimpleMLP");
  expect_rejected("idx_0", "idx_1", "pretrained_model_output_attr: expected idx_0");
  expect_rejected("pretrained_model_output_attr: idx_0", "output_extract: 1", "output_extract: expected 0");
  expect_rejected("pretrained_model_output_attr: idx_0", "output_extract: hidden",
                  "output_extract: expected 0");
  expect_rejected("task_name: lm", "task_name: tms", "task_config.task_name: expected lm");
  expect_rejected("seed: 3", "pd: {seed: 3}", "pd: expected none, since the layout of later versions");
}

TEST_F(ImportConfig, WrongTypes) {
  expect_rejected("seed: 3", "seed: three", "seed: expected a whole number, found the text 'three'");
  expect_rejected("seed: 3", "seed: -3", "seed: expected a number of at least 0, found the number -3");
  expect_rejected("steps: 400000", "steps: 1.5", "steps: expected a whole number, found the number 1.5");
  expect_rejected("steps: 400000", "steps: -1", "steps: expected a whole number of at least 0");
  expect_rejected("steps: 400000", "", "steps: expected a whole number of at least 0, found no such key");
  expect_rejected("batch_size: 64", "batch_size: 0", "batch_size: expected a whole number of at least 1");
  expect_rejected("use_delta_component: true", "use_delta_component: 1",
                  "use_delta_component: expected true or false");
  expect_rejected("coeff: 0.0002", "coeff: .inf", "coeff: expected a finite number");
  expect_rejected("coeff: 0.0002", "coeff: null", "coeff: expected the loss's weight, found null");
  expect_rejected("classname: FaithfulnessLoss", "name: x",
                  "loss_metric_configs[3].classname: expected the class");
  expect_rejected("C: 3072", "C: 0",
                  "module_info[0].C: expected the number of subcomponents, found the number 0");
  expect_rejected("module_pattern: h.*.mlp.c_fc", "pattern: x",
                  "module_info[0].module_pattern: expected a pattern");
  expect_rejected("n_heads: 16", "n_heads: 0", "attn_config.n_heads: expected a whole number of at least 1");
  expect_rejected("[8192]", "[many]", "mlp_hidden_dim[0]: expected a finite number, found the text");
  expect_rejected("groups: {layer_0: [h.0.*], total: ['*']}", "groups: {layer_0: h}",
                  "groups.layer_0: expected a list");
  expect_rejected("[h.0.*]", "[1]", "groups.layer_0[0]: expected text");
  expect_rejected("task_config: {task_name: lm,", "task_config: [{task_name: lm}] #",
                  "task_config: expected a map");
  expect_rejected("fn_type: cosine", "fn_type: step",
                  "lr_schedule.fn_type: expected constant, cosine or linear");
  expect_rejected("final_val_frac: 1.0", "final_val_frac: 0.5", "final_val_frac: expected 1 for a constant");
  expect_rejected("start_val: 5.0e-05, ", "", "lr_schedule.start_val: expected a number, found no such key");
  expect_rejected("type: per_batch_per_position", "type: everywhere",
                  "scope: expected per_batch_per_position");
  expect_rejected("init: random", "init: twos", "init: expected random, ones or zeroes");
  expect_rejected("mask_scope: shared_across_batch", "mask_scope: x",
                  "mask_scope: expected unique_per_datapoint");
  expect_rejected("type: adam", "type: lion", "optimizer.type: expected adam or sign");
  expect_rejected("sampling: continuous", "sampling: gaussian", "sampling: expected continuous or binomial");
  expect_rejected("type: uniform_k_subset", "type: some",
                  "routing.type: expected uniform_k_subset or static_probability");
  EXPECT_DATA_ERROR("final_config.yaml", translate("a: ["));
  EXPECT_DATA_ERROR("expected a map of keys, found a list", translate("[1]"));
  EXPECT_DATA_ERROR("expected a configuration file", translate_config(directory_ / "none.yaml"));
}

TEST_F(ImportConfig, SitesOfOlderVersions) {
  const std::string list = R"(module_info:
- {module_pattern: h.*.mlp.c_fc, C: 3072}
- {module_pattern: h.*.attn.q_proj, C: 512}
)";
  EXPECT_EQ(with(list, "C: 7\ntarget_module_patterns: [a, b.*]\n").config.sites,
            (std::vector<SitePattern>{{"a", 7}, {"b.*", 7}}));
  expect_rejected(list, "target_module_patterns: [a]\n", "C: expected the number of subcomponents");
  expect_rejected(list, "", "module_info: expected the decomposed matrices, found no such key");
}

TEST_F(ImportConfig, RatesOfEveryVersion) {
  const std::string rate =
      "lr_schedule: {start_val: 5.0e-05, warmup_pct: 0.0, final_val_frac: 0.1, fn_type: cosine}\n";
  const std::string clips = "grad_clip_norm_components: 0.01\n";
  EXPECT_EQ(
      with(rate, "lr: 0.1\nlr_schedule: cosine\nlr_warmup_pct: 0.2\n").config.training.learning_rate,
      (Schedule{
          .start = 0.1, .schedule = ScheduleShape::cosine, .final_fraction = 0.0, .warmup_fraction = 0.2}));
  EXPECT_EQ(with(rate, "lr: 0.1\n").config.training.learning_rate, (Schedule{.start = 0.1}));
  expect_warning(with(rate, "lr: 0.1\nlr_schedule: exponential\n"), "lr_schedule: has no counterpart here");
  const TranslatedConfig none = with(rate, "");
  EXPECT_EQ(none.config.training.learning_rate, Schedule{});
  expect_warning(none, "expected lr_schedule, found none: training.learning_rate is 0");
  EXPECT_EQ(with(clips, "grad_clip_norm: 0.3\n").config.training.gradient_clip.components, 0.3);

  const std::string two = R"(components_optimizer:
  {lr_schedule: {start_val: 0.2}, grad_clip_norm: 0.5, weight_decay: 0.1, betas: [0.8, 0.9], type: AdamW}
ci_fn_optimizer: {lr_schedule: {start_val: 0.2}, grad_clip_norm: 0.7, weight_decay: 0.1, betas: [0.8, 0.9]}
)";
  const TranslatedConfig same = with(rate + "steps", two + "steps");
  EXPECT_EQ(same.config.training.learning_rate, (Schedule{.start = 0.2}));
  EXPECT_EQ(std::get<AdamWConfig>(same.config.training.optimizer),
            (AdamWConfig{.beta1 = 0.8, .beta2 = 0.9, .weight_decay = 0.1}));
  EXPECT_EQ(same.config.training.gradient_clip, (GradientClipConfig{0.5, 0.7}));
  const TranslatedConfig different = with(rate, two.substr(0, two.size() - 2) + ", x: 1}\n");
  expect_warning(different, "ci_fn_optimizer.x: 1 has no counterpart here");
  std::string other_rate = two;
  other_rate.replace(other_rate.rfind("0.2"), 3, "0.3");
  expect_warning(with(rate, other_rate), "ci_fn_optimizer: differs from components_optimizer");
  expect_warning(with(rate, "components_optimizer: {lr_schedule: {start_val: 0.2}, type: Muon}\n"),
                 "components_optimizer.type: Muon has no counterpart here");
  expect_rejected(rate, "ci_fn_optimizer: {lr_schedule: {start_val: 0.2}}\n",
                  "components_optimizer: expected a map");
  expect_rejected(rate, "components_optimizer: {type: AdamW}\n",
                  "components_optimizer.lr_schedule: expected a map");
  expect_rejected(rate, "components_optimizer: {lr_schedule: {start_val: 0.2}, betas: [1]}\n",
                  "betas: expected two numbers");
}

TEST_F(ImportConfig, Batches) {
  EXPECT_EQ(with("batch_size: 64", "batch_size: 64\ngradient_accumulation_steps: 4")
                .config.training.micro_batch_size,
            16);
  EXPECT_EQ(with("batch_size: 64", "batch_size: 64\ngradient_accumulation_steps: 1")
                .config.training.micro_batch_size,
            std::nullopt);
  expect_rejected("batch_size: 64", "batch_size: 64\ngradient_accumulation_steps: 5",
                  "expected a divisor of batch_size");
  EXPECT_EQ(with("save_freq: null", "save_freq: 7").config.output.checkpoint_every, 7);
  EXPECT_EQ(with("autocast_bf16: true", "autocast_bf16: false").config.precision, Precision::fp32);
}

TEST_F(ImportConfig, SizesOfTheTransformer) {
  const auto transformer = [&](const std::string& passage, const std::string& by) {
    return std::get<GlobalSharedTransformerConfig>(with(passage, by).config.causal_importance);
  };
  EXPECT_EQ(transformer("[8192]", "null").d_mlp, 4 * 2048);
  EXPECT_EQ(transformer(", rope_base: 1000.0", "").rope_base, 10000.0);
  expect_rejected("attn_config: {n_heads: 16, max_len: 512, rope_base: 1000.0}", "attn_config: null",
                  "attn_config: expected the transformer's attention");
  expect_rejected("d_model: 2048", "", "d_model: expected a whole number of at least 1, found no such key");
  const std::size_t begin = published.find("ci_config:"), end = published.find("sampling");
  EXPECT_DATA_ERROR("ci_config: expected the causal-importance function, found no such key",
                    translate(published.substr(0, begin) + published.substr(end)));
}

TEST_F(ImportConfig, MlpsOfEveryVersion) {
  const std::size_t begin = published.find("ci_config:"), end = published.find("sampling");
  const auto function = [&](const std::string& keys) {
    return translate(published.substr(0, begin) + keys + "\n" + published.substr(end))
        .config.causal_importance;
  };
  const auto layerwise = [&](const std::string& type, const std::string& widths) {
    return function("ci_config: {mode: layerwise, fn_type: " + type + ", hidden_dims: " + widths + "}");
  };
  EXPECT_EQ(layerwise("mlp", "[8]"), CausalImportanceConfig(MlpCiConfig{.hidden_dims = {8}}));
  EXPECT_EQ(layerwise("vector_mlp", "[8, 4]"),
            CausalImportanceConfig(VectorMlpCiConfig{.hidden_dims = {8, 4}}));
  EXPECT_EQ(layerwise("shared_mlp", "[]"), CausalImportanceConfig(SharedMlpCiConfig{}));
  EXPECT_EQ(function("ci_config: {mode: global, fn_type: global_shared_mlp, hidden_dims: [5]}"),
            CausalImportanceConfig(GlobalSharedMlpCiConfig{.hidden_dims = {5}}));
  EXPECT_EQ(function("ci_fn_type: shared_mlp\nci_fn_hidden_dims: [550]"),
            CausalImportanceConfig(SharedMlpCiConfig{.hidden_dims = {550}}));
  EXPECT_EQ(function("gate_type: vector_mlp\ngate_hidden_dims: [3]"),
            CausalImportanceConfig(VectorMlpCiConfig{.hidden_dims = {3}}));
  EXPECT_EQ(function("ci_fn_type: shared_mlp\nci_fn_hidden_dims: [550]\nuse_global_ci: true"),
            CausalImportanceConfig(GlobalSharedMlpCiConfig{.hidden_dims = {550}}));
  EXPECT_DATA_ERROR("ci_fn_type: expected mlp, vector_mlp",
                    function("ci_fn_type: hard\nci_fn_hidden_dims: [1]"));
  EXPECT_DATA_ERROR("hidden_dims: expected whole numbers of at least 1", layerwise("mlp", "[0.5]"));
  EXPECT_DATA_ERROR("ci_config.dropout: expected none",
                    function("ci_config: {fn_type: mlp, hidden_dims: [3], dropout: 1}"));
}

}  // namespace
}  // namespace vpd
