#include "vpd/target/huggingface_config.hpp"

#include <gtest/gtest.h>

#include "config/support.hpp"

namespace vpd {
namespace {

// As files of the original GPT-2 are: keys of old, and none for what was always so.
constexpr const char* gpt2 = R"({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 61,
  "n_ctx": 20, "n_positions": 20, "n_embd": 24, "n_layer": 2, "n_head": 3, "layer_norm_epsilon": 1e-05,
  "activation_function": "gelu_new", "attn_pdrop": 0.1, "bos_token_id": 50256, "summary_type": "cls_index",
  "task_specific_params": {"text-generation": {"do_sample": true}}, "_name_or_path": "x"})";

constexpr const char* llama = R"({"model_type": "llama", "vocab_size": 61, "hidden_size": 24,
  "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
  "max_position_embeddings": 64, "rms_norm_eps": 1e-05, "hidden_act": "silu", "rope_theta": 500.0,
  "rope_scaling": null, "attention_bias": false, "mlp_bias": true, "torch_dtype": "bfloat16", "head_dim": null,
  "pretraining_tp": 1, "use_cache": true})";

class HuggingFaceConfigTest : public ::testing::Test {
 protected:
  // `text` with one piece of it replaced.
  std::filesystem::path file(std::string text, const std::string& from = "", const std::string& to = "") {
    if (!from.empty()) {
      EXPECT_NE(text.find(from), std::string::npos) << from;
      text.replace(text.find(from), from.size(), to);
    }
    return scratch.write("config.json", text);
  }
  Gpt2Config read_gpt2(const std::string& from = "", const std::string& to = "") {
    return std::get<Gpt2Config>(read_huggingface_config(file(gpt2, from, to), warnings));
  }
  LlamaConfig read_llama(const std::string& from = "", const std::string& to = "") {
    return std::get<LlamaConfig>(read_huggingface_config(file(llama, from, to), warnings));
  }
  std::string message(const char* text, const std::string& from, const std::string& to) {
    const std::filesystem::path path = file(text, from, to);
    const std::string error = error_of<DataError>([&] { read_huggingface_config(path, warnings); });
    return error.empty() ? "" : error.substr(path.string().size() + 2);
  }
  // Adds keys.
  std::string gpt2_message(const std::string& keys) { return message(gpt2, "{", "{" + keys + ", "); }
  std::string llama_message(const std::string& keys) { return message(llama, "{", "{" + keys + ", "); }
  std::string rope_message(const std::string& keys) {
    return message(llama, "\"rope_scaling\": null", "\"rope_scaling\": {" + keys + "}");
  }
  // The whole of a Llama's rotary keys.
  RopeParameters rope(const std::string& keys) {
    warnings.clear();
    return read_llama("\"rope_theta\": 500.0,\n  \"rope_scaling\": null", keys).rope;
  }
  // The warnings without the file's name, each ended.
  std::string said() {
    std::string all;
    for (const std::string& warning : warnings)
      all += warning.substr((scratch.path() / "config.json").string().size() + 2) + "\n";
    warnings.clear();
    return all;
  }

  ScratchDirectory scratch;
  std::vector<std::string> warnings;
};

TEST_F(HuggingFaceConfigTest, Gpt2) {
  const Gpt2Config expected{.vocab_size = 61, .n_positions = 20, .n_embd = 24, .n_layer = 2, .n_head = 3};
  EXPECT_EQ(read_gpt2(), expected);
  EXPECT_TRUE(warnings.empty()) << warnings.front();
  EXPECT_TRUE(expected.tie_word_embeddings);
  EXPECT_EQ(expected.d_mlp(), 96);
  EXPECT_EQ(expected.head_width(), 8);
  EXPECT_EQ(read_gpt2("\"n_ctx\": 20", "\"n_inner\": 7").d_mlp(), 7);
  EXPECT_EQ(read_gpt2("gelu_new", "gelu").activation_function, GeluForm::exact);
  for (const char* tanh : {"gelu_pytorch_tanh", "gelu_fast", "gelu_accurate", "gelu_python_tanh"})
    EXPECT_EQ(read_gpt2("gelu_new", tanh).activation_function, GeluForm::tanh) << tanh;
  EXPECT_EQ(read_gpt2("gelu_new", "gelu_python").activation_function, GeluForm::exact);
}

// The package reads both, and believes the longer ones.
TEST_F(HuggingFaceConfigTest, Gpt2HasOtherNamesForFourKeys) {
  const Gpt2Config model = read_gpt2("\"n_positions\": 20, \"n_embd\": 24, \"n_layer\": 2, \"n_head\": 3",
                                     "\"max_position_embeddings\": 20, \"hidden_size\": 24, "
                                     "\"num_hidden_layers\": 2, \"num_attention_heads\": 3");
  EXPECT_EQ(model,
            (Gpt2Config{.vocab_size = 61, .n_positions = 20, .n_embd = 24, .n_layer = 2, .n_head = 3}));
  EXPECT_EQ(said(), "");
  EXPECT_EQ(read_gpt2("{", "{\"num_hidden_layers\": 1, ").n_layer, 1);
  EXPECT_EQ(said(), "n_layer: has no effect beside num_hidden_layers, which is 1\n");
}

TEST_F(HuggingFaceConfigTest, Llama) {
  const LlamaConfig model = read_llama();
  EXPECT_TRUE(warnings.empty()) << warnings.front();
  EXPECT_EQ(model.family, LlamaFamily::llama);
  EXPECT_EQ(model.key_heads(), 2);
  EXPECT_EQ(model.head_width(), 6);
  EXPECT_EQ(model.rms_norm_eps, 1e-5);
  EXPECT_EQ(model.rope.rope_theta, 500.0);
  EXPECT_FALSE(model.tie_word_embeddings);
  EXPECT_FALSE(model.qkv_bias() || model.output_bias() || model.head_norms());
  EXPECT_TRUE(model.mlp_bias);
  EXPECT_EQ(read_llama("\"head_dim\": null", "\"head_dim\": 10").head_width(), 10);
  EXPECT_EQ(read_llama("\"num_key_value_heads\": 2", "\"num_key_value_heads\": null").key_heads(), 4);
  EXPECT_EQ(read_llama("\"num_key_value_heads\": 2,", "").key_heads(), 4);
  const LlamaConfig biased = read_llama("\"attention_bias\": false", "\"attention_bias\": true");
  EXPECT_TRUE(biased.qkv_bias() && biased.output_bias());
}

TEST_F(HuggingFaceConfigTest, Qwen) {
  const LlamaConfig qwen2 = read_llama("\"llama\"", "\"qwen2\"");
  EXPECT_EQ(said(),
            "attention_bias: has no effect where model_type is qwen2, found false\n"
            "mlp_bias: has no effect where model_type is qwen2, found true\n");
  EXPECT_EQ(qwen2.family, LlamaFamily::qwen2);
  EXPECT_TRUE(qwen2.qkv_bias());
  EXPECT_FALSE(qwen2.output_bias() || qwen2.head_norms() || qwen2.mlp_bias);
  const LlamaConfig qwen3 =
      read_llama("\"model_type\": \"llama\"",
                 "\"model_type\": \"qwen3\", \"use_sliding_window\": false, \"sliding_window\": null, "
                 "\"layer_types\": [\"full_attention\", \"full_attention\"], \"max_window_layers\": 2");
  EXPECT_TRUE(qwen3.head_norms());
  EXPECT_FALSE(qwen3.qkv_bias());
  EXPECT_EQ(qwen3.head_width(), 6);
  EXPECT_EQ(said(), "mlp_bias: has no effect where model_type is qwen3, found true\n");
  EXPECT_EQ(family_of(qwen3), "Qwen3");
  EXPECT_EQ(family_of(qwen2), "Qwen2");
  EXPECT_EQ(family_of(Gpt2Config{}), "GPT-2");
  // Without the key its package takes 128; null is the share of a head.
  std::string text = llama;
  text.replace(text.find("\"llama\""), 7, "\"qwen3\"");
  EXPECT_EQ(std::get<LlamaConfig>(read_huggingface_config(file(text, "\"head_dim\": null,", ""), warnings))
                .head_width(),
            128);
  // And 32 key and value heads, of which 4 query heads cannot be.
  EXPECT_EQ(message(text.c_str(), "\"num_key_value_heads\": 2,", ""),
            "num_key_value_heads: expected a divisor of num_attention_heads, which is 4, found 32");
}

// Only what a model reads can change it.
TEST_F(HuggingFaceConfigTest, KeysOfRelativesHaveNoEffect) {
  for (const char* silent : {"\"use_sliding_window\": false", "\"sliding_window\": null",
                             "\"layer_types\": [\"full_attention\", \"full_attention\"]"}) {
    read_llama("{", std::string("{") + silent + ", ");
    EXPECT_EQ(said(), "") << silent;
  }
  read_llama(
      "{",
      "{\"use_sliding_window\": true, \"sliding_window\": 4, \"layer_types\": [\"sliding_attention\"], ");
  EXPECT_EQ(said(),
            "use_sliding_window: has no effect where model_type is llama, found true\n"
            "sliding_window: has no effect where model_type is llama, found the number 4\n"
            "layer_types: has no effect where model_type is llama, found a list of 1 entry\n");
}

TEST_F(HuggingFaceConfigTest, WindowsThatReachEverythingAreNone) {
  const auto qwen = [&](const std::string& keys) {
    return message(llama, "\"llama\"", "\"qwen2\", " + keys);
  };
  const std::string refused = "use_sliding_window: expected false, found true: this is not supported";
  const std::string types =
      "layer_types: expected full_attention everywhere, found \"sliding_attention\": this is not supported";
  EXPECT_EQ(qwen(R"("use_sliding_window": true, "sliding_window": 4, "max_window_layers": 1)"), refused);
  EXPECT_EQ(qwen(R"("use_sliding_window": true, "sliding_window": 4, "max_window_layers": 2)"), "");
  EXPECT_EQ(qwen(R"("use_sliding_window": true, "sliding_window": 4)"), "");  // from block 28 on
  EXPECT_EQ(qwen(R"("use_sliding_window": true, "sliding_window": 63, "max_window_layers": 0)"), refused);
  EXPECT_EQ(qwen(R"("use_sliding_window": true, "sliding_window": 64, "max_window_layers": 0)"), "");
  EXPECT_EQ(qwen(R"("use_sliding_window": true, "sliding_window": null, "max_window_layers": 0)"), "");
  EXPECT_EQ(qwen(R"("use_sliding_window": false, "sliding_window": 4, "max_window_layers": 0)"), "");
  const std::string listed = R"("layer_types": ["full_attention", "sliding_attention"], "sliding_window": 4)";
  EXPECT_EQ(qwen(listed), types);
  EXPECT_EQ(qwen(listed + R"(, "use_sliding_window": true)"), types);
  EXPECT_EQ(qwen(R"("layer_types": ["full_attention", "sliding_attention"], "sliding_window": 64,
                    "use_sliding_window": true)"),
            "");
  EXPECT_EQ(qwen(R"("layer_types": ["full_attention", "full_attention"], "sliding_window": 4,
                    "use_sliding_window": true, "max_window_layers": 0)"),
            "");
}

TEST_F(HuggingFaceConfigTest, RotaryEmbeddingOfOldAndNewFiles) {
  const RopeParameters old =
      read_llama("\"rope_scaling\": null", R"("rope_scaling": {"type": "linear", "factor": 2})").rope;
  EXPECT_EQ(old.rope_type, RopeType::linear);
  EXPECT_EQ(old.rope_theta, 500.0);
  EXPECT_EQ(old.factor, 2.0);
  const RopeParameters both = read_llama("\"rope_scaling\": null",
                                         R"("rope_scaling": {"type": "x", "rope_type": "llama3", "factor": 8,
          "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 32})")
                                  .rope;
  EXPECT_EQ(both.rope_type, RopeType::llama3);
  EXPECT_EQ(both.original_max_position_embeddings, 32);
  const RopeParameters now = read_llama("\"rope_theta\": 500.0", R"("rope_parameters": {"rope_theta": 7.0,
          "rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4})")
                                 .rope;
  EXPECT_EQ(now.rope_theta, 7.0);
  EXPECT_EQ(now.original_max_position_embeddings, 64);
  EXPECT_EQ(read_llama("\"rope_theta\": 500.0,", "").rope.rope_theta, 10000.0);
}

// tests/target/huggingface_test.py compares what these give with transformers.
TEST_F(HuggingFaceConfigTest, OneRotaryKeyTakesThePlaceOfAnother) {
  const std::string scaling = R"("rope_scaling": {"type": "linear", "factor": 2})";
  const std::string parameters = R"("rope_parameters": {"rope_type": "default", "rope_theta": 300.0})";
  RopeParameters found = rope(scaling + ", " + parameters);
  EXPECT_EQ(found.rope_type, RopeType::linear);
  EXPECT_EQ(found.factor, 2.0);
  EXPECT_EQ(found.rope_theta, 10000.0);  // that of rope_parameters went with it
  EXPECT_EQ(
      said(),
      "rope_parameters: has no effect beside rope_scaling, which takes its place: rope_type is linear and "
      "rope_theta is 10000\n");
  EXPECT_EQ(rope(scaling + ", \"rope_theta\": 77.0, " + parameters).rope_theta, 77.0);
  EXPECT_EQ(rope(R"("rope_scaling": {"type": "linear", "factor": 2, "rope_theta": 5.0}, "rope_theta": 77.0)")
                .rope_theta,
            5.0);
  EXPECT_EQ(said(), "rope_theta: has no effect beside rope_scaling.rope_theta, which is 5.0\n");
  // The same twice is no contradiction, and nothing is nothing.
  EXPECT_EQ(rope(parameters + R"(, "rope_scaling": {"type": "default", "rope_theta": 300.0})").rope_theta,
            300.0);
  EXPECT_EQ(said(), "");
  for (const char* nothing : {"null", "{}", "false"}) {
    EXPECT_EQ(rope(parameters + ", \"rope_scaling\": " + nothing).rope_theta, 300.0) << nothing;
    EXPECT_EQ(said(), "") << nothing;
  }
  // What takes the place is not supported, or is although the other is not.
  const std::string yarn = R"({"rope_type": "yarn", "factor": 4.0})";
  EXPECT_EQ(message(llama, "\"rope_scaling\": null", "\"rope_scaling\": " + yarn + ", " + parameters)
                .find("rope_scaling.rope_type: expected one of default, linear, llama3, found \"yarn\""),
            0u);
  EXPECT_EQ(rope(scaling + ", \"rope_parameters\": " + yarn).rope_type, RopeType::linear);
}

TEST_F(HuggingFaceConfigTest, RotaryKeysThatATypeDoesNotReadAreWarnings) {
  EXPECT_EQ(rope(R"("rope_scaling": {"type": "linear", "factor": 2, "mscale": 3, "low_freq_factor": 1,
                                     "original_max_position_embeddings": 32})")
                .factor,
            2.0);
  EXPECT_EQ(said(),
            "rope_scaling.mscale: has no effect with rope_type linear\n"
            "rope_scaling.low_freq_factor: has no effect with rope_type linear\n");
  EXPECT_EQ(rope(R"("rope_scaling": {"factor": 2})").factor, std::nullopt);
  EXPECT_EQ(said(), "rope_scaling.factor: has no effect with rope_type default\n");
  rope(R"("rope_scaling": {"rope_type": "default", "factor": 1.0})");
  EXPECT_EQ(said(), "");
}

TEST_F(HuggingFaceConfigTest, TheOriginalContextMayStandOutside) {
  const std::string llama3 = R"("rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 1,
                                                 "high_freq_factor": 4%}, "original_max_position_embeddings": 16)";
  const auto with = [&](const std::string& inside) {
    std::string text = llama3;
    return rope(text.replace(text.find('%'), 1, inside));
  };
  EXPECT_EQ(with("").original_max_position_embeddings, 16);
  EXPECT_EQ(said(), "");
  EXPECT_EQ(with(", \"original_max_position_embeddings\": 32").original_max_position_embeddings, 16);
  EXPECT_EQ(
      said(),
      "rope_scaling.original_max_position_embeddings: has no effect beside original_max_position_embeddings "
      "outside of it, which is 16\n");
}

TEST_F(HuggingFaceConfigTest, OtherModelsAreRefused) {
  const char* expected = "model_type: expected one of gpt2, llama, qwen2, qwen3, found ";
  EXPECT_EQ(message(gpt2, "\"gpt2\"", "\"bert\""), std::string(expected) + "the text \"bert\"");
  EXPECT_EQ(message(gpt2, "\"model_type\": \"gpt2\",", ""), std::string(expected) + "no such key");
  EXPECT_EQ(message(gpt2, "\"gpt2\"", "7"), std::string(expected) + "the number 7");
  EXPECT_EQ(
      error_of<DataError>([&] { read_huggingface_config(scratch.write("config.json", "[1]"), warnings); }),
      (scratch.path() / "config.json").string() + ": expected the keys of a model, found a list of 1 entry");
}

TEST_F(HuggingFaceConfigTest, WhatChangesTheModelIsRefusedByName) {
  EXPECT_EQ(gpt2_message("\"scale_attn_weights\": false"),
            "scale_attn_weights: expected true, found false: this is not supported");
  EXPECT_EQ(gpt2_message("\"scale_attn_by_inverse_layer_idx\": true"),
            "scale_attn_by_inverse_layer_idx: expected false, found true: this is not supported");
  EXPECT_EQ(gpt2_message("\"add_cross_attention\": true"),
            "add_cross_attention: expected false, found true: this is not supported");
  EXPECT_EQ(
      gpt2_message("\"quantization_config\": {\"bits\": 4}").find("quantization_config: expected weights"),
      0u);
  EXPECT_EQ(gpt2_message("\"quantization_config\": null"), "");
  EXPECT_EQ(gpt2_message("\"pruned_heads\": {\"0\": [1]}").find("pruned_heads: expected none"), 0u);
  EXPECT_EQ(gpt2_message("\"pruned_heads\": {}"), "");
  EXPECT_EQ(message(gpt2, "gelu_new", "relu").find("activation_function: expected one of gelu_new,"), 0u);
  EXPECT_EQ(message(llama, "silu", "gelu"),
            "hidden_act: expected one of silu, swish, found \"gelu\" (the nearest is \"silu\")");
  EXPECT_EQ(llama_message("\"partial_rotary_factor\": 0.5"),
            "rope_scaling.partial_rotary_factor: expected 1, found 0.5: partial rotation is not supported");
  EXPECT_EQ(message(llama, "\"llama\"", R"("qwen3", "layer_types": ["full_attention", "sliding_attention"])"),
            "layer_types: expected full_attention everywhere, found \"sliding_attention\": this is not "
            "supported");
  EXPECT_EQ(gpt2_message("\"is_causal\": false"),
            "is_causal: expected true, found false: attention to later positions is not supported");
  EXPECT_EQ(gpt2_message("\"is_causal\": true"), "");
  EXPECT_EQ(llama_message("\"per_layer_config\": {\"1\": {\"hidden_act\": \"relu\"}}")
                .find("per_layer_config: expected none, found a map of 1 entry"),
            0u);
  EXPECT_EQ(llama_message("\"per_layer_config\": null"), "");
}

TEST_F(HuggingFaceConfigTest, RotaryEmbeddingThatIsNotKnownIsRefused) {
  EXPECT_EQ(rope_message(R"("rope_type": "yarn", "beta_fast": 32, "factor": 4)"),
            "rope_scaling.rope_type: expected one of default, linear, llama3, found \"yarn\"");
  EXPECT_EQ(rope_message(R"("type": "dynamic", "factor": 4)"),
            "rope_scaling.rope_type: expected one of default, linear, llama3, found \"dynamic\"");
  EXPECT_EQ(rope_message(R"("type": "linear")"),
            "rope_scaling.factor: expected a number above 0 with rope_type linear, found no such key");
  EXPECT_EQ(
      rope_message(R"("type": "llama3", "factor": 2, "low_freq_factor": 1)"),
      "rope_scaling.high_freq_factor: expected a number above 0 with rope_type llama3, found no such key");
  EXPECT_EQ(rope_message(R"("type": "llama3", "factor": 2, "low_freq_factor": 4, "high_freq_factor": 4)"),
            "rope_scaling.high_freq_factor: expected a number above low_freq_factor, which is 4, found 4");
  EXPECT_EQ(
      message(llama, "\"rope_scaling\": null", "\"rope_scaling\": 3").find("rope_scaling: expected a map"),
      0u);
}

TEST_F(HuggingFaceConfigTest, ImpossibleShapesAreRefused) {
  EXPECT_EQ(message(gpt2, "\"n_head\": 3", "\"n_head\": 5"),
            "n_head: expected a divisor of n_embd, which is 24, found 5");
  EXPECT_EQ(message(llama, "\"num_attention_heads\": 4", "\"num_attention_heads\": 5")
                .find("num_attention_heads: expected a divisor of hidden_size"),
            0u);
  EXPECT_EQ(message(llama, "\"head_dim\": null", "\"head_dim\": 5"),
            "head_dim: expected an even width (rotary embedding turns pairs), found 5");
  EXPECT_EQ(message(llama, "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3"),
            "num_key_value_heads: expected a divisor of num_attention_heads, which is 4, found 3");
  EXPECT_EQ(message(gpt2, "\"vocab_size\": 61,", ""),
            "vocab_size: expected a whole number of at least 1, found no such key");
}

TEST_F(HuggingFaceConfigTest, UnknownKeysAreWarnings) {
  read_gpt2("{", "{\"n_layers\": 3, ");
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0], (scratch.path() / "config.json").string() +
                             ": unknown key \"n_layers\" ignored (the nearest known one is \"n_layer\")");
}

TEST_F(HuggingFaceConfigTest, WhatWasUnderstoodIsPrinted) {
  const std::string text = huggingface_config_json(read_huggingface_config(file(llama), warnings));
  for (const char* part : {"\"family\": \"Llama\"", "\"hidden_act\": \"silu\"", "\"rope_theta\": 500.0"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
}

}  // namespace
}  // namespace vpd
