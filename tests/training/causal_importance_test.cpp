// Every kind of causal-importance function in the training step: lanes and micro-batches do not change what
// is computed, a checkpoint brings everything back, and what should reach V reaches it.

#include <cmath>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/support.hpp"
#include "support/golden.hpp"
#include "support/places.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/passes/clean_pass.hpp"
#include "vpd/training/checkpoint.hpp"

namespace vpd::testing {
namespace {

const std::vector<std::string> kinds = {"{type: mlp, hidden_dims: [6]}", "{type: mlp, hidden_dims: [5, 4]}",
                                        "{type: vector_mlp, hidden_dims: [6]}",
                                        "{type: shared_mlp, hidden_dims: [20]}",
                                        "{type: global_shared_mlp, hidden_dims: [24, 20]}"};

/// The target of the golden run `plain` with its V and U, four rows of it a batch, and another function.
struct KindCase {
  KindCase(const std::string& kind, std::vector<std::string> overrides, int lane_count,
           at::ScalarType type = at::kDouble)
      : config(configuration(kind, std::move(overrides))),
        decomposition(make_decomposition(config, {at::kCPU, type, type}, "plain", warnings)),
        data(tokens().path, tokens().sequence_length, tokens().shuffle, config.seed),
        lanes(lane_count),
        step(decomposition, config, tokens().sequence_length, lanes) {
    decomposition.components.load(test_data() / "plain" / "initial" / components_file);
  }

  static RunConfig configuration(const std::string& kind, std::vector<std::string> overrides) {
    overrides.insert(overrides.begin(),
                     {"initialize_from=null", "training.batch_size=4", "causal_importance=" + kind});
    return load_run_config(test_data() / "plain" / "config.yaml", overrides);
  }
  const TokensData& tokens() const { return std::get<TokensData>(config.data.train); }
  StepResult run(std::int64_t s) { return step.run(data.batch(4 * s, 4), s); }

  RunConfig config;
  std::vector<std::string> warnings;
  Decomposition decomposition;
  TokenDataset data;
  Lanes lanes;
  TrainingStep step;
};

void expect_equal_after_two_steps(KindCase& a, KindCase& b) {
  constexpr double tolerance = 1e-9;
  for (std::int64_t s = 0; s < 2; ++s) {
    const StepResult x = a.run(s), y = b.run(s);
    for (std::size_t k = 0; k < x.losses.size(); ++k)
      EXPECT_LE(relative_error(x.losses[k], y.losses[k]), tolerance) << x.labels[k] << " of step " << s;
    EXPECT_LE(relative_error(x.components_norm, y.components_norm), tolerance) << "step " << s;
    EXPECT_LE(relative_error(x.causal_importance_norm, y.causal_importance_norm), tolerance) << "step " << s;
    EXPECT_GT(x.causal_importance_norm.item<double>(), 0.0);
  }
  EXPECT_LE(relative_error(a.decomposition.components.flat(), b.decomposition.components.flat()), tolerance);
  EXPECT_LE(relative_error(a.decomposition.ci_parameters.flat(), b.decomposition.ci_parameters.flat()),
            tolerance);
}

TEST(CausalImportanceInTraining, LanesDoNotChangeIt) {
  for (const std::string& kind : kinds) {
    SCOPED_TRACE(kind);
    KindCase one(kind, {}, 1), three(kind, {}, 3);
    expect_equal_after_two_steps(one, three);
  }
}

TEST(CausalImportanceInTraining, MicroBatchesDoNotChangeIt) {
  for (const std::string& kind : kinds) {
    SCOPED_TRACE(kind);
    KindCase whole(kind, {}, 1), parts(kind, {"training.micro_batch_size=2"}, 2);
    expect_equal_after_two_steps(whole, parts);
  }
}

TEST(CausalImportanceInTraining, ACheckpointBringsItBack) {
  for (const std::string& kind : kinds) {
    SCOPED_TRACE(kind);
    const TemporaryDirectory directory;
    const RunDirectory run = RunDirectory::create(directory / "run");
    KindCase first(kind, {}, 2, at::kFloat), second(kind, {"seed=5"}, 2, at::kFloat);
    for (std::int64_t s = 0; s < 2; ++s) first.run(s);
    save_checkpoint(run, first.decomposition, first.step, {.step = 2, .data_position = 8, .lanes = 2}, 1);
    load_checkpoint(run.checkpoint_path(2), second.decomposition, second.step);
    // The batch of the first: another seed would shuffle otherwise, were it asked to.
    const StepResult expected = first.run(2), found = second.run(2);
    EXPECT_EQ(found.total.item<double>(), expected.total.item<double>());
    EXPECT_TRUE(second.decomposition.components.flat().equal(first.decomposition.components.flat()));
    EXPECT_TRUE(second.decomposition.ci_parameters.flat().equal(first.decomposition.ci_parameters.flat()));
  }
}

TEST(CausalImportanceInTraining, WeightsOfAnotherKindAreRefused) {
  const TemporaryDirectory directory;
  KindCase mlp(kinds[0], {}, 1), wider("{type: mlp, hidden_dims: [7]}", {}, 1), shared(kinds[3], {}, 1);
  save_weights(mlp.decomposition, directory.path());
  EXPECT_DATA_ERROR("expected the shape [16, 1, 7], found [16, 1, 6]",
                    load_weights(wider.decomposition, directory.path()));
  EXPECT_DATA_ERROR("causal_importance.safetensors", load_weights(shared.decomposition, directory.path()));
}

/// Minimality alone, whose gradient reaches V and U through the causal-importance function or not at all.
const std::vector<std::string> minimality = {
    "objective=[{type: importance_minimality, coefficient: 2.0, p: {start: 2.0, end: 2.0}, eps: 1.0e-12}]",
    "training.gradient_clip.components=null"};

TEST(CausalImportanceInTraining, MinimalityReachesVThroughInnerActivationsAlone) {
  for (const char* micro : {"4", "2"}) {
    SCOPED_TRACE(micro);
    std::vector<std::string> overrides = minimality;
    overrides.push_back(std::string("training.micro_batch_size=") + micro);
    KindCase mlp(kinds[0], overrides, 2), vector(kinds[2], overrides, 2);

    // Σ_c s_c / N with z written out for each network, V a leaf.
    const Decomposition& d = mlp.decomposition;
    const CleanPass clean = clean_pass(d, mlp.data.batch(0, 4));
    at::Tensor square = at::zeros({}, at::kDouble);
    std::vector<at::Tensor> V;
    for (std::size_t i = 0; i < d.sites.size(); ++i) {
      V.push_back(d.components.V(i).clone().requires_grad_(true));
      const auto ci = [&](std::size_t k) { return d.ci_parameters.value(4 * i + k); };
      at::Tensor sum = at::zeros({}, at::kDouble);
      for (std::int64_t c = 0; c < d.sites[i].C; ++c) {
        const at::Tensor a = at::matmul(clean.inputs[i], V.back().narrow(1, c, 1)),
                         h = at::matmul(a, ci(0)[c]) + ci(1)[c];
        const at::Tensor z = at::matmul(0.5 * h * (1 + at::erf(h / std::sqrt(2.0))), ci(2)[c]) + ci(3)[c];
        const at::Tensor upper = at::where(z > 1, 1 + 0.01 * (z - 1), z.clamp(0, 1));
        sum = sum + (upper + 1e-12).square().sum();
      }
      (sum * (2.0 / static_cast<double>(clean.N()))).backward();
      square += V.back().grad().square().sum();
    }
    const StepResult result = mlp.run(0);
    EXPECT_GT(square.item<double>(), 0.0);
    EXPECT_LE(relative_error(result.components_norm, square.sqrt()), 1e-10);
    EXPECT_EQ(vector.run(0).components_norm.item<double>(), 0.0);
  }
}

TEST(CausalImportanceInTraining, TheWarmUpIsThatOfTheFaithfulnessLossAlone) {
  KindCase mlp(kinds[0], {}, 2), shared(kinds[3], {}, 2);
  mlp.run(0);  // leaves gradients behind
  mlp.decomposition.components.flat().copy_(shared.decomposition.components.flat());
  EXPECT_EQ(mlp.step.warm_up().item<double>(), shared.step.warm_up().item<double>());
  EXPECT_TRUE(mlp.decomposition.components.flat().equal(shared.decomposition.components.flat()));
}

TEST(CausalImportanceInTraining, ABfloat16StepIsCloseToAFloat32One) {
  for (const std::string& kind : kinds) {
    SCOPED_TRACE(kind);
    KindCase single(kind, {}, 1, at::kFloat);
    std::vector<std::string> warnings;
    Decomposition narrow =
        make_decomposition(single.config, {at::kCPU, at::kBFloat16, at::kFloat}, "plain", warnings);
    narrow.components.flat().copy_(single.decomposition.components.flat());
    narrow.components.refresh();
    TrainingStep step(narrow, single.config, single.tokens().sequence_length, single.lanes);
    const StepResult found = step.run(single.data.batch(0, 4), 0), expected = single.run(0);
    for (std::size_t k = 0; k < expected.losses.size(); ++k)
      EXPECT_LE(relative_error(found.losses[k], expected.losses[k]), 0.05) << expected.labels[k];
    EXPECT_LE(relative_error(found.causal_importance_norm, expected.causal_importance_norm), 0.05);
  }
}

}  // namespace
}  // namespace vpd::testing
