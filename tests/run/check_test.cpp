#include "vpd/run/check.hpp"

#include <cstdlib>
#include <map>
#include <optional>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "io/support.hpp"
#include "io/token_files.hpp"
#include "support/places.hpp"
#include "vpd/base/error.hpp"
#include "vpd/io/token_shard.hpp"
#include "vpd/machine/memory.hpp"
#include "vpd/target/llama_simple_mlp.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryDirectory;

const fs::path plain = testing::test_data() / "plain" / "config.yaml";

CheckReport check_plain(std::vector<std::string> overrides = {}) {
  return check_run({.config = plain, .overrides = std::move(overrides), .threads = 1});
}

template <class Parts, class Number>
auto as_map(const Parts& parts, Number number) {
  std::map<std::string, double> map;
  for (const auto& part : parts) map[std::string(part.part)] += static_cast<double>(part.*number);
  return map;
}

// The target has 2 blocks of width 24 with 3 heads, d_ff 96 and a vocabulary of 61; C is 16 in attention, 40
// for c_fc and 37 for down_proj; a batch is 3 rows of 17.

TEST(Check, CountsParameters) {
  const CheckReport report = check_plain();
  EXPECT_EQ(report.target_parameters(), 61 * 24 + 2 * (24 + 24 + 4 * 24 * 24 + 2 * 24 * 96) + 24);
  EXPECT_EQ(report.step_shape.sites.entries(), 2 * (4 * 24 * 24 + 2 * 24 * 96));
  EXPECT_EQ(report.step_shape.components.count(), 2 * (4 * 16 * 48 + 40 * 120 + 37 * 120));
  EXPECT_EQ(report.step_shape.sites.total_C(), 2 * (4 * 16 + 40 + 37));
  // proj_in reads 432 values, proj_out gives 282.
  EXPECT_EQ(report.step_shape.ci_parameters.count(),
            432 * 32 + 32 + 2 * (4 * 32 * 32 + 2 * 32 * 48 + 48 + 32) + 282 * 32 + 282);
}

TEST(Check, DataThatAreSharedAreAWarning) {
  const TemporaryDirectory scratch;
  const auto shard = [](const fs::path& path) {
    write_token_shard(path, std::vector<std::uint16_t>(100, 1));
  };
  for (const char* directory : {"data", "links", "apart"}) fs::create_directory(scratch / directory);
  for (const char* name : {"data/train_0.bin", "data/eval_0.bin", "apart/a.bin"}) shard(scratch / name);
  fs::create_symlink("../data/eval_0.bin", scratch / "links/soft.bin");
  fs::create_hard_link(scratch / "data/eval_0.bin", scratch / "links/hard.bin");
  const auto warnings = [&](const std::string& train, const std::string& eval) {
    const std::vector<std::string> all = check_plain({"data.train.path=" + (scratch / train).string(),
                                                      "data.eval.path=" + (scratch / eval).string()})
                                             .warnings;
    std::string text;
    for (const std::string& warning : all)
      if (testing::contains(warning, "data.train and data.eval share")) text += warning;
    return text;
  };
  EXPECT_EQ(warnings("data/train_*.bin", "data/eval_*.bin"), "");
  EXPECT_EQ(warnings("data", "apart"), "");
  const std::string one = warnings("data", "data/eval_*.bin");
  EXPECT_TRUE(testing::contains(one, "share 1 file, ")) << one;
  EXPECT_TRUE(testing::contains(one, (scratch / "data/eval_0.bin").string())) << one;
  EXPECT_TRUE(testing::contains(warnings("data", "data"), "share 2 files"));
  for (const char* link : {"links/soft.bin", "links/hard.bin"}) {
    const std::string same = warnings("data", link);
    EXPECT_TRUE(testing::contains(same, (scratch / link).string() + " (the same as ")) << same;
  }
}

TEST(Check, LeavesTheNumberOfThreadsAsItWas) {
  const int before = at::get_num_threads();
  EXPECT_EQ(check_plain().threads, 1);
  EXPECT_EQ(at::get_num_threads(), before);
  EXPECT_EQ(check_run({.config = plain}).threads, before);
  EXPECT_THROW(check_run({.config = plain, .threads = -1}), UsageError);
}

TEST(Check, TakesNoMoreThreadsThanItMayUse) {
  const int before = at::get_num_threads();
  const char* set = std::getenv("OMP_NUM_THREADS");
  const std::optional<std::string> kept = set ? std::optional<std::string>(set) : std::nullopt;
  ::setenv("OMP_NUM_THREADS", "1", 1);
  const CheckReport report = check_run({.config = plain});
  kept ? ::setenv("OMP_NUM_THREADS", kept->c_str(), 1) : ::unsetenv("OMP_NUM_THREADS");
  EXPECT_EQ(report.threads, 1);
  EXPECT_EQ(report.threads_bound, before > 1 ? "OMP_NUM_THREADS" : "");
  EXPECT_EQ(at::get_num_threads(), before);
  EXPECT_ERROR_AS(UsageError, "threads: expected at most", check_run({.config = plain, .threads = 1000000}));
  EXPECT_EQ(at::get_num_threads(), before);
}

TEST(Check, NamesWhatBoundsIt) {
  CheckReport report = check_plain();
  report.available = std::int64_t{1} << 30;
  report.available_giver = "that the control group leaves";
  report.threads_bound = "the control group's CPU quota of 0.5";
  const std::string text = check_text(report);
  EXPECT_NE(text.find(" of 1 GiB that the control group leaves"), std::string::npos) << text;
  EXPECT_NE(text.find("1 thread, no more because of the control group's CPU quota of 0.5\n"),
            std::string::npos);
  const auto json = nlohmann::json::parse(check_json(report));
  EXPECT_EQ(json["memory_available_giver"], report.available_giver);
  EXPECT_EQ(json["threads_bound"], report.threads_bound);
}

TEST(Check, SaysWhatItReads) {
  std::vector<std::string> said;
  Observer observer;
  observer.status = [&](const std::string& line) { said.push_back(line); };
  check_run({.config = plain, .threads = 1}, observer);
  EXPECT_EQ(said.size(), 4u);
  EXPECT_EQ(said.front(), "reading the target's shapes");
  EXPECT_NE(said[2].find("checking data.eval"), std::string::npos) << said[2];
  EXPECT_EQ(said.back(), "measuring how fast matrix products are here");
}

TEST(Check, CountsOperations) {
  const auto operations = as_map(check_plain().operations, &OperationCount::operations);
  constexpr double N = 51,
                   attention = 2 * 4 * N * 9 * 24;  // 9: the mean number of positions that one of 17 sees
  const double head = 2 * N * 24 * 61, weights = 2 * N * 13824;
  const double to_outputs = 2 * N * 12528, from_inputs = 2 * N * 12096;  // C d_out and C d_in over all sites
  const double unwanted = 2 * N * 3 * 16 * 24;  // nobody wants the gradient of the first q, k and v's input
  const std::map<std::string, double> expected = {
      {"clean forward", weights + head + attention},
      {"causal importance, forward", 4014720},
      {"causal importance, backward", 2 * 4014720 - 2 * N * 432 * 32},
      {"faithfulness", 3 * 857088},
      {"ci_masked_recon", 3 * to_outputs + 3 * from_inputs - unwanted + 2 * head + 3 * attention},
      {"adversarial_recon, ascents",
       2 * (2 * to_outputs + 2 * from_inputs - unwanted + 2 * weights + 2 * head + 3 * attention)},
      {"adversarial_recon",
       3 * to_outputs + 3 * from_inputs - unwanted + 2 * weights + 2 * head + 3 * attention}};
  for (const auto& [part, count] : expected) {
    ASSERT_TRUE(operations.contains(part)) << part;
    EXPECT_DOUBLE_EQ(operations.at(part), count) << part;
  }
  EXPECT_EQ(operations.size(), expected.size());
}

TEST(Check, CountsEachKindOfCausalImportance) {
  constexpr double two_N = 2 * 51, C = 282, inputs = 432,
                   products = 12096;  // Σ C, Σ d_in and Σ d_in C over sites
  struct Expected {
    const char* kind;
    double forward, backward, kept;
  };
  for (const auto& [kind, forward, backward, kept] :
       {Expected{"{type: mlp, hidden_dims: [6]}", products + 12 * C, products + 5 * 6 * C, C},
        Expected{"{type: mlp, hidden_dims: [6, 5]}", products + (6 + 30 + 5) * C,
                 products + (3 * 6 + 3 * 30 + 2 * 5) * C, C},
        Expected{"{type: vector_mlp, hidden_dims: [6]}", 6 * products + 6 * C, 2 * 6 * products + 2 * 6 * C,
                 0},
        Expected{"{type: shared_mlp, hidden_dims: [20]}", 20 * (inputs + C), 20 * (inputs + 2 * C),
                 12 * 2 * 20},
        Expected{"{type: shared_mlp, hidden_dims: []}", products, products, 0},
        Expected{"{type: global_shared_mlp, hidden_dims: [24, 20]}", 24 * inputs + 24 * 20 + 20 * C,
                 24 * inputs + 2 * 24 * 20 + 2 * 20 * C, inputs + 2 * 24 + 2 * 20}}) {
    SCOPED_TRACE(kind);
    const CheckReport report =
        check_plain({"initialize_from=null", std::string("causal_importance=") + kind});
    const auto operations = as_map(report.operations, &OperationCount::operations);
    EXPECT_DOUBLE_EQ(operations.at("causal importance, forward"), two_N * forward);
    EXPECT_DOUBLE_EQ(operations.at("causal importance, backward"), two_N * backward);
    EXPECT_DOUBLE_EQ(static_cast<double>(report.step_shape.importance_cost(51).kept), 4 * 51 * kept);
    EXPECT_EQ(report.warnings.size(), 1u);  // ci_masked_recon trains
  }
}

TEST(Check, CountsAnEmbeddingSite) {
  // Its rows are read, not multiplied with; its inner activations [51, 5] are products with U alone.
  const char* site = "[{pattern: wte, C: 5}]";
  const char* terms =
      "[{type: faithfulness, coefficient: 1}, {type: stochastic_recon, coefficient: 1, routing: {type: "
      "all}}]";
  const CheckReport report =
      check_plain({"initialize_from=null", std::string("sites=") + site, std::string("objective=") + terms});
  EXPECT_EQ(report.target_parameters(), 15408);
  EXPECT_EQ(report.step_shape.sites.entries(), 61 * 24);
  EXPECT_EQ(report.step_shape.components.count(), 61 * 5 + 5 * 24);
  EXPECT_EQ(report.step_shape.ci_parameters.count(),
            5 * 32 + 32 + 2 * (4 * 32 * 32 + 2 * 32 * 48 + 48 + 32) + 5 * 32 + 5);
  const auto operations = as_map(report.operations, &OperationCount::operations);
  constexpr double N = 51, inner = 2 * N * 5 * 24, attention = 2 * 4 * N * 9 * 24,
                   weights = 2 * N * (13824 + 24 * 61);
  EXPECT_DOUBLE_EQ(operations.at("clean forward"), weights + attention);
  EXPECT_DOUBLE_EQ(operations.at("faithfulness"), 3 * 2 * 61 * 5 * 24);
  // Forward, and back through U and to it, and through every weight and all attention behind it.
  EXPECT_DOUBLE_EQ(operations.at("stochastic_recon"), 3 * inner + 2 * weights + 3 * attention);
  EXPECT_DOUBLE_EQ(operations.at("causal importance, backward"),
                   2 * operations.at("causal importance, forward"));
  const auto memory = as_map(report.memory, &MemoryPart::bytes);
  // Inner activations; per block the norms' inputs, attention and the GELU's; the last norm's.
  const double block = 24 + (4 * 24 + 3 * 17) + 24 + 96;
  EXPECT_EQ(memory.at("masked pass: activations"), 51 * (4 * (5 + 2 * block + 24) + 5));
}

TEST(Check, CountsWhatMicroBatchesRepeat) {
  const auto operations =
      as_map(check_plain({"training.micro_batch_size=1"}).operations, &OperationCount::operations);
  EXPECT_DOUBLE_EQ(operations.at("clean forward and causal importance again, micro-batches"),
                   1647504 + 4014720);
}

TEST(Check, CountsLayerwisePasses) {
  // Site i masked alone in pass i: 12 passes of the whole target, and each site's own products once.
  const auto operations =
      as_map(check_plain({"objective=[{type: stochastic_recon, coefficient: 0, routing: {type: layerwise}}]"})
                 .operations,
             &OperationCount::operations);
  EXPECT_DOUBLE_EQ(operations.at("stochastic_recon"), 12 * 1647504.0 + 2 * 51 * 24624.0);
}

TEST(Check, CountsAttributions) {
  const std::string objective = "objective=[{type: topk_attribution_recon, coefficient: 1, k: 3}]";
  const CheckReport report = check_plain({objective, "training.batch_size=64"});
  const auto operations = as_map(report.operations, &OperationCount::operations);
  constexpr double N = 64 * 17, attention = 2 * 4 * N * 9 * 24, head = 2 * N * 24 * 61;
  const double weights = 2 * N * 13824, to_outputs = 2 * N * 12528, from_inputs = 2 * N * 12096;
  const double first_three =
      2 * N * 3 * 24 * 24;  // nobody wants the gradient of the first q, k and v's input
  EXPECT_DOUBLE_EQ(operations.at("topk_attribution_recon, attributions"),
                   2 * weights - first_three + 2 * head + 3 * attention + to_outputs + from_inputs);
  const auto memory = as_map(report.memory, &MemoryPart::bytes);
  EXPECT_EQ(memory.at("attributions of the batch"), 4 * N * 282);
  const auto micro =
      as_map(check_plain({objective, "training.batch_size=64", "training.micro_batch_size=16"}).operations,
             &OperationCount::operations);
  EXPECT_TRUE(micro.contains("clean forward and causal importance again, micro-batches"));
  EXPECT_ERROR_AS(ConfigError, "topk_attribution_recon.k: expected a number of subcomponents a position",
                  check_plain({"objective=[{type: topk_attribution_recon, coefficient: 1, k: 1000}]"}));
}

TEST(Check, HiddenActivationsNeedNoHead) {
  const auto operations = as_map(
      check_plain({"objective=[{type: hidden_acts_recon, coefficient: 0, masks: {type: ci}}]"}).operations,
      &OperationCount::operations);
  EXPECT_DOUBLE_EQ(operations.at("hidden_acts_recon"), 2 * 51 * 24624.0 + 2 * 4 * 51 * 9 * 24);
  const auto memory = as_map(
      check_plain({"objective=[{type: hidden_acts_recon, coefficient: 1}]", "training.batch_size=64"}).memory,
      &MemoryPart::bytes);
  EXPECT_EQ(memory.at("masked pass: outputs of sites and their gradients"),
            2 * 4 * 64 * 17 * 2 * (4 * 24 + 96 + 24));
}

/// C + 1 of each of 12 sites, 282 + 12 in all, each up to a multiple of 8.
constexpr std::int64_t source_columns = 368;

TEST(Check, PredictsWhatIsKeptAllAlong) {
  const auto memory = as_map(check_plain().memory, &MemoryPart::bytes);
  EXPECT_EQ(memory.at("target"), 4 * 15408);
  const double trained = memory.at("parameters") / 4;
  EXPECT_GE(trained, 24624 + 37658);
  EXPECT_LT(trained, 24624 + 37658 + 16 * (24 + 20));  // each parameter starts at a multiple of 16
  EXPECT_EQ(memory.at("gradients"), 4 * trained);
  EXPECT_EQ(memory.at("optimizer moments"), 8 * trained);
  // No gradient: they climb in the backward pass.
  EXPECT_EQ(memory.at("adversaries: sources, moments and gradients that are kept"),
            4 * 3 * 51 * source_columns);
  EXPECT_EQ(memory.at("causal importances and their gradient"), 2 * 4 * 51 * 282);
  // One chunk of logits, and the gradient of what the frozen head reads.
  EXPECT_EQ(memory.at("masked pass: logits"), 4 * 51 * (61 + 24));
  EXPECT_FALSE(memory.contains("optimizer moments of the faithfulness warm-up"));
}

TEST(Check, MemoryFollowsTheConfiguration) {
  const auto of = [](std::vector<std::string> overrides) {
    overrides.insert(overrides.begin(), "evaluation.final=false");  // it is about the moments of training
    return as_map(check_plain(std::move(overrides)).memory, &MemoryPart::bytes);
  };
  // Little enough of a batch that the warm-up before it is the largest moment.
  EXPECT_GT(
      of({"training.faithfulness_warmup.steps=1", "training.batch_size=1", "data.train.sequence_length=2"})
          .at("optimizer moments of the faithfulness warm-up"),
      8 * 24623);
  const auto whole = of({}), micro = of({"training.micro_batch_size=1"});
  EXPECT_EQ(whole.at("masked pass: activations"), 3 * micro.at("masked pass: activations"));
  const char* shared = "objective.4.adversary.scope=shared_across_batch";
  EXPECT_EQ(of({shared}).at("adversaries: sources, moments and gradients that are kept"),
            4 * 4 * 17 * source_columns);
  const char* layerwise = "objective.4.routing.type=layerwise";
  EXPECT_EQ(of({layerwise}).at("adversaries: sources, moments and gradients that are kept"),
            4 * 4 * 51 * source_columns);
  EXPECT_EQ(of({"objective.4.adversary.storage=compact"})
                .at("adversaries: sources, moments and gradients that are kept"),
            2 * 3 * 51 * source_columns);
  // Those drawn with moments and a gradient, and a pool of five a row with moments.
  EXPECT_EQ(of({"objective.4.adversary.scope=pooled", "objective.4.adversary.sources=5"})
                .at("adversaries: sources, moments and gradients that are kept"),
            4 * (4 + 5 * 3) * 3 * source_columns);
  // Fresh ones of each position, their gradient, and that of the one lane, whatever is computed at once.
  for (const char* micro_batch_size : {"null", "1"}) {
    EXPECT_EQ(of({"objective.4.adversary={type: fresh, scope: per_datapoint}",
                  std::string("training.micro_batch_size=") + micro_batch_size})
                  .at("adversaries: sources, moments and gradients that are kept"),
              4 * 3 * 51 * source_columns);
  }
  EXPECT_EQ(of({"evaluation.every=1", "evaluation.batch_size=30",
                "evaluation.metrics=[{type: pgd, name: a, scope: per_datapoint}]"})
                .at("evaluation: an attack's sources and their gradients"),
            4 * 3 * 30 * 17 * source_columns);
}

TEST(Check, ActivationsOfOneSite) {
  // Every pass keeps the scale and the routing of each site, 5 bytes a position. From c_fc of the last block
  // on gradients flow through the GELU (96), the residual stream (24), and c_fc keeps its input and inner
  // activations.
  const auto of = [](const std::string& sites, const char* routing) {
    return as_map(check_plain(
                      {"initialize_from=null", "sites=" + sites,
                       std::string("objective=[{type: stochastic_recon, coefficient: 1, routing: {type: ") +
                           routing + "}}]"})
                      .memory,
                  &MemoryPart::bytes)
        .at("masked pass: activations");
  };
  EXPECT_EQ(of("[{pattern: h.1.mlp.c_fc, C: 40}]", "all"), 51 * (4 * (24 + 40 + 96 + 24) + 5));
  EXPECT_EQ(of("[{pattern: lm_head, C: 3}]", "all"), 51 * (4 * (24 + 3) + 5));
  // Layerwise: the pass of c_fc is the larger one.
  EXPECT_EQ(of("[{pattern: \"h.1.mlp.*\", C: 40}]", "layerwise"), 51 * (4 * (24 + 40 + 96 + 24) + 2 * 5));
}

TEST(Check, GradientsOfLanes) {
  // The transformer's gradients are deferred until all lanes are through.
  for (const char* kind : {"global_shared_transformer", "mlp"}) {
    std::vector<std::string> overrides = {"training.batch_size=4", "initialize_from=null"};
    if (std::string(kind) == "mlp") overrides.push_back("causal_importance={type: mlp, hidden_dims: [3]}");
    const CheckReport report = check_run({.config = plain, .overrides = overrides, .threads = 2});
    const auto memory = as_map(report.memory, &MemoryPart::bytes);
    EXPECT_EQ(report.step_shape.lanes, 2);
    const std::int64_t second = std::string(kind) == "mlp" ? memory.at("parameters")
                                                           : 4 * report.step_shape.components.flat().numel();
    EXPECT_EQ(memory.at("gradients, one buffer for each lane that needs its own"),
              memory.at("parameters") + second)
        << kind;
  }
}

TEST(Check, ComparesWithTheMachine) {
  const CheckReport report = check_plain();
  EXPECT_EQ(report.fits(), true);
  EXPECT_GT(report.available, std::int64_t{1} << 27);
  // The program itself is most of what this little model takes.
  EXPECT_GT(report.memory.front().bytes, std::int64_t{1} << 26);
  EXPECT_LE(report.memory.front().bytes, peak_resident_bytes() + (std::int64_t{64} << 20));
  const CheckReport large = check_plain(
      {"initialize_from=null", "causal_importance.d_model=65536", "causal_importance.d_mlp=1048576"});
  EXPECT_EQ(large.fits(), false);
  EXPECT_NE(check_text(large).find("training DOES NOT FIT"), std::string::npos);
}

TEST(Check, SaysHowLongItTakes) {
  const CheckReport estimated = check_plain();
  ASSERT_TRUE(estimated.step_seconds().has_value());
  EXPECT_GT(estimated.product_peak, 1e9);
  EXPECT_FALSE(estimated.measured);
  EXPECT_NEAR(*estimated.step_seconds(), 2.0 * total(estimated.operations) / estimated.product_peak, 1e-12);
  EXPECT_NE(check_text(estimated).find("  an estimate: their operations at half"), std::string::npos);

  const CheckReport measured = check_run({.config = plain, .overrides = {}, .threads = 2, .measure = true});
  ASSERT_TRUE(measured.measured.has_value());
  EXPECT_GT(measured.measured->seconds, 0.0);
  EXPECT_GT(measured.measured->peak_bytes, std::int64_t{1} << 26);
  EXPECT_EQ(measured.step_seconds(), measured.measured->seconds);
  EXPECT_NE(check_text(measured).find("  measured: a step took"), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(check_json(measured))["measured"]["step_seconds"],
            measured.measured->seconds);
}

TEST(Check, ReadsTheData) {
  const CheckReport report = check_plain();
  ASSERT_EQ(report.data.size(), 2u);
  EXPECT_EQ(report.data[0].role, "train");
  EXPECT_EQ(report.data[0].tokens, report.data[0].rows * 17);
  EXPECT_EQ(report.data[1].files, 1u);
}

TEST(Check, Prints) {
  const CheckReport report = check_plain();
  const std::string text = check_text(report);
  for (const char* part : {"sequence_length: 17", "h.1.mlp.down_proj", "adversarial_recon, ascents",
                           "the program itself", "training fits", "GFLOP"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part;
  }
  const auto json = nlohmann::json::parse(check_json(report));
  for (const char* key : {"version", "config", "device", "threads", "lanes", "parameters", "sites", "data",
                          "operations", "operations_total", "memory", "memory_total", "memory_available",
                          "fits", "product_peak", "step_seconds", "measured", "warnings"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  EXPECT_EQ(json.size(), 18u);
  EXPECT_EQ(json["sites"].size(), 12u);
  EXPECT_EQ(json["sites"][0],
            (nlohmann::json{{"name", "h.0.attn.k_proj"}, {"d_in", 24}, {"d_out", 24}, {"C", 16}}));
  EXPECT_EQ(json["parameters"]["components"], 24624);
  EXPECT_EQ(json["operations_total"].get<double>(), total(report.operations));
  EXPECT_EQ(json["config"]["training"]["batch_size"], 3);
}

TEST(Check, ADeviceOfAnotherMachineIsCounted) {
  if (has_cuda()) GTEST_SKIP() << "this machine has a CUDA device";
  const CheckReport there = check_plain({"device=cuda", "precision=auto"}),
                    here = check_plain({"precision=bf16"});
  EXPECT_EQ(there.step_shape.numerics.compute, at::kBFloat16);
  EXPECT_EQ(there.available, std::nullopt);
  EXPECT_EQ(there.fits(), std::nullopt);
  EXPECT_EQ(total(there.operations), total(here.operations));
  EXPECT_GT(total(there.memory), 0);
  EXPECT_NE(check_text(there).find("on cuda, which is not here"), std::string::npos);
  const auto json = nlohmann::json::parse(check_json(there));
  EXPECT_TRUE(json["fits"].is_null());
  EXPECT_TRUE(json["memory_available"].is_null());
}

TEST(Check, BadConfigurations) {
  EXPECT_ERROR_AS(ConfigError, "batch_sise", check_plain({"training.batch_sise=4"}));
  EXPECT_ERROR_AS(ConfigError, "sites[1].pattern", check_plain({"sites.1.pattern=h.*.mlp.down"}));
  EXPECT_ERROR_AS(ConfigError, "at most the 32 tokens", check_plain({"data.train.sequence_length=33"}));
  if (has_cuda()) EXPECT_ERROR_AS(ConfigError, "cuda:77", check_plain({"device=cuda:77"}));
  EXPECT_ERROR_AS(ConfigError, "gpu", check_run({.config = plain, .device = "gpu"}));
}

TEST(Check, BadTarget) {
  const TemporaryDirectory scratch;
  std::vector<std::string> warnings;
  LlamaSimpleMlpCheckpoint checkpoint = read_llama_simple_mlp(plain.parent_path() / "target", warnings);
  const std::string override_text = "target.path=" + (scratch / "target").string();
  const NamedTensors weights = checkpoint.weights;
  write_llama_simple_mlp(scratch / "target", checkpoint.config, weights);
  EXPECT_NO_THROW(check_plain({override_text}));
  write_llama_simple_mlp(scratch / "target", checkpoint.config, {weights.begin(), weights.end() - 1});
  EXPECT_DATA_ERROR(weights.back().first, check_plain({override_text}));
  ++checkpoint.config.vocab_size;
  write_llama_simple_mlp(scratch / "target", checkpoint.config, weights);
  EXPECT_DATA_ERROR("expected the shape [62, 24], found [61, 24]", check_plain({override_text}));
}

TEST(Check, BadTokens) {
  const TemporaryDirectory scratch;
  std::vector<std::uint16_t> tokens(17 * 4, 60);
  tokens[40] = 61;
  write_token_shard(scratch / "bad.bin", tokens);
  EXPECT_DATA_ERROR("position 40", check_plain({"data.eval.path=" + (scratch / "bad.bin").string()}));
}

TEST(Check, BadStart) {
  const TemporaryDirectory scratch;
  EXPECT_DATA_ERROR("decomposition.safetensors", check_plain({"initialize_from=" + scratch.path().string()}));
  EXPECT_DATA_ERROR("expected the shape [24, 17], found [24, 16]", check_plain({"sites.2.C=17"}));
}

}  // namespace
}  // namespace vpd
