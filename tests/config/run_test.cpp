#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <spdlog/fmt/fmt.h>
#include <vpd/config/pretrain.hpp>
#include <vpd/config/run.hpp>
#include <vpd/config/value.hpp>

#include "config/support.hpp"

namespace vpd {
namespace {

// Each line is one key, so that a test can put another in its place.
constexpr const char* base = R"(target: {type: llama_simple_mlp, path: target}
data: {train: {type: tokens, path: t.bin, sequence_length: 8}, eval: {type: tokens, path: t.bin, sequence_length: 8}}
sites: [{pattern: "h.*", C: 4}]
causal_importance: {type: global_shared_transformer, d_model: 8, n_blocks: 1, n_heads: 2, d_mlp: 16}
objective: [{type: faithfulness, coefficient: 1}]
training: {steps: 10, batch_size: 4, learning_rate: 1.0e-3}
)";

class RunConfigTest : public testing::Test {
 protected:
  RunConfigTest() {
    std::filesystem::create_directory(scratch.path() / "target");
    scratch.write("t.bin", "");
  }

  // `base` with one key's line replaced, added, or, where `value` is empty, left out.
  RunConfig load(const std::string& key = "", const std::string& value = "",
                 const std::vector<std::string>& overrides = {}) {
    std::string text = base;
    if (!key.empty()) {
      if (const std::size_t begin = text.find("\n" + key + ":");
          begin != std::string::npos || text.starts_with(key + ":")) {
        const std::size_t start = begin == std::string::npos ? 0 : begin + 1;
        text.erase(start, text.find('\n', start) + 1 - start);
      }
      if (!value.empty()) text += fmt::format("{}: {}\n", key, value);
    }
    return load_run_config(scratch.write("run.yaml", text), overrides);
  }

  // The message without the file's name and line.
  std::string message(const std::string& key, const std::string& value,
                      const std::vector<std::string>& overrides = {}) {
    const std::string error = error_of([&] { load(key, value, overrides); });
    const std::string file = (scratch.path() / "run.yaml").string();
    if (error.empty()) return "";
    if (!error.starts_with(file)) return error;
    return error.substr(error.find(": ", file.size()) + 2);
  }

  std::string objective_message(const std::string& terms) { return message("objective", "[" + terms + "]"); }
  std::string metrics_message(const std::string& metrics) {
    return message("evaluation", "{metrics: [" + metrics + "]}");
  }
  std::string adversary_message(const std::string& adversary) {
    return objective_message("{type: adversarial_recon, coefficient: 1, adversary: {" + adversary + "}}");
  }

  ScratchDirectory scratch;
};

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

TEST_F(RunConfigTest, TermsOfOneTypeNeedNames) {
  const std::string recon = "{type: stochastic_recon, coefficient: 1}";
  EXPECT_EQ(objective_message(recon + "," + recon),
            "objective[1].name: expected a name of its own, found \"stochastic_recon\", which [0] has too");
  EXPECT_EQ(objective_message(recon + ", {type: stochastic_recon, coefficient: 1, name: second}"), "");
  EXPECT_EQ(objective_message("{type: stochastic_recon, coefficient: 1, name: a}, {type: unmasked_recon, "
                              "coefficient: 1, name: a}"),
            "objective[1].name: expected a name of its own, found \"a\", which [0] has too");
  EXPECT_NE(objective_message("{type: stochastic_recon, coefficient: 1, name: total}"), "");
  EXPECT_NE(objective_message("{type: stochastic_recon, coefficient: 1, name: a/b}"), "");
  for (const char* type : {"faithfulness", "importance_minimality"}) {
    EXPECT_EQ(objective_message(
                  fmt::format("{{type: {0}, coefficient: 1}}, {{type: {0}, coefficient: 1, name: b}}", type)),
              fmt::format("objective[1].type: expected one {} at most, found it again after [0]", type));
  }
}

TEST_F(RunConfigTest, LabelsAreNamesOrTypes) {
  const RunConfig run =
      load("objective",
           "[{type: stochastic_recon, coefficient: 1}, {type: stochastic_recon, coefficient: 2, name: b}]");
  EXPECT_EQ(label(run.objective[0]), "stochastic_recon");
  EXPECT_EQ(label(run.objective[1]), "b");
  EXPECT_EQ(coefficient_of(run.objective[1]), Schedule::from_number(2));
  EXPECT_EQ(find_term<StochasticReconTerm>(run.objective), &std::get<StochasticReconTerm>(run.objective[0]));
  EXPECT_EQ(find_term<FaithfulnessTerm>(run.objective), nullptr);
}

TEST_F(RunConfigTest, FrequencyBorrowsItsExponent) {
  EXPECT_EQ(objective_message("{type: frequency_minimality, coefficient: 1}"),
            "objective[0].p: expected a value where no importance_minimality lends its own, found none");
  EXPECT_EQ(objective_message("{type: frequency_minimality, coefficient: 1, p: 0.5}"),
            "objective[0].eps: expected a value where no importance_minimality lends its own, found none");
  EXPECT_EQ(objective_message("{type: frequency_minimality, coefficient: 1, p: 0.5, eps: 1e-9}"), "");

  const auto resolved = [&](const char* own) {
    const RunConfig run =
        load("objective",
             fmt::format("[{{type: frequency_minimality, coefficient: 1{}}}, {{type: importance_minimality, "
                         "coefficient: 1, p: {{start: 1.5, end: 0.5}}, eps: 1e-6}}]",
                         own));
    const auto& term = std::get<FrequencyMinimalityTerm>(run.objective[0]);
    return std::pair(exponent_of(term, run.objective), eps_of(term, run.objective));
  };
  EXPECT_EQ(resolved(""), std::pair(Annealed({1.5, 0.5}), 1e-6));
  EXPECT_EQ(resolved(", p: 0.7, eps: 1e-3"), std::pair(Annealed({0.7, 0.7}), 1e-3));
}

TEST_F(RunConfigTest, PenaltiesHaveTheirRules) {
  const auto both = [&](const char* importance, const char* frequency) {
    return objective_message(
        fmt::format("{{type: importance_minimality, coefficient: 1{}}}, {{type: frequency_minimality, "
                    "coefficient: 1{}}}",
                    importance, frequency));
  };
  const char* smooth = ", penalty: {type: smooth_l0}";
  const std::string useless =
      ": expected none beside penalty smooth_l0, found a value that only penalty power has a use for";
  EXPECT_EQ(both("", ""), "");
  EXPECT_EQ(both(smooth, ""), "");
  EXPECT_EQ(both("", smooth), "");
  EXPECT_EQ(both(smooth, ", penalty: {type: power}, p: 0.5, eps: 1e-6"), "");
  EXPECT_EQ(both(", penalty: {type: smooth_l0}, p: 0.5", ""), "objective[0].p" + useless);
  EXPECT_EQ(both(", penalty: {type: smooth_l0}, eps: 0.5", ""), "objective[0].eps" + useless);
  EXPECT_EQ(both(smooth, ", p: 0.5"), "objective[1].p" + useless);
  EXPECT_EQ(both(smooth, ", eps: 0.5"), "objective[1].eps" + useless);
  EXPECT_EQ(
      both(smooth, ", penalty: {type: power}"),
      "objective[1].p: expected a value where no importance_minimality with penalty power lends its own, "
      "found none");
  EXPECT_NE(both(", penalty: {type: smooth_l0, gamma: 0}", ""), "");
  EXPECT_NE(both(", penalty: {type: smooth_l0, gamma: {start: 1, end: 0.1, fraction: 0}}", ""), "");
  EXPECT_NE(both("", ", reference_count: 0"), "");
  EXPECT_NE(both("", ", moving_average: {decay: 1}"), "");
  EXPECT_EQ(both("", ", reference_count: 1000, moving_average: {decay: 0.9}"), "");
  EXPECT_EQ(objective_message("{type: frequency_minimality, coefficient: 1, penalty: {type: smooth_l0}}"),
            "");
}

TEST_F(RunConfigTest, AdversariesHaveTheirRules) {
  EXPECT_EQ(adversary_message("type: persistent, scope: n_sources, sources: 3"), "");
  EXPECT_EQ(adversary_message("type: persistent, scope: n_sources"),
            "objective[0].adversary.sources: expected a whole number of at least 1 for scope n_sources, "
            "found none");
  EXPECT_NE(adversary_message("type: persistent, scope: n_sources, sources: 0"), "");
  EXPECT_EQ(adversary_message("type: persistent, scope: pooled, sources: 3"), "");
  EXPECT_EQ(
      adversary_message("type: persistent, scope: pooled"),
      "objective[0].adversary.sources: expected a whole number of at least 1 for scope pooled, found none");
  EXPECT_EQ(
      adversary_message("type: persistent, sources: 3"),
      "objective[0].adversary.sources: expected null, found a number that only scopes n_sources and pooled "
      "have a use for");
  EXPECT_NE(adversary_message("type: persistent, scope: pooled, sources: 2, shared_across_positions: true"),
            "");
  EXPECT_EQ(adversary_message("type: persistent, scope: shared_across_batch, shared_across_positions: true"),
            "");
  EXPECT_NE(adversary_message("type: persistent, shared_across_positions: true"), "");
  EXPECT_NE(adversary_message("type: persistent, parametrization: sigmoid, init: {type: constant, value: 0}"),
            "");
  EXPECT_EQ(
      adversary_message("type: persistent, parametrization: sigmoid, init: {type: constant, value: 0.5}"),
      "");
  EXPECT_NE(adversary_message("type: persistent, init: {type: constant, value: 1.5}"), "");
  EXPECT_EQ(adversary_message("type: persistent, optimizer: {type: sign}, learning_rate: 0.1"), "");
  EXPECT_EQ(adversary_message("type: fresh, steps: 4, step_size: 0.2, init: zeros, scope: per_datapoint"),
            "");
}

TEST_F(RunConfigTest, MergedMasksHaveAFraction) {
  const auto merged = [&](const char* text) {
    return objective_message(fmt::format(
        "{{type: adversarial_recon, coefficient: 1, adversary: {{type: persistent}}, merged: {}}}", text));
  };
  EXPECT_EQ(merged("{}"), "");
  EXPECT_EQ(merged("{adversarial_fraction: 0.3, draw: per_position}"), "");
  EXPECT_EQ(merged("{adversarial_fraction: {start: 0.2, schedule: linear, final_fraction: 5}}"), "");
  EXPECT_EQ(merged("{adversarial_fraction: 1.5}"),
            "objective[0].merged.adversarial_fraction: expected a number from 0 to 1 or a map with keys from "
            "start, schedule, final_fraction, warmup_fraction, warmup_steps, found the number 1.5");
  EXPECT_EQ(
      merged("{adversarial_fraction: {start: 0.5, schedule: linear, final_fraction: 3}}"),
      "objective[0].merged.adversarial_fraction.final_fraction: expected a schedule that stays within 0 "
      "and 1, found one that ends at 1.5");
  EXPECT_NE(merged("{draw: per_token}"), "");
}

TEST_F(RunConfigTest, NobodyStartsAtTheTarget) {
  EXPECT_EQ(adversary_message("type: fresh, init: ones"),
            "objective[0].adversary.init: expected first values below 1 while delta_component is true, found "
            "1 everywhere, "
            "which is the target itself, where the gradient is zero");
  EXPECT_NE(adversary_message("type: persistent, init: {type: constant, value: 1}"), "");
  EXPECT_NE(metrics_message("{type: pgd, name: a, init: ones}"), "");
  EXPECT_EQ(message("evaluation", "{metrics: [{type: pgd, name: a, init: ones}]}", {"delta_component=false"}),
            "");
}

TEST_F(RunConfigTest, EveryReconstructionHasRouting) {
  for (const char* type : {"stochastic_recon", "adversarial_recon", "ci_masked_recon", "unmasked_recon",
                           "hidden_acts_recon", "topk_attribution_recon"}) {
    const std::map<std::string_view, const char*> more = {
        {"adversarial_recon", ", adversary: {type: persistent}"}, {"topk_attribution_recon", ", k: 2"}};
    const auto found = more.find(type);
    const std::string others = found == more.end() ? "" : found->second;
    const RunConfig run = load("objective", fmt::format("[{{type: {}, coefficient: 1{}, routing: {{type: "
                                                        "static_probability, probability: 0.25}}}}]",
                                                        type, others));
    EXPECT_EQ(routing_of(run.objective[0]), RoutingConfig(StaticProbabilityRoutingConfig{0.25})) << type;
    EXPECT_EQ(family_of(run.objective[0]), TermFamily::reconstruction) << type;
  }
  EXPECT_EQ(routing_of(load().objective[0]), RoutingConfig(AllRoutingConfig{}));
  EXPECT_NE(objective_message("{type: ci_masked_recon, coefficient: 1, routing: {type: static_probability, "
                              "probability: 2}}"),
            "");
}

TEST_F(RunConfigTest, TermsOfApdHaveTheirRules) {
  EXPECT_EQ(objective_message("{type: topk_attribution_recon, coefficient: 1, k: 1.28}, {type: schatten, "
                              "coefficient: 1, p: 0.9, weighted_by_topk: true}"),
            "");
  EXPECT_EQ(objective_message("{type: topk_attribution_recon, coefficient: 1, k: 0}"),
            "objective[0].k: expected a number above 0, found the number 0");
  EXPECT_NE(objective_message("{type: topk_attribution_recon, coefficient: 1}"), "");
  EXPECT_EQ(objective_message("{type: topk_attribution_recon, coefficient: 1, k: 1}, {type: "
                              "topk_attribution_recon, name: b, coefficient: 1, k: 2}"),
            "objective[1].type: expected one topk_attribution_recon at most, found it again after [0]");
  EXPECT_EQ(
      objective_message("{type: schatten, coefficient: 1, weighted_by_topk: true}"),
      "objective[0].weighted_by_topk: expected false where no topk_attribution_recon says what is kept, "
      "found true");
  EXPECT_NE(objective_message("{type: schatten, coefficient: 1, p: 0}"), "");
  const RunConfig run = load("objective", "[{type: schatten, coefficient: 1}]");
  EXPECT_EQ(family_of(run.objective[0]), TermFamily::parameters);
}

TEST_F(RunConfigTest, HiddenActsTakeTheirMasksFromThreeSources) {
  EXPECT_EQ(objective_message("{type: hidden_acts_recon, coefficient: 1}"), "");
  EXPECT_EQ(objective_message("{type: hidden_acts_recon, coefficient: 1, masks: {type: ci}}"), "");
  EXPECT_EQ(objective_message("{type: hidden_acts_recon, coefficient: 1, masks: {type: random, samples: 0}}"),
            "objective[0].masks.samples: expected a whole number of at least 1, found the number 0");
  EXPECT_EQ(objective_message("{type: hidden_acts_recon, coefficient: 1, masks: {type: adversarial, "
                              "adversary: {type: fresh, init: ones}}}")
                .find("objective[0].masks.adversary.init: expected first values below 1"),
            0u);
  const RunConfig run =
      load("objective",
           "[{type: hidden_acts_recon, coefficient: 1, masks: {type: adversarial, adversary: "
           "{type: persistent}}}, {type: hidden_acts_recon, name: b, coefficient: 1}]");
  ASSERT_NE(adversary_of(run.objective[0]), nullptr);
  EXPECT_TRUE(std::holds_alternative<PersistentAdversaryConfig>(*adversary_of(run.objective[0])));
  EXPECT_EQ(adversary_of(run.objective[1]), nullptr);
}

TEST_F(RunConfigTest, MetricsHaveTheirRules) {
  EXPECT_EQ(metrics_message("{type: pgd, name: a}, {type: pgd, name: b}"), "");
  EXPECT_EQ(metrics_message("{type: pgd, name: a}, {type: pgd, name: a}"),
            "evaluation.metrics[1].name: expected a name of its own, found \"a\", which [0] has too");
  EXPECT_EQ(metrics_message("{type: alive}, {type: alive}"),
            "evaluation.metrics[1].type: expected one alive at most, found it again after [0]");
  EXPECT_NE(metrics_message("{type: pgd}"), "");
  EXPECT_NE(metrics_message("{type: ci_l0, groups: {total: [x]}}"), "");
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
            "row of one "
            "batch, found 2");
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
  for (const auto& entry : std::filesystem::recursive_directory_iterator(VPD_SOURCE_DIR "/configs")) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() == ".yaml" && name != "model_config.yaml") found.push_back(entry.path());
  }
  for (const char* name : {"plain", "grouped"}) {
    found.push_back(std::filesystem::path(VPD_TEST_DATA) / name / "config.yaml");
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
  const RunConfig run = load_run_config(VPD_TEST_DATA "/grouped/config.yaml");
  EXPECT_EQ(run.sites[2], (SitePattern{"h.*.attn.[qk]_proj", 12}));
  EXPECT_EQ(std::get<GlobalSharedTransformerConfig>(run.causal_importance).rope_base, 1000.0);
  EXPECT_EQ(find_term<ImportanceMinimalityTerm>(run.objective)->p, (Annealed{1.5, 0.5}));
  EXPECT_EQ(run.training.gradient_clip.components, 0.5);
  EXPECT_EQ(run.initialize_from, VPD_TEST_DATA "/grouped/initial");
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
