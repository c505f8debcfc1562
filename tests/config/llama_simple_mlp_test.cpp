#include "vpd/config/llama_simple_mlp.hpp"

#include <gtest/gtest.h>

#include "config/support.hpp"

namespace vpd {
namespace {

constexpr const char* complete = R"({
  "model_type": "LlamaSimpleMLP", "use_grouped_query_attention": true, "flash_attention": true, "rotary_dim": 8,
  "vocab_size": 53, "n_layer": 3, "n_head": 4, "n_embd": 32, "n_intermediate": 80, "n_key_value_heads": 2,
  "block_size": 16, "n_ctx": 16, "rotary_base": 500, "rotary_adjacent_pairs": true, "rms_norm_eps": 1e-05,
  "attn_bias": true, "mlp_bias": true})";

const LlamaSimpleMlpConfig expected = {.vocab_size = 53,
                                       .n_layer = 3,
                                       .n_head = 4,
                                       .n_embd = 32,
                                       .n_intermediate = 80,
                                       .n_key_value_heads = 2,
                                       .block_size = 16,
                                       .n_ctx = 16,
                                       .rotary_base = 500.0,
                                       .rotary_adjacent_pairs = true,
                                       .rms_norm_eps = 1e-5,
                                       .attn_bias = true,
                                       .mlp_bias = true};

class ModelConfigTest : public ::testing::Test {
 protected:
  // `complete` with one piece of text replaced.
  std::filesystem::path file(const std::string& from = "", const std::string& to = "") {
    std::string text = complete;
    if (!from.empty()) text.replace(text.find(from), from.size(), to);
    return scratch.write("model_config.json", text);
  }

  std::string message(const std::string& from, const std::string& to) {
    const std::filesystem::path path = file(from, to);
    const std::string error = error_of<DataError>([&] { read_model_config(path, warnings); });
    return error.empty() ? "" : error.substr(path.string().size() + 2);
  }

  ScratchDirectory scratch;
  std::vector<std::string> warnings;
};

TEST_F(ModelConfigTest, EveryKeyIsRead) {
  EXPECT_EQ(read_model_config(file(), warnings), expected);
  EXPECT_TRUE(warnings.empty());
  EXPECT_EQ(expected.head_dim(), 8);
}

TEST_F(ModelConfigTest, WhatItWritesItReads) {
  const auto path = scratch.write("model_config.json", model_config_json(expected));
  EXPECT_EQ(read_model_config(path, warnings), expected);
  EXPECT_TRUE(warnings.empty()) << warnings[0];
  LlamaSimpleMlpConfig without = expected;
  without.n_ctx.reset();
  scratch.write("model_config.json", model_config_json(without));
  EXPECT_EQ(read_model_config(path, warnings).n_ctx, without.block_size);
}

TEST_F(ModelConfigTest, UnknownKeysAreWarnings) {
  EXPECT_EQ(
      read_model_config(file("\"n_layer\": 3", "\"n_layer\": 3, \"dropout\": 0.1, \"n_hed\": 2"), warnings),
      expected);
  ASSERT_EQ(warnings.size(), 2u);
  const std::string name = (scratch.path() / "model_config.json").string();
  EXPECT_EQ(warnings[0], name + ": unknown key \"dropout\" ignored");
  EXPECT_EQ(warnings[1], name + ": unknown key \"n_hed\" ignored (the nearest known one is \"n_head\")");
}

TEST_F(ModelConfigTest, KeyValueHeadsMayBeLeftOut) {
  for (const char* text : {"", "\"n_key_value_heads\": null,"}) {
    EXPECT_EQ(read_model_config(file("\"n_key_value_heads\": 2,", text), warnings).n_key_value_heads, 4)
        << text;
  }
}

// The published model of 12 blocks has a rotary_dim that is left over from another.
TEST_F(ModelConfigTest, KeysThatTheOriginalCodeDoesNotRead) {
  const std::string name = (scratch.path() / "model_config.json").string();
  for (const char* wrong : {"16", "4", "0", "-1", "\"all\"", "1.5", "[8]"}) {
    warnings.clear();
    EXPECT_EQ(read_model_config(file("\"rotary_dim\": 8", std::string("\"rotary_dim\": ") + wrong), warnings),
              expected);
    ASSERT_EQ(warnings.size(), 1u) << wrong;
    EXPECT_EQ(warnings[0].find(name + ": rotary_dim: has no effect, found "), 0u) << warnings[0];
    EXPECT_NE(warnings[0].find("the whole of a head is rotated, whose width is 8"), std::string::npos);
  }
  warnings.clear();
  for (const char* right : {"\"rotary_dim\": 8.0", "\"rotary_dim\": null"}) {
    EXPECT_EQ(read_model_config(file("\"rotary_dim\": 8", right), warnings), expected) << right;
    EXPECT_TRUE(warnings.empty()) << warnings[0];
  }
  EXPECT_EQ(read_model_config(file("\"flash_attention\": true", "\"flash_attention\": \"auto\""), warnings),
            expected);
  EXPECT_TRUE(warnings.empty());
}

TEST_F(ModelConfigTest, WithoutGroupedQueryAttentionHeadsAreAsMany) {
  LlamaSimpleMlpConfig all = expected;
  all.n_key_value_heads = 4;
  const std::string from = "\"use_grouped_query_attention\": true",
                    to = "\"use_grouped_query_attention\": false";
  EXPECT_EQ(read_model_config(file(from, to), warnings), all);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(
      warnings[0].find("n_key_value_heads: has no effect, found the number 2: without "
                       "use_grouped_query_attention there are as many as query heads, whose number is 4"),
      std::string::npos)
      << warnings[0];
}

TEST_F(ModelConfigTest, AHeadOfItsOwnIsKept) {
  LlamaSimpleMlpConfig untied = expected;
  untied.tied_head = false;
  EXPECT_EQ(read_model_config(file("\"rotary_dim\": 8", "\"tie_word_embeddings\": false"), warnings), untied);
  const auto path = scratch.write("model_config.json", model_config_json(untied));
  EXPECT_EQ(read_model_config(path, warnings), untied);
  EXPECT_TRUE(warnings.empty());
}

TEST_F(ModelConfigTest, WhatCannotBeComputedIsADataError) {
  EXPECT_EQ(message("\"rotary_dim\": 8", "\"attention_sinks\": true"),
            "attention_sinks: expected false, found true: this is not supported");
  EXPECT_EQ(message("LlamaSimpleMLP", "GPT2"),
            "model_type: expected LlamaSimpleMLP, found the text \"GPT2\"");
  EXPECT_EQ(message("\"vocab_size\": 53", "\"vocab_size\": \"53\"")
                .find("vocab_size: expected a whole number of at least 1"),
            0u);
  EXPECT_EQ(message("\"vocab_size\": 53,", ""),
            "vocab_size: expected a whole number of at least 1, found no such key");
  EXPECT_EQ(message("\"n_head\": 4", "\"n_head\": 5").find("n_head: expected a number that divides n_embd"),
            0u);
  EXPECT_NE(message("{", "").find(": expected JSON, found a syntax error"), std::string::npos);
}

TEST_F(ModelConfigTest, AFileThatIsNoMapIsADataError) {
  const auto path = scratch.write("model_config.yaml", "- 1\n");
  EXPECT_EQ(error_of<DataError>([&] { read_model_config(path, warnings); }),
            path.string() + ": expected the keys of a model, found a list of 1 entry");
}

TEST_F(ModelConfigTest, YamlIsReadToo) {
  const auto path = scratch.write(
      "model_config.yaml",
      "vocab_size: 61\nn_layer: 2\nn_head: 3\nn_embd: 24\nn_intermediate: 96\nblock_size: 32\n");
  const LlamaSimpleMlpConfig model = read_model_config(path, warnings);
  EXPECT_EQ(model.n_key_value_heads, 3);
  EXPECT_EQ(model.rms_norm_eps, 1e-6);
}

}  // namespace
}  // namespace vpd
