#include "vpd/config/run.hpp"

#include <algorithm>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>
#include <spdlog/fmt/fmt.h>

#include "config/run_support.hpp"
#include "support/places.hpp"
#include "vpd/config/pretrain.hpp"
#include "vpd/config/value.hpp"

namespace vpd {
namespace {

TEST_F(RunConfigTest, DefaultsStandBesideTheDeclarations) {
  const RunConfig run = load();
  EXPECT_EQ(run.seed, 0u);
  EXPECT_EQ(run.device, "auto");
  EXPECT_EQ(run.precision, Precision::automatic);
  EXPECT_TRUE(run.delta_component);
  EXPECT_EQ(run.initialize_from, std::nullopt);
  EXPECT_EQ(run.training.gradient_clip, GradientClipConfig{});
  EXPECT_EQ(run.evaluation, EvaluationConfig{});
  EXPECT_EQ(run.output, OutputConfig{});
  const auto adversary =
      load("objective", "[{type: adversarial_recon, coefficient: 1, adversary: {type: persistent}}]")
          .objective;
  const auto& persistent =
      std::get<PersistentAdversaryConfig>(std::get<AdversarialReconTerm>(adversary[0]).adversary);
  EXPECT_EQ(persistent.warmup_steps, 2);
  EXPECT_EQ(std::get<AdamAscentConfig>(persistent.optimizer), (AdamAscentConfig{0.5, 0.99, 1e-8}));
  EXPECT_EQ(persistent.learning_rate, (Schedule{.start = 0.01, .warmup_fraction = 0.025}));
}

TEST_F(RunConfigTest, PathsBecomeAbsolute) {
  scratch.write("data/a/x.bin", "");
  const RunConfig run =
      load("data",
           "{train: {type: tokens, path: data/b/../a/*.bin, sequence_length: 8}, eval: {type: tokens, path: "
           "./data/, sequence_length: 8}}");
  const auto& train = std::get<TokensData>(run.data.train);
  EXPECT_EQ(train.path, scratch.path() / "data/a/*.bin");
  EXPECT_EQ(std::get<TokensData>(run.data.eval).path, scratch.path() / "data");
  EXPECT_EQ(std::get<LlamaSimpleMlpTarget>(run.target).path, scratch.path() / "target");
  EXPECT_EQ(load("initialize_from", "", {"initialize_from=target"}).initialize_from,
            scratch.path() / "target");
}

TEST_F(RunConfigTest, MissingFilesAreNamed) {
  const std::string here = scratch.path().string();
  EXPECT_EQ(message("target", "{type: llama_simple_mlp, path: nowhere}"),
            "target.path: expected a directory, found nothing at " + here + "/nowhere");
  EXPECT_EQ(message("target", "{type: llama_simple_mlp, path: t.bin}"),
            "target.path: expected a directory, found a file at " + here + "/t.bin");
  EXPECT_EQ(message("initialize_from", "gone"),
            "initialize_from: expected a directory, found nothing at " + here + "/gone");
  EXPECT_EQ(
      message("", "", {"data.train.path=u.bin"}),
      "--set data.train.path=u.bin: data.train.path: expected a file, found nothing at " + here + "/u.bin");
  EXPECT_EQ(
      message("", "", {"data.eval.path=u*.bin"}),
      "--set data.eval.path=u*.bin: data.eval.path: expected a pattern that matches files, found none for " +
          here + "/u*.bin");
  EXPECT_NO_THROW(
      load_run_config(scratch.path() / "run.yaml", {"data.train.path=u.bin"}, config::Files::may_be_missing));
  EXPECT_NE(error_of([&] {
              load_run_config(scratch.path() / "none.yaml");
            }).find("none.yaml: expected a configuration file"),
            std::string::npos);
}

TEST_F(RunConfigTest, WhatStandsInTheWayOfFilesIsNamed) {
  const std::string here = scratch.path().string();
  std::filesystem::create_symlink("gone", scratch.path() / "link");
  EXPECT_EQ(
      message("target", "{type: llama_simple_mlp, path: link}"),
      "target.path: expected a directory, found a link at " + here + "/link that leads to nothing (gone)");
  EXPECT_EQ(
      message("target", "{type: llama_simple_mlp, path: t.bin/x}"),
      "target.path: expected a directory, found a file at " + here + "/t.bin, where a directory has to be");
}

TEST_F(RunConfigTest, ADirectoryThatExistsIsMeantLiterally) {
  scratch.write("data1/u.bin", "");
  std::filesystem::create_directory(scratch.path() / "data[1]");
  const std::vector<std::string> pattern = {"data.eval.path=data[1]/*.bin"};
  EXPECT_NE(message("", "", pattern).find("expected a pattern that matches files, found none for "),
            std::string::npos);
  std::filesystem::remove(scratch.path() / "data[1]");
  EXPECT_NO_THROW(load("", "", pattern));
}

TEST_F(RunConfigTest, AnotherFormatIsNamed) {
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10\n";
  for (const char* name : {"x.yaml", "x.json"}) {
    for (const auto& [text, words] :
         {std::pair<std::string, std::string>(pointer, "found a Git LFS pointer"),
          {"<!DOCTYPE html>\n<html a=\"b: c\">", "found a page in HTML"},
          {std::string("\x1f\x8b\x08\0\0", 5), "found a file that is no text: a file packed by"}}) {
      const auto path = scratch.write(name, text);
      const std::string error = error_of([&] { load_run_config(path); });
      EXPECT_NE(error.find(words), std::string::npos) << error;
      EXPECT_TRUE(error.starts_with(path.string())) << error;
    }
  }
}

TEST_F(RunConfigTest, RequiredKeys) {
  for (const char* key : {"target", "data", "sites", "causal_importance", "objective", "training"}) {
    const std::string error = message(key, "");
    EXPECT_TRUE(error.starts_with(key)) << error;
    EXPECT_TRUE(error.ends_with("found no such key")) << error;
  }
}

TEST_F(RunConfigTest, ImpossibleValues) {
  EXPECT_EQ(message("device", "gpu"), "device: expected auto, cpu, cuda or cuda:N, found the text \"gpu\"");
  for (const char* device : {"auto", "cpu", "cuda", "\"cuda:0\"", "\"cuda:12\""})
    EXPECT_EQ(message("device", device), "");
  EXPECT_NE(message("device", "\"cuda:\""), "");
  EXPECT_EQ(message("precision", "bf61"),
            "precision: expected one of auto, fp32, bf16, tf32, found \"bf61\" (the nearest is \"bf16\")");
  EXPECT_EQ(message("sites", "[]"), "sites: expected a list of at least one entry, found an empty list");
  EXPECT_EQ(message("sites", "[{pattern: a, C: 0}]"),
            "sites[0].C: expected a whole number of at least 1, found the number 0");
  EXPECT_EQ(message("objective", "[]"),
            "objective: expected a list of at least one entry, found an empty list");
  EXPECT_EQ(message("sedd", "1").find("sedd: expected a known key (seed, device"), 0u);
  EXPECT_NE(message("sedd", "1").find("(the nearest is \"seed\")"), std::string::npos);
  EXPECT_EQ(message("training", "{steps: -1, batch_size: 4, learning_rate: 0}"),
            "training.steps: expected a whole number of at least 0, found the number -1");
  EXPECT_NE(message("training", "{steps: 1, batch_size: 4, learning_rate: -1}"), "");
  EXPECT_EQ(message("training", "{steps: 1e5, batch_size: 4, learning_rate: 0}"), "");
  EXPECT_EQ(message("training", "{steps: 1, batch_size: 4, micro_batch_size: 3, learning_rate: 0}"),
            "training.micro_batch_size: expected a divisor of batch_size, which is 4, found 3");
  EXPECT_EQ(message("causal_importance",
                    "{type: global_shared_transformer, d_model: 8, n_blocks: 1, n_heads: 3, d_mlp: 16}"),
            "causal_importance.n_heads: expected a number that divides d_model, which is 8, into even parts "
            "(rotary "
            "embedding turns pairs), found 3");
  EXPECT_NE(message("causal_importance",
                    "{type: global_shared_transformer, d_model: 6, n_blocks: 1, n_heads: 2, d_mlp: 16}"),
            "");
}

TEST_F(RunConfigTest, CausalImportanceOfEachKind) {
  const auto load_kind = [&](const char* kind) { return load("causal_importance", kind).causal_importance; };
  EXPECT_EQ(std::get<MlpCiConfig>(load_kind("{type: mlp, hidden_dims: [16]}")), (MlpCiConfig{{16}}));
  EXPECT_EQ(std::get<VectorMlpCiConfig>(load_kind("{type: vector_mlp, hidden_dims: [16, 8]}")),
            (VectorMlpCiConfig{{16, 8}}));
  EXPECT_EQ(std::get<SharedMlpCiConfig>(load_kind("{type: shared_mlp, hidden_dims: []}")),
            SharedMlpCiConfig{});
  EXPECT_EQ(std::get<GlobalSharedMlpCiConfig>(
                load_kind("{type: global_shared_mlp, hidden_dims: [4], initialization: framework}")),
            (GlobalSharedMlpCiConfig{{4}, CiInitialization::framework}));
  for (const char* kind : {"mlp", "vector_mlp"}) {
    EXPECT_EQ(message("causal_importance", fmt::format("{{type: {}, hidden_dims: []}}", kind)),
              "causal_importance.hidden_dims: expected a list of at least one entry, found an empty list");
  }
  for (const char* kind : {"mlp", "vector_mlp", "shared_mlp", "global_shared_mlp"}) {
    EXPECT_EQ(message("causal_importance", fmt::format("{{type: {}, hidden_dims: [8, 0]}}", kind)),
              "causal_importance.hidden_dims[1]: expected a whole number of at least 1, found the number 0");
    EXPECT_EQ(message("causal_importance", fmt::format("{{type: {}}}", kind))
                  .find("causal_importance.hidden_dims: "),
              0u);
  }
}

TEST_F(RunConfigTest, CustomCausalImportanceHasOptionsOfItsOwn) {
  const RunConfig run =
      load("causal_importance",
           "{type: custom, name: mine, options: {width: 32, slope: 0.5, form: \"1\", bias: true}}",
           {"causal_importance.options.width=64"});
  const auto& custom = std::get<CustomCiConfig>(run.causal_importance);
  EXPECT_EQ(custom.name, "mine");
  EXPECT_EQ(custom.options,
            (std::map<std::string, config::Scalar>{{"width", config::Scalar(std::int64_t{64})},
                                                   {"slope", config::Scalar(0.5)},
                                                   {"form", config::Scalar(std::string("1"))},
                                                   {"bias", config::Scalar(true)}}));
  EXPECT_EQ(load_run_config(scratch.write("again.yaml", to_yaml(run))), run);
  EXPECT_EQ(load_run_config(scratch.write("again.json", to_json(run))), run);
  EXPECT_EQ(message("causal_importance", "{type: custom, name: ''}"),
            "causal_importance.name: expected text that is not empty, found the text \"\"");
  EXPECT_EQ(
      message("causal_importance", "{type: custom, name: a, options: {b: [1]}}"),
      "causal_importance.options.b: expected a number, text, or true or false, found a list of 1 entry");
  EXPECT_EQ(message("causal_importance", "{type: custom, name: a, options: {b: .inf}}"),
            "causal_importance.options.b: expected a finite number, found .inf");
}

TEST_F(RunConfigTest, MetricsHaveTheirRules) {
  EXPECT_EQ(metrics_message("{type: pgd, name: a}, {type: pgd, name: b}"), "");
  EXPECT_EQ(metrics_message("{type: pgd, name: a}, {type: pgd, name: a}"),
            "evaluation.metrics[1].name: expected a name of its own, found \"a\", which [0] has too");
  EXPECT_EQ(metrics_message("{type: alive}, {type: alive}"),
            "evaluation.metrics[1].type: expected one alive at most, found it again after [0]");
  EXPECT_NE(metrics_message("{type: pgd}"), "");
  EXPECT_NE(metrics_message("{type: ci_l0, groups: {total: [x]}}"), "");
  EXPECT_EQ(
      metrics_message("{type: ce_kl, rounding_thresholds: [0, 0.1, 0.1000000001]}"),
      "evaluation.metrics[0].rounding_thresholds[2]: expected thresholds that differ in six digits, found "
      "0.1, which [1] is too");
  EXPECT_EQ(message("evaluation", "{every: 10, slow_every: 25}"),
            "evaluation.slow_every: expected a multiple of `every`, which is 10, found 25");
  EXPECT_EQ(message("evaluation", "{slow_every: 10}"),
            "evaluation.slow_every: expected null while `every` is null, found 10");
  EXPECT_EQ(message("evaluation", "{every: 10, slow_every: 30}"), "");

  EXPECT_EQ(message("evaluation", "{batches: 4, metrics: [{type: pgd, name: a, batches: 4}]}"), "");
  EXPECT_EQ(message("evaluation", "{batches: 3, metrics: [{type: alive}, {type: pgd, name: a, batches: 4}]}"),
            "evaluation.metrics[1].batches: expected at most the 3 batches of an evaluation "
            "(evaluation.batches), found 4");
  EXPECT_EQ(message("evaluation",
                    "{batches: 2, metrics: [{type: pgd, name: a, batches: 2, scope: per_datapoint}]}"),
            "evaluation.metrics[0].batches: expected 1 for scope per_datapoint, whose sources belong to a "
            "position of one batch, found 2");
  EXPECT_NE(metrics_message("{type: ci_histogram, bins: 65}"), "");
  EXPECT_NE(metrics_message("{type: ci_histogram, threshold: 1}"), "");
  EXPECT_EQ(metrics_message("{type: ci_histogram, bins: 1, threshold: 0}"), "");
}

TEST_F(RunConfigTest, MonitorsInTheObjectiveAreShoutedAbout) {
  EXPECT_TRUE(warnings(load()).empty());
  const RunConfig run = load(
      "objective", "[{type: ci_masked_recon, coefficient: 0.5}, {type: unmasked_recon, coefficient: 0}]");
  const std::vector<std::string> sentences = warnings(run);
  ASSERT_EQ(sentences.size(), 1u);
  EXPECT_TRUE(sentences[0].starts_with("WARNING: THE OBJECTIVE TRAINS ON ci_masked_recon, A MONITOR"))
      << sentences[0];
}

TEST_F(RunConfigTest, CheckHoldsForStructsMadeInMemory) {
  RunConfig run = load();
  EXPECT_NO_THROW(check(run));
  run.sites[0].C = 0;
  EXPECT_EQ(error_of([&] { check(run); }),
            "the configuration: sites[0].C: expected a whole number of at least 1, found the number 0");
}

TEST_F(RunConfigTest, DifferencesAreReadable) {
  const RunConfig before = load();
  EXPECT_TRUE(differences(before, before).empty());
  const RunConfig after = load("", "", {"training.steps=200", "objective.0.coefficient=2"});
  EXPECT_EQ(differences(before, after), (std::vector<std::string>{"objective[0].coefficient: 1.0 became 2.0",
                                                                  "training.steps: 10 became 200"}));
}

TEST_F(RunConfigTest, JsonGivesTheSame) {
  const RunConfig run = load();
  EXPECT_EQ(load_run_config(scratch.write("run.json", to_json(run))), run);
}

std::vector<std::filesystem::path> configurations() {
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(testing::source_dir() / "configs")) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() == ".yaml" && name != "model_config.yaml") found.push_back(entry.path());
  }
  for (const char* name : {"plain", "grouped"}) {
    found.push_back(testing::test_data() / name / "config.yaml");
  }
  return found;
}

TEST(Configurations, AllAreReadAndPrintedAndReadAgain) {
  const ScratchDirectory scratch;
  for (const std::filesystem::path& path : configurations()) {
    SCOPED_TRACE(path.string());
    constexpr auto files = config::Files::may_be_missing;
    if (config::read_file(path).find("model")) {
      const PretrainConfig pretrain = load_pretrain_config(path, {}, files);
      EXPECT_EQ(load_pretrain_config(scratch.write("again.yaml", to_yaml(pretrain)), {}, files), pretrain);
    } else {
      const RunConfig run = load_run_config(path, {}, files);
      EXPECT_EQ(load_run_config(scratch.write("again.yaml", to_yaml(run)), {}, files), run);
      EXPECT_EQ(load_run_config(scratch.write("again.json", to_json(run)), {}, files), run);
    }
  }
}

TEST(Configurations, TheReferenceCaseSaysWhatItSays) {
  const RunConfig run = load_run_config(testing::test_data() / "grouped" / "config.yaml");
  EXPECT_EQ(run.sites[2], (SitePattern{"h.*.attn.[qk]_proj", 12}));
  EXPECT_EQ(std::get<GlobalSharedTransformerConfig>(run.causal_importance).rope_base, 1000.0);
  EXPECT_EQ(find_term<ImportanceMinimalityTerm>(run.objective)->p, (Annealed{1.5, 0.5}));
  EXPECT_EQ(run.training.gradient_clip.components, 0.5);
  EXPECT_EQ(run.initialize_from, testing::test_data() / "grouped" / "initial");
  EXPECT_EQ(std::get<PgdMetric>(run.evaluation.metrics.back()).steps, 7);
}

TEST(Configurations, SchemaAndReferenceCoverTheTopLevel) {
  const config::Value schema = config::parse_json(json_schema(), "schema");
  const std::string reference = reference_markdown();
  EXPECT_EQ(schema.find("properties")->map()->size(), 13u);
  for (const config::Entry& property : *schema.find("properties")->map()) {
    EXPECT_NE(reference.find(fmt::format("| `{}` |", property.key)), std::string::npos) << property.key;
  }
  EXPECT_EQ(schema.find("properties")->find("objective")->find("items")->find("oneOf")->list()->size(), 10u);
}

}  // namespace
}  // namespace vpd
