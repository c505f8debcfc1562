// The job of `vpd pretrain` on a corpus of a few words.

#include "vpd/run/pretrain.hpp"

#include <fstream>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "io/support.hpp"
#include "support/expect_close.hpp"
#include "vpd/config/pretrain.hpp"
#include "vpd/io/token_shard.hpp"
#include "vpd/target/llama_simple_mlp.hpp"

namespace vpd::testing {
namespace {

namespace fs = std::filesystem;

// A configuration beside a corpus that counts from 0 to 6 again and again, and a place for targets.
class Corpus {
 public:
  explicit Corpus(std::uint16_t highest = 6) {
    std::vector<std::uint16_t> tokens;
    for (int i = 0; i < 700; ++i) tokens.push_back(static_cast<std::uint16_t>(i % (highest + 1)));
    write_token_shard(directory_ / "tokens.bin", tokens);
    write_atomically(config(), R"(seed: 5
device: cpu
model: {vocab_size: 7, n_layer: 1, n_head: 2, n_embd: 16, n_intermediate: 32, n_key_value_heads: 1, block_size: 10}
data:
  train: {type: tokens, path: tokens.bin, sequence_length: 10}
  eval: {type: tokens, path: tokens.bin, sequence_length: 10, shuffle: false}
training: {steps: 60, batch_size: 4, learning_rate: 1.0e-2}
evaluation: {every: 20, batch_size: 5, batches: 2}
log_every: 25
)");
  }

  fs::path config() const { return directory_ / "pretrain.yaml"; }
  fs::path out(const std::string& name = "target") const { return directory_ / name; }
  PretrainSummary run(const std::vector<std::string>& overrides = {}, const std::string& name = "target",
                      const Observer& observer = {}) const {
    return pretrain(
        {.config = config(), .out = out(name), .overrides = overrides, .device = {}, .threads = 2}, observer);
  }
  // Nothing but the configuration and the corpus.
  bool is_clean() const {
    return std::distance(fs::directory_iterator(directory_.path()), fs::directory_iterator()) == 2;
  }

 private:
  TemporaryDirectory directory_;
};

LlamaSimpleMlpCheckpoint read(const fs::path& path) {
  std::vector<std::string> warnings;
  LlamaSimpleMlpCheckpoint checkpoint = read_llama_simple_mlp(path, warnings);
  EXPECT_TRUE(warnings.empty()) << warnings.front();
  return checkpoint;
}

nlohmann::json record_of(const fs::path& path) {
  return nlohmann::json::parse(read_text(path / "pretrain.json"));
}

TEST(PretrainJob, LearnsWritesAndTells) {
  const Corpus corpus;
  std::vector<std::string> lines;
  Observer observer;
  observer.say = [&](const std::string& line) { lines.push_back(line); };
  const PretrainSummary summary = corpus.run({}, "target", observer);
  EXPECT_EQ(summary.steps, 60);
  ASSERT_TRUE(summary.eval_loss && summary.train_loss);
  EXPECT_LT(*summary.eval_loss, 0.5);  // ln 7 = 1.95 for a model that knows nothing

  const LlamaSimpleMlpCheckpoint target = read(corpus.out());
  auto model = std::get<LlamaSimpleMlpConfig>(load_pretrain_config(corpus.config()).model);
  model.n_ctx = model.block_size;  // which the file spells out
  EXPECT_EQ(target.config, model);
  const nlohmann::json record = record_of(corpus.out());
  EXPECT_EQ(record.at("steps"), 60);
  EXPECT_EQ(record.at("seed"), 5);
  EXPECT_FALSE(record.at("interrupted").get<bool>());
  EXPECT_EQ(record.at("eval_cross_entropy"), *summary.eval_loss);
  EXPECT_EQ(record.at("config").at("training").at("batch_size"), 4);

  std::ifstream metrics(corpus.out() / "metrics.jsonl");
  std::vector<std::pair<std::int64_t, bool>> logged;  // step, and whether it is an evaluation
  for (std::string line; std::getline(metrics, line);) {
    const auto entry = nlohmann::json::parse(line);
    logged.emplace_back(entry.at("step"), entry.contains("eval/cross_entropy"));
  }
  using Logged = std::vector<std::pair<std::int64_t, bool>>;
  EXPECT_EQ(logged, (Logged{{20, true}, {25, false}, {40, true}, {50, false}, {60, false}, {60, true}}));
  ASSERT_EQ(lines.size(), 2 + logged.size());
  EXPECT_TRUE(lines.front().starts_with("warning: ")) << "it trains on what it evaluates on";
}

TEST(PretrainJob, TheSameSeedGivesTheSameTarget) {
  const Corpus corpus;
  corpus.run({"training.steps=7"}, "a");
  corpus.run({"training.steps=7"}, "b");
  corpus.run({"training.steps=7", "seed=6"}, "c");
  EXPECT_EQ(read_text(corpus.out("a") / "model.safetensors"),
            read_text(corpus.out("b") / "model.safetensors"));
  EXPECT_NE(read_text(corpus.out("a") / "model.safetensors"),
            read_text(corpus.out("c") / "model.safetensors"));
}

TEST(PretrainJob, NoStepsGiveTheRandomTarget) {
  const Corpus corpus;
  const PretrainSummary summary = corpus.run({"training.steps=0", "data=null", "evaluation.every=null"});
  EXPECT_EQ(summary.steps, 0);
  EXPECT_FALSE(summary.eval_loss);
  const LlamaSimpleMlpCheckpoint target = read(corpus.out());
  const NamedTensors expected = initial_llama_simple_mlp(target.config, 5);
  ASSERT_EQ(target.weights.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(target.weights[i].first, expected[i].first);
    expect_identical(target.weights[i].second, expected[i].second, expected[i].first);
  }
  EXPECT_TRUE(record_of(corpus.out()).at("eval_cross_entropy").is_null());
}

TEST(PretrainJob, AnInterruptionLeavesTheTargetAsItIs) {
  const Corpus corpus;
  int asked = 0;
  Observer observer;
  observer.stop = [&] { return ++asked > 7; };
  try {
    corpus.run({"training.learning_rate=1e-2"}, "stopped", observer);
    FAIL() << "expected Interrupted";
  } catch (const Interrupted& interrupted) {
    EXPECT_EQ(interrupted.exit_code(), 130);
    EXPECT_NE(std::string(interrupted.what()).find("after 7 of 60 steps"), std::string::npos)
        << interrupted.what();
  }
  EXPECT_TRUE(record_of(corpus.out("stopped")).at("interrupted").get<bool>());
  corpus.run({"training.steps=7"}, "whole");
  EXPECT_EQ(read_text(corpus.out("stopped") / "model.safetensors"),
            read_text(corpus.out("whole") / "model.safetensors"));
}

TEST(PretrainJob, ADirectoryInUseIsRefused) {
  const Corpus corpus;
  fs::create_directory(corpus.out());
  corpus.run({"training.steps=0"});  // an empty one is as good as none
  const std::string before = read_text(corpus.out() / "pretrain.json");
  try {
    corpus.run();
    FAIL() << "expected a DataError";
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find("empty directory"), std::string::npos) << error.what();
  }
  EXPECT_EQ(read_text(corpus.out() / "pretrain.json"), before);
}

TEST(PretrainJob, AFailureLeavesNothingBehind) {
  const Corpus beyond(/*highest=*/7);
  EXPECT_THROW(beyond.run(), DataError);
  EXPECT_TRUE(beyond.is_clean());
  const Corpus corpus;
  EXPECT_THROW(corpus.run({"training.learning_rate=1e30", "training.gradient_clip=null"}), NumericalError);
  EXPECT_THROW(corpus.run({"data.train.path=elsewhere.bin"}), ConfigError);
  EXPECT_THROW(corpus.run({"device=cuda:99"}), ConfigError);
  EXPECT_TRUE(corpus.is_clean());
}

}  // namespace
}  // namespace vpd::testing
