// Checkpoints that Hugging Face's transformers wrote, and the logits that it computed of them
// (tests/data/huggingface/make.py). VPD_TEST_HUGGINGFACE names another directory of such checkpoints.

#include "vpd/target/huggingface.hpp"

#include <algorithm>
#include <cstdlib>
#include <limits>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/support.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "support/places.hpp"
#include "vpd/io/files.hpp"
#include "vpd/target/llama.hpp"

namespace vpd::testing {
namespace {

namespace fs = std::filesystem;

fs::path root() {
  const char* other = std::getenv("VPD_TEST_HUGGINGFACE");
  return other ? fs::path(other) : test_data() / "huggingface";
}

std::vector<std::string> checkpoints() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(root())) {
    if (entry.is_directory()) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// A golden checkpoint whose files a test may spoil.
class CheckpointCopy {
 public:
  explicit CheckpointCopy(const std::string& name) {
    fs::copy(root() / name, directory_.path(), fs::copy_options::recursive);
  }

  fs::path operator/(const std::string& name) const { return directory_ / name; }

  void replace_in_config(const std::string& from, const std::string& to) const {
    std::string text = read_text(directory_ / "config.json");
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    write_atomically(directory_ / "config.json", text.replace(at, from.size(), to));
  }

  /// Rewrites model.safetensors with what `change` makes of its tensors.
  template <class Change>
  void rewrite(const Change& change) const {
    NamedTensors tensors;
    {
      const SafetensorsFile file(directory_ / "model.safetensors");
      for (const TensorInfo& info : file.tensors()) tensors.emplace_back(info.name, file.load(info.name));
    }
    change(tensors);
    save_safetensors(directory_ / "model.safetensors", tensors);
  }

  HuggingFaceCheckpoint read() const {
    std::vector<std::string> warnings;
    return read(warnings);
  }
  HuggingFaceCheckpoint read(std::vector<std::string>& warnings) const {
    return read_huggingface(directory_.path(), warnings);
  }
  HuggingFaceConfig describe() const {
    std::vector<std::string> warnings;
    return describe_huggingface(directory_.path(), warnings);
  }

 private:
  TemporaryDirectory directory_;
};

at::Tensor& named(NamedTensors& tensors, const std::string& name) {
  for (auto& [other, tensor] : tensors) {
    if (other == name) return tensor;
  }
  throw std::runtime_error("no tensor named " + name);
}

at::Tensor logits(const HuggingFaceCheckpoint& checkpoint, const at::Tensor& tokens,
                  const Numerics& numerics) {
  const at::NoGradGuard no_grad;
  const std::unique_ptr<Target> target = make_target(checkpoint, numerics);
  PlainExecutor executor;
  return target->forward(tokens.to(numerics.device), executor);
}

/// What bfloat16 does to one logit a sharp attention may make large; what it does to all of them it may not.
void expect_rounded(const HuggingFaceCheckpoint& checkpoint, const at::Tensor& tokens,
                    const at::Tensor& expected, const at::Device& device) {
  const at::Tensor found = logits(checkpoint, tokens, {.device = device, .compute = at::kBFloat16});
  EXPECT_LE((found.cpu().to(at::kFloat) - expected).norm().item<double>(),
            0.1 * expected.norm().item<double>())
      << "bf16 on " << device;
}

class HuggingFaceLogits : public ::testing::TestWithParam<std::string> {};

TEST_P(HuggingFaceLogits, AreThoseOfTransformers) {
  std::vector<std::string> warnings;
  const HuggingFaceCheckpoint checkpoint = read_huggingface(root() / GetParam(), warnings);
  EXPECT_EQ(warnings.empty(), !GetParam().starts_with("warned_"))
      << (warnings.empty() ? "" : warnings.front());
  const SafetensorsFile file(root() / GetParam() / "expected.safetensors");
  const at::Tensor expected = file.load("logits").flatten(0, 1), tokens = file.load("tokens");
  const double largest = expected.abs().max().item<double>();
  EXPECT_GT(largest, 0.5);
  // Transformers takes rotary angles and norms in float32, whatever the model's type: an angle of 30 is then
  // off by up to 2e-6.
  for (const auto& [type, relative] : {std::pair(at::kFloat, 1e-5), std::pair(at::kDouble, 4e-6)}) {
    const at::Tensor found = logits(checkpoint, tokens, {.compute = type, .wide = type});
    expect_close(found, expected.to(type), {.absolute = relative * largest}, at::toString(type));
  }
  expect_rounded(checkpoint, tokens, expected, at::kCPU);
}

TEST_P(HuggingFaceLogits, OnCudaAreThoseOfTransformers) {
  if (!cuda_is_usable()) GTEST_SKIP() << "NOT TESTED: this build or this machine has no CUDA";
  std::vector<std::string> warnings;
  const HuggingFaceCheckpoint checkpoint = read_huggingface(root() / GetParam(), warnings);
  const SafetensorsFile file(root() / GetParam() / "expected.safetensors");
  const at::Tensor expected = file.load("logits").flatten(0, 1), tokens = file.load("tokens");
  const at::Tensor found = logits(checkpoint, tokens, {.device = at::kCUDA, .compute = at::kFloat});
  expect_close(found.cpu(), expected, {.absolute = 1e-5 * expected.abs().max().item<double>()}, "float32");
  expect_rounded(checkpoint, tokens, expected, at::kCUDA);
}

TEST_P(HuggingFaceLogits, OfTheDescriptionAreThoseOfTheTarget) {
  std::vector<std::string> warnings;
  const HuggingFaceCheckpoint checkpoint = read_huggingface(root() / GetParam(), warnings);
  EXPECT_EQ(describe_huggingface(root() / GetParam(), warnings), checkpoint.config);
  std::int64_t elements = 0;
  for (const auto& [name, weight] : checkpoint.weights) elements += weight.numel();
  EXPECT_EQ(architecture_of(checkpoint.config).parameters, elements);
  for (const auto& [name, weight] : checkpoint.weights) EXPECT_TRUE(weight.is_contiguous()) << name;
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, HuggingFaceLogits, ::testing::ValuesIn(checkpoints()),
                         [](const auto& checkpoint) { return checkpoint.param; });

TEST(HuggingFace, MatricesOfGpt2AreSplitAndNamed) {
  const std::unique_ptr<Target> target = make_target(CheckpointCopy("gpt2").read(), {});
  std::vector<std::string> names;
  for (const Matrix& matrix : target->matrices()) names.push_back(matrix.name);
  EXPECT_EQ(names, (std::vector<std::string>{
                       "wte", "h.0.attn.q_proj", "h.0.attn.k_proj", "h.0.attn.v_proj", "h.0.attn.c_proj",
                       "h.0.mlp.c_fc", "h.0.mlp.c_proj", "h.1.attn.q_proj", "h.1.attn.k_proj",
                       "h.1.attn.v_proj", "h.1.attn.c_proj", "h.1.mlp.c_fc", "h.1.mlp.c_proj", "lm_head"}));
  EXPECT_FALSE(target->head()->bias.value.defined());
  EXPECT_EQ(target->matrices()[5].d_in(), 24);
  EXPECT_EQ(target->matrices()[5].d_out(), 96);
  EXPECT_EQ(target->matrices().front().d_in(), 61);
  EXPECT_EQ(target->matrices().front().d_out(), 24);
}

TEST(HuggingFace, ABaseModelsCheckpointHasNoPrefix) {
  const CheckpointCopy copy("gpt2");
  const NamedTensors before = copy.read().weights;
  copy.rewrite([](NamedTensors& tensors) {
    for (auto& [name, tensor] : tensors) name = name.substr(name.find('.') + 1);
    // What older versions stored beside the weights.
    tensors.emplace_back("h.0.attn.bias", at::ones({1, 1, 20, 20}, at::kBool));
    tensors.emplace_back("h.1.attn.masked_bias", at::full({}, -1e4));
  });
  std::vector<std::string> warnings;
  const NamedTensors after = copy.read(warnings).weights;
  EXPECT_TRUE(warnings.empty()) << warnings.front();
  ASSERT_EQ(before.size(), after.size());
  for (std::size_t i = 0; i < before.size(); ++i)
    expect_identical(after[i].second, before[i].second, before[i].first);
}

// Logits of a checkpoint after `change` to its tensors are those before it.
template <class Change>
void expect_same_logits(const std::string& name, const Change& change) {
  const CheckpointCopy copy(name);
  const at::Tensor tokens = SafetensorsFile(root() / name / "expected.safetensors").load("tokens");
  const at::Tensor before = logits(copy.read(), tokens, {});
  copy.rewrite(change);
  std::vector<std::string> warnings;
  expect_identical(logits(copy.read(warnings), tokens, {}), before, name);
  EXPECT_TRUE(warnings.empty()) << name << ": " << warnings.front();
  EXPECT_EQ(copy.describe(), copy.read().config);
}

// safetensors' save_model() keeps one name of what two modules share.
TEST(HuggingFace, ATiedHeadMayHaveEitherName) {
  for (const char* name : {"gpt2", "llama_stretched"}) {
    const auto rename = [](NamedTensors& tensors) {
      for (auto& [tensor, values] : tensors) {
        if (tensor.ends_with("wte.weight") || tensor.ends_with("embed_tokens.weight"))
          tensor = "lm_head.weight";
      }
    };
    expect_same_logits(name, rename);
    expect_same_logits(name, [&](NamedTensors& tensors) {
      rename(tensors);
      for (auto& [tensor, values] : tensors) {
        for (const std::string prefix : {"model.", "transformer."}) {
          if (tensor.starts_with(prefix)) tensor = tensor.substr(prefix.size());
        }
      }
    });
  }
}

TEST(HuggingFace, ATiedHeadThatIsStoredTwice) {
  const CheckpointCopy copy("gpt2");
  copy.rewrite([](NamedTensors& tensors) {
    tensors.emplace_back("lm_head.weight", named(tensors, "transformer.wte.weight").clone());
  });
  std::vector<std::string> warnings;
  copy.read(warnings);
  EXPECT_TRUE(warnings.empty()) << warnings.front();
  copy.rewrite([](NamedTensors& tensors) { named(tensors, "lm_head.weight")[3][2] += 1.0; });
  // As transformers has it: a head that differs is not tied, whatever config.json says.
  const HuggingFaceCheckpoint untied = copy.read(warnings);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("lm_head.weight and transformer.wte.weight differ although tie_word_embeddings"),
            std::string::npos)
      << warnings[0];
  EXPECT_EQ(untied.weights.back().first, "lm_head.weight");
  EXPECT_EQ(copy.describe(), untied.config);
  copy.replace_in_config("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
  warnings.clear();
  EXPECT_EQ(copy.read(warnings).config, untied.config);
  EXPECT_TRUE(warnings.empty());
}

TEST(HuggingFace, ATensorOfAnUnknownDtypeMattersWhereItIsAWeight) {
  const CheckpointCopy copy("gpt2");
  copy.rewrite([](NamedTensors& tensors) { tensors.emplace_back("scales", at::zeros({4}, at::kByte)); });
  const fs::path path = copy / "model.safetensors";
  const std::string text = read_text(path), known = "\"dtype\":\"U8\"";
  ASSERT_NE(text.find(known), std::string::npos);
  // Of the same length, so that the header keeps its own.
  write_atomically(path, std::string(text).replace(text.find(known), known.size(), "\"dtype\":\"F8\""));
  std::vector<std::string> warnings;
  copy.read(warnings);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("passed over: scales"), std::string::npos) << warnings[0];
  write_atomically(path, std::string(text).replace(text.find("\"dtype\":\"F32\""), 13, "\"dtype\":\"F8X\""));
  EXPECT_DATA_ERROR("expected a floating-point dtype (F64, F32, F16 or BF16), found F8X", copy.describe());
}

TEST(HuggingFace, UnknownTensorsArePassedOver) {
  const CheckpointCopy copy("qwen3");
  copy.rewrite([](NamedTensors& tensors) { tensors.emplace_back("model.vision.weight", at::zeros({2})); });
  std::vector<std::string> warnings;
  copy.read(warnings);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings.front().find("a tensor that is not part of a Qwen3 passed over: model.vision.weight"),
            std::string::npos)
      << warnings.front();
}

TEST(HuggingFace, LongerSequencesThanItsPositionsAreRefused) {
  const HuggingFaceCheckpoint checkpoint = CheckpointCopy("gpt2").read();
  EXPECT_EQ(logits(checkpoint, at::zeros({1, 20}, at::kLong), {}).size(0), 20);
  EXPECT_THROW(logits(checkpoint, at::zeros({1, 21}, at::kLong), {}), UsageError);
  EXPECT_THROW(logits(CheckpointCopy("llama").read(), at::zeros({1, 65}, at::kLong), {}), UsageError);
}

TEST(HuggingFace, WeightsWithoutOneNameAreRefused) {
  for (const char* name : {"gpt2", "qwen3"}) {
    HuggingFaceCheckpoint checkpoint = CheckpointCopy(name).read();
    checkpoint.weights.pop_back();
    EXPECT_THROW(make_target(checkpoint, {}), UsageError) << name;
  }
}

TEST(HuggingFaceFiles, MissingTensorsAreNamed) {
  const CheckpointCopy copy("gpt2");
  copy.rewrite([](NamedTensors& tensors) {
    std::erase_if(tensors, [](const auto& entry) { return entry.first.ends_with("h.1.attn.c_attn.bias"); });
  });
  EXPECT_DATA_ERROR("expected a tensor 'transformer.h.1.attn.c_attn.bias'", copy.read());
  EXPECT_DATA_ERROR("expected a tensor 'transformer.h.1.attn.c_attn.bias'", copy.describe());
  const CheckpointCopy untied("qwen3");
  untied.rewrite([](NamedTensors& tensors) {
    std::erase_if(tensors, [](const auto& entry) { return entry.first == "lm_head.weight"; });
  });
  EXPECT_DATA_ERROR("expected a tensor 'lm_head.weight'", untied.describe());
}

TEST(HuggingFaceFiles, WrongShapesAreNamed) {
  const CheckpointCopy copy("gpt2");
  copy.rewrite([](NamedTensors& tensors) {
    at::Tensor& weight = named(tensors, "transformer.h.0.mlp.c_fc.weight");
    weight = weight.t().contiguous();
  });
  EXPECT_DATA_ERROR("'transformer.h.0.mlp.c_fc.weight': expected the shape [24, 96], found [96, 24]",
                    copy.describe());
  copy.replace_in_config("\"vocab_size\": 61", "\"vocab_size\": 62");
  EXPECT_DATA_ERROR("expected the shape [62, 24], found [61, 24]", copy.read());
}

TEST(HuggingFaceFiles, WhatIsNotFiniteIsNamed) {
  const CheckpointCopy copy("gpt2");
  copy.rewrite([](NamedTensors& tensors) {
    named(tensors, "transformer.h.1.attn.c_attn.weight")[3][50] = std::numeric_limits<double>::quiet_NaN();
  });
  EXPECT_NO_THROW(copy.describe());
  EXPECT_DATA_ERROR(
      "c_attn.weight': expected finite values, found 1 that is NaN or infinite, first at index [3, 50]",
      copy.read());
}

TEST(HuggingFaceFiles, DamagedOnesAreNamed) {
  const CheckpointCopy copy("gpt2"), shards("llama");
  fs::resize_file(copy / "model.safetensors", fs::file_size(copy / "model.safetensors") - 100);
  EXPECT_DATA_ERROR("truncated", copy.read());
  fs::remove(shards / "model-00002-of-00003.safetensors");
  EXPECT_DATA_ERROR("expected the shard model-00002-of-00003.safetensors", shards.read());
  fs::remove(copy / "config.json");
  EXPECT_DATA_ERROR("expected config.json beside model.safetensors", copy.read());
  write_atomically(copy / "model_config.json", "{}");
  EXPECT_DATA_ERROR("the target's type is llama_simple_mlp", copy.read());
  std::vector<std::string> warnings;
  EXPECT_DATA_ERROR("expected a directory", read_huggingface(copy / "nowhere", warnings));
}

TEST(HuggingFaceFiles, OtherFamiliesAreRefused) {
  const CheckpointCopy copy("llama");
  std::vector<std::string> warnings;
  const Gpt2Target target{(copy / "config.json").parent_path()};
  EXPECT_DATA_ERROR("expected a model of the GPT-2 family, as target.type says, found Llama",
                    load_target(target, {}, warnings));
  EXPECT_DATA_ERROR("write type: hf", describe_target(target, warnings));
  copy.replace_in_config("\"model_type\": \"llama\"", "\"model_type\": \"mamba\"");
  EXPECT_DATA_ERROR("model_type: expected one of gpt2, llama, qwen2, qwen3, found the text \"mamba\"",
                    copy.read());
}

TEST(RopeFrequencies, OfLlama3KeepFastPairsAndStretchSlowOnes) {
  const RopeParameters standard{.rope_theta = 10000.0};
  const RopeParameters llama3{.rope_type = RopeType::llama3,
                              .rope_theta = 10000.0,
                              .factor = 8.0,
                              .low_freq_factor = 1.0,
                              .high_freq_factor = 4.0,
                              .original_max_position_embeddings = 64};
  const auto options = at::TensorOptions(at::kDouble);
  const at::Tensor ratio = rope_frequencies(llama3, 16, options) / rope_frequencies(standard, 16, options);
  // Turns within 64 positions: 10.2 / 10^(j / 2). The first pair turns more than 4 times, the third about
  // once.
  EXPECT_EQ(ratio[0].item<double>(), 1.0);
  const double turns = 64.0 / (2.0 * M_PI) * std::pow(10.0, -0.5), stays = (turns - 1.0) / 3.0;
  EXPECT_NEAR(ratio[1].item<double>(), stays + (1.0 - stays) / 8.0, 1e-12);
  EXPECT_NEAR(ratio[3].item<double>(), 1.0 / 8.0, 1e-15);
  EXPECT_NEAR(ratio[7].item<double>(), 1.0 / 8.0, 1e-15);
}

}  // namespace
}  // namespace vpd::testing
