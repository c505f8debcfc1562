#include <filesystem>
#include <limits>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/support.hpp"
#include "support/expect_close.hpp"
#include "support/places.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/safetensors.hpp"
#include "vpd/target/llama_simple_mlp.hpp"

namespace vpd::testing {
namespace {

namespace fs = std::filesystem;

fs::path golden(const std::string& name) { return test_data() / name; }

at::Tensor logits(const LlamaSimpleMlpCheckpoint& checkpoint, const at::Tensor& tokens, at::ScalarType type) {
  const at::NoGradGuard no_grad;
  const LlamaSimpleMlp target(checkpoint.config, checkpoint.weights,
                              {.device = at::kCPU, .compute = type, .wide = type});
  PlainExecutor executor;
  return target.forward(tokens, executor);
}

at::Tensor tokens_of(const std::string& name) {
  return SafetensorsFile(golden(name) / "fixed.safetensors").load("tokens");
}

// A copy of a golden target whose files a test may spoil.
class Copy {
 public:
  explicit Copy(const std::string& name) {
    std::vector<std::string> warnings;
    checkpoint_ = read_llama_simple_mlp(golden(name) / "target", warnings);
    EXPECT_TRUE(warnings.empty()) << warnings.front();
    write();
  }

  const fs::path& path() const { return directory_.path(); }
  NamedTensors& weights() { return checkpoint_.weights; }
  at::Tensor& weight(const std::string& name) {
    for (auto& [other, weight] : checkpoint_.weights) {
      if (other == name) return weight;
    }
    throw std::runtime_error("no weight named " + name);
  }
  void write() const { write_llama_simple_mlp(path(), checkpoint_.config, checkpoint_.weights); }
  LlamaSimpleMlpCheckpoint read() const {
    std::vector<std::string> warnings;
    return read(warnings);
  }
  LlamaSimpleMlpCheckpoint read(std::vector<std::string>& warnings) const {
    return read_llama_simple_mlp(path(), warnings);
  }

  // Expects reading to fail with each of `words` in the sentence.
  void expect_refused(std::initializer_list<std::string> words) const {
    try {
      read();
      ADD_FAILURE() << "expected a DataError, found none";
    } catch (const DataError& error) {
      for (const std::string& word : words) {
        EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << word << " in: " << error.what();
      }
    }
  }

 private:
  TemporaryDirectory directory_;
  LlamaSimpleMlpCheckpoint checkpoint_;
};

class GoldenLogits : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenLogits, AreMatched) {
  const Copy copy(GetParam());
  at::Tensor expected = SafetensorsFile(golden(GetParam()) / "expected.safetensors").load("logits");
  expected = expected.flatten(0, 1);
  const double largest = expected.abs().max().item<double>();
  for (const auto& [type, relative] : {std::pair(at::kFloat, 1e-5), std::pair(at::kDouble, 1e-6)}) {
    expect_close(logits(copy.read(), tokens_of(GetParam()), type), expected.to(type),
                 {.absolute = relative * largest}, at::toString(type));
  }
}

INSTANTIATE_TEST_SUITE_P(Llama, GoldenLogits, ::testing::Values("plain", "grouped"));

TEST(Llama, HeadThatRepeatsTheEmbeddingGivesTheSameLogits) {
  Copy copy("plain");
  const at::Tensor tokens = tokens_of("plain"), tied = logits(copy.read(), tokens, at::kFloat);
  copy.weights().emplace_back("lm_head.weight", copy.weight("wte.weight").clone());
  copy.write();
  std::vector<std::string> warnings;
  EXPECT_TRUE(describe_llama_simple_mlp(copy.path(), warnings).second);
  expect_identical(logits(copy.read(), tokens, at::kFloat), tied, "logits");
  copy.weight("lm_head.weight").neg_();
  copy.write();
  expect_identical(logits(copy.read(), tokens, at::kFloat), tied.neg(), "logits of the negated head");
}

// safetensors' save_model() keeps one name of what two modules share.
TEST(Llama, AHeadAloneIsTheEmbeddingToo) {
  Copy copy("plain");
  const at::Tensor tokens = tokens_of("plain"), expected = logits(copy.read(), tokens, at::kFloat);
  copy.weights().front().first = "lm_head.weight";
  copy.write();
  std::vector<std::string> warnings;
  EXPECT_FALSE(describe_llama_simple_mlp(copy.path(), warnings).second);
  EXPECT_EQ(copy.read(warnings).weights.front().first, "wte.weight");
  expect_identical(logits(copy.read(), tokens, at::kFloat), expected, "logits");
  EXPECT_TRUE(warnings.empty()) << warnings.front();
  std::string text = read_text(copy.path() / "model_config.json");
  write_atomically(copy.path() / "model_config.json", text.insert(1, "\"tie_word_embeddings\": false,"));
  copy.expect_refused({"'wte.weight' and 'lm_head.weight'", "tie_word_embeddings: false", "one of the two"});
}

// The original code takes the last angles that it has for all positions beyond.
TEST(Llama, PositionsBeyondItsAnglesHaveTheLast) {
  const Copy copy("plain");
  LlamaSimpleMlpCheckpoint checkpoint = copy.read();
  ASSERT_EQ(checkpoint.config.block_size, 32);
  const at::Tensor tokens = at::arange(32, at::kLong).unsqueeze(0);
  const at::Tensor whole = logits(checkpoint, tokens, at::kDouble);
  checkpoint.config.n_ctx = 5;
  const at::Tensor short_table = logits(checkpoint, tokens, at::kDouble);
  expect_identical(short_table.narrow(0, 0, 5), whole.narrow(0, 0, 5), "before the end of the table");
  EXPECT_GT((short_table - whole).narrow(0, 5, 27).abs().max().item<double>(), 1e-3);
  // Where all positions have the angles of the first, rotation does nothing, nor does its base.
  checkpoint.config.n_ctx = 1;
  const at::Tensor unrotated = logits(checkpoint, tokens, at::kDouble);
  checkpoint.config.rotary_base = 3.0;
  expect_identical(logits(checkpoint, tokens, at::kDouble), unrotated, "without angles");
}

TEST(Llama, MatricesComeInTheOrderOfTheForwardPassTheHeadLast) {
  const LlamaSimpleMlpCheckpoint checkpoint = Copy("plain").read();
  const LlamaSimpleMlp target(checkpoint.config, checkpoint.weights, {});
  std::vector<std::string> names;
  for (const Matrix& matrix : target.matrices()) {
    EXPECT_EQ(matrix.index, names.size());
    EXPECT_EQ(matrix.in_block, matrix.name != "lm_head" && matrix.name != "wte");
    EXPECT_EQ(matrix.embedding, matrix.name == "wte");
    names.push_back(matrix.name);
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{"wte", "h.0.attn.q_proj", "h.0.attn.k_proj", "h.0.attn.v_proj",
                                      "h.0.attn.o_proj", "h.0.mlp.c_fc", "h.0.mlp.down_proj",
                                      "h.1.attn.q_proj", "h.1.attn.k_proj", "h.1.attn.v_proj",
                                      "h.1.attn.o_proj", "h.1.mlp.c_fc", "h.1.mlp.down_proj", "lm_head"}));
}

TEST(Llama, LongerSequenceThanTheTableIsRefused) {
  const LlamaSimpleMlpCheckpoint checkpoint = Copy("plain").read();
  EXPECT_THROW(logits(checkpoint, at::zeros({1, 33}, at::kLong), at::kFloat), UsageError);
  EXPECT_EQ(logits(checkpoint, at::zeros({1, 32}, at::kLong), at::kFloat).size(0), 32);
}

TEST(Llama, WeightsWithoutOneNameAreRefused) {
  LlamaSimpleMlpCheckpoint checkpoint = Copy("plain").read();
  std::erase_if(checkpoint.weights, [](const auto& entry) { return entry.first == "ln_f.weight"; });
  EXPECT_THROW(LlamaSimpleMlp(checkpoint.config, checkpoint.weights, {}), UsageError);
}

TEST(LlamaFiles, BuffersAreWarnedAbout) {
  Copy copy("plain");
  copy.weights().emplace_back("h.0.attn.rotary_sin", at::zeros({32, 8}));
  copy.write();
  std::vector<std::string> warnings;
  EXPECT_EQ(copy.read(warnings).weights.size(), copy.weights().size() - 1);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings.front().find("h.0.attn.rotary_sin"), std::string::npos) << warnings.front();
}

TEST(LlamaFiles, MissingTensorIsRefused) {
  Copy copy("grouped");
  std::erase_if(copy.weights(), [](const auto& entry) { return entry.first == "h.1.attn.k_proj.bias"; });
  copy.write();
  copy.expect_refused({"h.1.attn.k_proj.bias", "model.safetensors"});
}

TEST(LlamaFiles, NamesWithSomethingInFrontAreForImport) {
  Copy copy("plain");
  for (auto& [name, weight] : copy.weights()) name = "model." + name;
  copy.write();
  copy.expect_refused({"expected a tensor 'wte.weight'", "vpd import"});
}

TEST(LlamaFiles, HiddenFilesAreNoWeights) {
  const Copy copy("plain");
  write_atomically(copy.path() / "._model.safetensors", "x");
  EXPECT_EQ(copy.read().weights.size(), 18u);
}

TEST(LlamaFiles, WrongShapeIsRefused) {
  Copy copy("plain");
  copy.weight("h.1.mlp.c_fc.weight") = copy.weight("h.1.mlp.c_fc.weight").t().contiguous();
  copy.write();
  copy.expect_refused({"h.1.mlp.c_fc.weight", "[96, 24]", "[24, 96]"});
}

TEST(LlamaFiles, WhatIsNotFiniteIsRefused) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    Copy copy("plain");
    copy.weight("h.0.attn.o_proj.weight")[3][5] = bad;
    copy.write();
    copy.expect_refused({"h.0.attn.o_proj.weight", "[3, 5]"});
  }
}

TEST(LlamaFiles, TruncatedFileIsRefused) {
  const Copy copy("plain");
  fs::resize_file(copy.path() / "model.safetensors", fs::file_size(copy.path() / "model.safetensors") - 100);
  copy.expect_refused({"model.safetensors", "truncated"});
}

TEST(LlamaFiles, TwoWeightFilesAreRefused) {
  const Copy copy("plain");
  fs::copy_file(copy.path() / "model.safetensors", copy.path() / "older.safetensors");
  copy.expect_refused({"one .safetensors file", "found 2", "model.safetensors", "older.safetensors"});
}

TEST(LlamaFiles, MissingFilesAreRefused) {
  const Copy weights("plain"), config("plain");
  fs::remove(weights.path() / "model.safetensors");
  weights.expect_refused({"one .safetensors file", "found 0"});
  fs::remove(config.path() / "model_config.json");
  config.expect_refused({"model_config.yaml or model_config.json"});
  std::vector<std::string> warnings;
  EXPECT_THROW(read_llama_simple_mlp(config.path() / "nowhere", warnings), DataError);
}

TEST(LlamaInitial, HasTheSpreadOfTheMethod) {
  const LlamaSimpleMlpConfig config{.vocab_size = 100,
                                    .n_layer = 8,
                                    .n_head = 4,
                                    .n_embd = 64,
                                    .n_intermediate = 256,
                                    .n_key_value_heads = 2,
                                    .block_size = 16,
                                    .n_ctx = {},
                                    .attn_bias = true};
  for (const auto& [name, weight] : initial_llama_simple_mlp(config, 3)) {
    if (weight.dim() == 1) {
      EXPECT_TRUE(at::equal(weight, at::full_like(weight, name.ends_with("bias") ? 0.0 : 1.0))) << name;
      continue;
    }
    const bool writes_residual = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
    const double spread = writes_residual ? 0.02 / 4.0 : 0.02;  // sqrt(2 * 8 layers) = 4
    // Mean and standard deviation of n draws are off by a few times 1 / sqrt(n).
    const double slack = 5.0 * spread / std::sqrt(static_cast<double>(weight.numel()));
    EXPECT_NEAR(weight.mean().item<double>(), 0.0, slack) << name;
    EXPECT_NEAR(weight.std().item<double>(), spread, slack) << name;
  }
}

TEST(LlamaInitial, IsAFunctionOfTheSeed) {
  const LlamaSimpleMlpConfig config = Copy("plain").read().config;
  const NamedTensors a = initial_llama_simple_mlp(config, 7), b = initial_llama_simple_mlp(config, 7),
                     c = initial_llama_simple_mlp(config, 8);
  for (std::size_t i = 0; i < a.size(); ++i) {
    expect_identical(a[i].second, b[i].second, a[i].first);
    EXPECT_EQ(at::equal(a[i].second, c[i].second), a[i].second.dim() == 1) << a[i].first;
  }
}

}  // namespace
}  // namespace vpd::testing
