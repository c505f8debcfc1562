#include "vpd/target/target_directory.hpp"

#include <gtest/gtest.h>

#include "io/support.hpp"
#include "support/places.hpp"
#include "vpd/io/files.hpp"

namespace vpd::testing {
namespace {

namespace fs = std::filesystem;

class TargetDirectories : public ::testing::Test {
 protected:
  const fs::path data = test_data();
  TemporaryDirectory scratch;
  void write(const char* name, const std::string& text) { write_atomically(scratch / name, text); }
};

TEST_F(TargetDirectories, SayWhatTheyHold) {
  EXPECT_EQ(target_in(data / "plain" / "target"),
            TargetConfig(LlamaSimpleMlpTarget{data / "plain" / "target"}));
  EXPECT_EQ(target_in(data / "huggingface" / "gpt2"),
            TargetConfig(HuggingFaceTarget{data / "huggingface" / "gpt2"}));
  write("model_config.json", R"({"model_type": "TMS"})");
  EXPECT_TRUE(std::holds_alternative<TmsTarget>(target_in(scratch.path())));
  write("model_config.json", R"({"model_type": "ResidualMLP"})");
  EXPECT_TRUE(std::holds_alternative<ResidualMlpTarget>(target_in(scratch.path())));
  write("model_config.json", R"({"model_type": "InductionTransformer"})");
  EXPECT_TRUE(std::holds_alternative<InductionTarget>(target_in(scratch.path())));
  write("model_config.json", "{");
  EXPECT_DATA_ERROR("model_config.json", target_in(scratch.path()));
  fs::remove(scratch / "model_config.json");
  EXPECT_DATA_ERROR("expected model_config.yaml", target_in(scratch.path()));
}

TEST_F(TargetDirectories, NameTheTokenThatRowsBeginWith) {
  EXPECT_EQ(start_token_of(HuggingFaceTarget{data / "huggingface" / "llama"}, 61), 1);
  EXPECT_EQ(start_token_of(HuggingFaceTarget{data / "huggingface" / "gpt2"}, 61), std::nullopt) << "null";
  EXPECT_EQ(start_token_of(LlamaSimpleMlpTarget{data / "plain" / "target"}, 61), std::nullopt);
  write("config.json", R"({"bos_token_id": 50256})");
  EXPECT_EQ(start_token_of(Gpt2Target{scratch.path()}, 50257), 50256);
  EXPECT_DATA_ERROR("--start-token", start_token_of(Gpt2Target{scratch.path()}, 50256));
  for (const char* wrong : {"-1", "\"<s>\"", "[1, 2]", "1.5"}) {
    write("config.json", std::string("{\"bos_token_id\": ") + wrong + "}");
    EXPECT_DATA_ERROR("bos_token_id", start_token_of(HuggingFaceTarget{scratch.path()}, 61));
  }
  write("config.json", "{}");
  EXPECT_EQ(start_token_of(HuggingFaceTarget{scratch.path()}, 61), std::nullopt);
}

}  // namespace
}  // namespace vpd::testing
