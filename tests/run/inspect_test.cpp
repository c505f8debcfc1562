#include "vpd/run/inspect.hpp"

#include <limits>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "io/support.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/run_directory.hpp"
#include "vpd/io/safetensors.hpp"
#include "vpd/io/sha256.hpp"
#include "vpd/io/token_shard.hpp"
#include "vpd/io/tokenizer.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::contains;
using testing::TemporaryDirectory;

const fs::path data = VPD_TEST_DATA;

Json json_of(const fs::path& path, const std::string& kind) {
  const Inspection found = inspect(path);
  EXPECT_EQ(found.kind, kind);
  Json json = Json::parse(found.json);
  EXPECT_EQ(json["kind"], kind);
  EXPECT_EQ(json["path"], path.string());
  return json;
}

TEST(Inspect, Safetensors) {
  const TemporaryDirectory scratch;
  at::Tensor x = at::tensor({3.0, -4.0, 0.0, 0.0}, at::kFloat).view({2, 2}), broken = x.clone();
  broken[0][0] = std::numeric_limits<float>::quiet_NaN();
  save_safetensors(scratch / "a.safetensors", {{"x", x}, {"broken", broken}, {"empty", at::empty({0, 3})}},
                   {{"format", "pt"}});
  const Json json = json_of(scratch / "a.safetensors", "safetensors");
  ASSERT_EQ(json["tensors"].size(), 3u);
  EXPECT_EQ(json["tensors"][0], (Json{{"name", "x"},
                                      {"dtype", "F32"},
                                      {"shape", {2, 2}},
                                      {"smallest", -4.0},
                                      {"largest", 3.0},
                                      {"mean", -0.25},
                                      {"norm", 5.0},
                                      {"not_finite", 0}}));
  EXPECT_EQ(json["tensors"][1]["not_finite"], 1);
  EXPECT_EQ(json["tensors"][1]["norm"], 4.0);
  EXPECT_EQ(json["elements"], 8);
  EXPECT_EQ(json["metadata"]["format"], "pt");
  EXPECT_TRUE(contains(inspect(scratch / "a.safetensors").text, "1 NOT FINITE"));
}

TEST(Inspect, Target) {
  const Json json = json_of(data / "plain" / "target", "target");
  EXPECT_EQ(json["model_config"]["n_embd"], 24);
  EXPECT_EQ(json["elements"], 15408);
  EXPECT_TRUE(contains(inspect(data / "plain" / "target").text, "tied to the embedding"));
}

TEST(Inspect, TargetInHuggingFacesLayout) {
  const Json json = json_of(data / "huggingface" / "llama", "target");
  EXPECT_EQ(json["model_config"]["family"], "Llama");
  EXPECT_EQ(json["model_config"]["rope_parameters"]["rope_theta"], 500.0);
  ASSERT_EQ(json["matrices"].size(), 16u);
  EXPECT_EQ(json["matrices"][2], (Json{{"name", "layers.0.self_attn.k_proj"}, {"d_in", 24}, {"d_out", 12}}));
  EXPECT_EQ(json["tensors"].size(), 21u);  // of three shards
  EXPECT_EQ(json["elements"], json["parameters"]);
  const std::string text = inspect(data / "huggingface" / "gpt2").text;
  for (const char* part : {"a target, GPT-2 in Hugging Face's layout", "h.1.attn.k_proj",
                           "transformer.h.1.attn.c_attn.weight", "only where it is named in full"}) {
    EXPECT_TRUE(contains(text, part)) << part;
  }
}

TEST(Inspect, Checkpoint) {
  const Json json = json_of(data / "plain" / "final", "checkpoint");
  ASSERT_EQ(json["sites"].size(), 12u);
  EXPECT_EQ(json["sites"][4]["name"], "h.0.mlp.c_fc");
  EXPECT_EQ(json["sites"][4]["d_in"], 24);
  EXPECT_EQ(json["sites"][4]["d_out"], 96);
  EXPECT_EQ(json["sites"][4]["C"], 40);
  EXPECT_EQ(json["causal_importance_parameters"], 37658);
  EXPECT_FALSE(json.contains("state"));
}

TEST(Inspect, LengthsOfSubcomponents) {
  const TemporaryDirectory scratch;
  const at::Tensor V = at::tensor({3.0, 1.0, 4.0, 0.0}, at::kFloat).view({2, 2}),
                   U = at::tensor({2.0, 0.0, 0.0, 0.0, 0.0, 7.0}, at::kFloat).view({2, 3});
  save_safetensors(scratch / "decomposition.safetensors", {{"a.V", V}, {"a.U", U}});
  save_safetensors(scratch / "causal_importance.safetensors", {{"b", at::zeros({5})}});
  save_safetensors(scratch / "training_state.safetensors",
                   {{"optimizer/m/a.V", V}, {"optimizer/v/a.V", V}, {"adversary/x/source/a", V}});
  Json hashes;
  for (const char* name :
       {"decomposition.safetensors", "causal_importance.safetensors", "training_state.safetensors"}) {
    hashes[name] = sha256_of_file(scratch / name);
  }
  write_atomically(scratch / "state.json", Json{{"step", 7}, {"sha256", hashes}}.dump());
  const Json json = json_of(scratch.path(), "checkpoint");
  EXPECT_EQ(json["sites"][0], (Json{{"name", "a"},
                                    {"d_in", 2},
                                    {"d_out", 3},
                                    {"C", 2},
                                    {"smallest", 7.0},
                                    {"median", 7.0},
                                    {"largest", 10.0}}));
  EXPECT_EQ(json["state"]["step"], 7);
  EXPECT_EQ(json["training_state"], (Json{{"optimizer", 2}, {"adversary", 1}}));
}

TEST(Inspect, ACheckpointThatIsNotItself) {
  const TemporaryDirectory scratch;
  fs::copy(data / "plain" / "final", scratch / "c");
  const std::string name = "decomposition.safetensors";
  write_atomically(scratch / "c" / "state.json",
                   Json{{"step", 1}, {"sha256", {{name, std::string(64, '0')}}}}.dump());
  EXPECT_DATA_ERROR(name, inspect(scratch / "c"));
}

TEST(Inspect, Run) {
  const TemporaryDirectory scratch;
  const RunDirectory run = RunDirectory::create(scratch / "run");
  write_atomically(run.config_path(), read_text(data / "plain" / "config.yaml"));
  for (const std::int64_t step : {5, 10}) {
    run.publish_checkpoint(
        step, [](const fs::path& path) { write_atomically(path / "x", "x"); }, 3);
  }
  write_atomically(run.metrics_path(),
                   "{\"step\": 5, \"train/loss/total\": 2.5}\n{\"step\": 10, \"train/loss/total\": 1.25}\n");
  write_atomically(run.evaluation_path(),
                   R"({"step": 10, "checkpoint": "step_00000010", "metrics": {"l0/total": 3.5}})");
  const Json json = json_of(run.path(), "run");
  EXPECT_EQ(json["checkpoints"], (Json{5, 10}));
  EXPECT_EQ(json["latest"], 10);
  EXPECT_EQ(json["last_metrics"]["train/loss/total"], 1.25);
  EXPECT_EQ(json["evaluation"]["metrics"]["l0/total"], 3.5);
  EXPECT_EQ(json["config"]["training"]["steps"], 10);
  EXPECT_TRUE(contains(inspect(run.path()).text, "after 10 of 10 steps, the latest"));
}

TEST(Inspect, Tokens) {
  const Json json = json_of(data / "plain" / "train.npy", "tokens");
  EXPECT_EQ(json["files"].size(), 1u);
  EXPECT_LT(json["files"][0]["largest"], 61);
  EXPECT_EQ(json["tokens"], json["files"][0]["tokens"]);
  EXPECT_FALSE(json.contains("first_text"));
}

TEST(Inspect, TokensWithATokenizerBeside) {
  const TemporaryDirectory scratch;
  fs::copy_file(data / "tokenizer" / "tokenizer.json", scratch / "tokenizer.json");
  const std::vector<std::int64_t> ids = Tokenizer::load(scratch / "tokenizer.json").encode("a b\nc");
  const std::vector<std::uint16_t> tokens(ids.begin(), ids.end());
  write_token_shard(scratch / "a.bin", tokens);
  write_token_shard(scratch / "b.bin", tokens);
  const Json file = json_of(scratch / "a.bin", "tokens");
  EXPECT_EQ(file["first_text"], "a b\nc");
  EXPECT_TRUE(contains(inspect(scratch / "a.bin").text, "\"a b\\nc\""));
  const Json both = json_of(scratch.path(), "tokens");
  EXPECT_EQ(both["files"].size(), 2u);
  EXPECT_EQ(both["tokens"], 2 * ids.size());
  EXPECT_EQ(json_of(scratch / "?.bin", "tokens")["files"].size(), 2u);
}

TEST(Inspect, Tokenizer) {
  const Json json = json_of(data / "tokenizer" / "tokenizer.json", "tokenizer");
  EXPECT_GT(json["vocabulary_size"], 256);
  EXPECT_EQ(json["encodes"], true);
}

TEST(Inspect, NothingItKnows) {
  const TemporaryDirectory scratch;
  EXPECT_DATA_ERROR("found nothing of that name", inspect(scratch / "absent"));
  EXPECT_DATA_ERROR("found a directory without any of these", inspect(scratch.path()));
  write_atomically(scratch / "notes.txt", "x");
  EXPECT_DATA_ERROR("found another file", inspect(scratch / "notes.txt"));
  write_atomically(scratch / "short.safetensors", "x");
  EXPECT_DATA_ERROR("short.safetensors", inspect(scratch / "short.safetensors"));
}

}  // namespace
}  // namespace vpd
