#include "vpd/config/pretrain.hpp"

#include <gtest/gtest.h>

#include "config/support.hpp"
#include "vpd/config/value.hpp"

namespace vpd {
namespace {

constexpr const char* base =
    "model: {vocab_size: 11, n_layer: 1, n_head: 2, n_embd: 8, n_intermediate: 16, n_key_value_heads: 1, "
    "block_size: 8}\n"
    "training: {steps: 0}\n";

PretrainConfig load(const std::vector<std::string>& overrides) {
  const ScratchDirectory scratch;
  scratch.write("t.bin", "");
  return load_pretrain_config(scratch.write("p.yaml", base), overrides);
}

std::string pretrain_error(const std::vector<std::string>& overrides) {
  const std::string error = error_of([&] { load(overrides); });
  return error.empty() ? "" : error.substr(error.find(": ") + 2);
}

TEST(PretrainConfig, PublishedConstantsAreTheDefaults) {
  const PretrainConfig pretrain = load({});
  EXPECT_EQ(pretrain.data, std::nullopt);
  EXPECT_EQ(pretrain.training.learning_rate,
            (Schedule{.start = 3e-4, .schedule = ScheduleShape::cosine, .final_fraction = 0.1}));
  EXPECT_EQ(std::get<PretrainAdamWConfig>(pretrain.training.optimizer).weight_decay, 0.1);
  EXPECT_EQ(pretrain.training.gradient_clip, 1.0);
}

TEST(PretrainConfig, StepsNeedData) {
  EXPECT_EQ(pretrain_error({"training.steps=5"}), "data: expected rows to train on for 5 steps, found none");
  const std::string train = "data.train={type: tokens, path: t.bin, sequence_length: 8}";
  EXPECT_EQ(pretrain_error({"training.steps=5", train}), "");
  EXPECT_EQ(pretrain_error({"training.steps=5", train, "evaluation.every=2"}),
            "evaluation.every: expected null while there are no rows in data.eval, found a number");
  EXPECT_EQ(pretrain_error({"training.steps=5", train, "evaluation.every=2",
                            "data.eval={type: tokens, path: t.bin, sequence_length: 8}"}),
            "");
  EXPECT_TRUE(
      pretrain_error({"data.train={type: tokens, path: t.bin, sequence_length: 9}"})
          .ends_with("data.train.sequence_length: expected at most model.block_size, which is 8, found 9"));
}

TEST(PretrainConfig, ShapesFitTogether) {
  EXPECT_NE(pretrain_error({"model.n_head=3"})
                .find("model.n_head: expected a number that divides n_embd, which is 8"),
            std::string::npos);
  EXPECT_NE(pretrain_error({"model.n_head=8"}), "") << "heads of one dimension cannot be rotated";
  EXPECT_NE(pretrain_error({"model.n_head=4", "model.n_key_value_heads=3"})
                .find("model.n_key_value_heads: expected a divisor of n_head, which is 4, found 3"),
            std::string::npos);
  EXPECT_NE(pretrain_error({"model.vocab_size=0"}), "");
}

TEST(PretrainConfig, PrintsReadsAndCompares) {
  const PretrainConfig pretrain = load({});
  const ScratchDirectory scratch;
  EXPECT_EQ(load_pretrain_config(scratch.write("a.yaml", to_yaml(pretrain))), pretrain);
  EXPECT_EQ(load_pretrain_config(scratch.write("a.json", to_json(pretrain))), pretrain);
  EXPECT_EQ(differences(pretrain, load({"seed=3"})), std::vector<std::string>{"seed: 0 became 3"});
  EXPECT_NO_THROW(check(pretrain));
  PretrainConfig broken = pretrain;
  broken.log_every = 0;
  EXPECT_NE(error_of([&] { check(broken); }).find("log_every: expected a whole number of at least 1"),
            std::string::npos);
  EXPECT_NE(config::parse_json(pretrain_json_schema(), "s").find("properties")->find("model"), nullptr);
  EXPECT_NE(pretrain_reference_markdown().find("| `n_key_value_heads` |"), std::string::npos);
}

}  // namespace
}  // namespace vpd
