#include "vpd/run/inspect.hpp"

#include <limits>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "io/support.hpp"
#include "io/token_files.hpp"
#include "support/places.hpp"
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

const fs::path data = testing::test_data();

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

TEST(Inspect, ATensorOfAnUnknownDtype) {
  const TemporaryDirectory scratch;
  const std::string header = R"({"w":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[0,4]},)"
                             R"("x":{"dtype":"U8","shape":[3],"data_offsets":[4,7]}})";
  std::string content(8, '\0');
  content[0] = static_cast<char>(header.size());
  write_atomically(scratch / "a.safetensors", content + header + std::string(7, '\1'));
  const Json json = json_of(scratch / "a.safetensors", "safetensors");
  EXPECT_EQ(json["tensors"][0], (Json{{"name", "w"},
                                      {"dtype", "F8_E4M3"},
                                      {"shape", {2, 2}},
                                      {"smallest", nullptr},
                                      {"largest", nullptr},
                                      {"mean", nullptr},
                                      {"norm", nullptr},
                                      {"not_finite", nullptr}}));
  EXPECT_EQ(json["tensors"][1]["largest"], 1.0);
  EXPECT_EQ(json["elements"], 7);
  EXPECT_TRUE(contains(inspect(scratch / "a.safetensors").text, "dtype not known"));
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

TEST(Inspect, ARunWithDamagedParts) {
  const TemporaryDirectory scratch;
  const RunDirectory run = RunDirectory::create(scratch / "run");
  write_atomically(run.config_path(), read_text(data / "plain" / "config.yaml"));
  for (const std::int64_t step : {5, 10}) {
    run.publish_checkpoint(
        step,
        [](const fs::path& path) {
          for (const char* name : {"decomposition.safetensors", "causal_importance.safetensors"})
            fs::copy_file(data / "plain" / "final" / name, path / name);
        },
        3);
  }
  write_atomically(run.metrics_path(),
                   "{\"step\": 5, \"train/loss/total\": 2.5}\n{\"step\": 10, \x1b[2J\n{\"st");
  write_atomically(run.evaluation_path(), R"({"step": 10, "checkp)");
  EXPECT_EQ(json_of(run.path(), "run")["warnings"].size(), 2u);
  write_atomically(run.checkpoint_path(5) / "decomposition.safetensors", "x");
  const Json json = json_of(run.path(), "run");
  EXPECT_EQ(json["checkpoints"], (Json{5, 10}));
  EXPECT_EQ(json["config"]["training"]["steps"], 10);
  EXPECT_EQ(json["last_metrics"]["train/loss/total"], 2.5);
  EXPECT_FALSE(json.contains("evaluation"));
  ASSERT_EQ(json["warnings"].size(), 3u);
  EXPECT_TRUE(contains(json["warnings"][0], "step_00000005/decomposition.safetensors"));
  EXPECT_TRUE(contains(json["warnings"][1], "metrics.jsonl"));
  EXPECT_TRUE(contains(json["warnings"][2], "evaluation.json"));
  const std::string text = inspect(run.path()).text;
  EXPECT_TRUE(contains(text, "checkpoint after 5 of 10 steps, which cannot be read"));
  EXPECT_TRUE(contains(text, "checkpoint after 10 of 10 steps, the latest: "));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);

  write_atomically(run.config_path(), "training: [");
  const Json without = json_of(run.path(), "run");
  EXPECT_EQ(without["checkpoints"], (Json{5, 10}));
  EXPECT_FALSE(without.contains("config"));
  EXPECT_TRUE(contains(without["warnings"][0], "config.yaml"));
}

TEST(Inspect, ACheckpointWithDamagedParts) {
  const TemporaryDirectory scratch;
  fs::copy(data / "plain" / "final", scratch / "c");
  fs::remove(scratch / "c/causal_importance.safetensors");
  write_atomically(scratch / "c/training_state.safetensors", "x");
  const Json json = json_of(scratch / "c", "checkpoint");
  EXPECT_EQ(json["sites"].size(), 12u);
  ASSERT_EQ(json["warnings"].size(), 2u);
  EXPECT_TRUE(contains(json["warnings"][0], "causal_importance.safetensors"));
  EXPECT_TRUE(contains(json["warnings"][1], "training_state.safetensors"));
  write_atomically(scratch / "c/decomposition.safetensors", "x");
  EXPECT_DATA_ERROR("decomposition.safetensors", inspect(scratch / "c"));
}

TEST(Inspect, WhatTakesLongIsSaid) {
  const TemporaryDirectory scratch;
  write_token_shard(scratch / "a.bin", std::vector<std::uint16_t>(100, 1));
  std::vector<std::string> lines;
  Observer observer{.say = [&](const std::string& line) { lines.push_back(line); }};
  inspect(scratch / "a.bin", observer);
  EXPECT_TRUE(lines.empty());
  // A file of 2 GiB that takes no room: the hole reads as zeros.
  const std::string header =
      testing::npy(1, "{'descr': '<i4', 'fortran_order': False, 'shape': (536870912,), }", "");
  write_atomically(scratch / "b.npy", header);
  fs::resize_file(scratch / "b.npy", header.size() + (std::uintmax_t{1} << 31));
  observer.stop = [&] { return !lines.empty(); };
  EXPECT_THROW(inspect(scratch / "b.npy", observer), Interrupted);
  EXPECT_EQ(lines, std::vector<std::string>{"reading the tokens (2 GiB)"});
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

fs::path with_tokens(const TemporaryDirectory& scratch, const std::vector<std::uint16_t>& tokens) {
  write_token_shard(scratch / "a.bin", tokens);
  return scratch / "a.bin";
}

TEST(Inspect, TokensBesideATokenizerThatCannotBeRead) {
  const TemporaryDirectory scratch;
  const fs::path path = with_tokens(scratch, {1, 2, 3});
  for (const char* text : {R"({"model": {"type": "WordPiece", "vocab": {"a": 0}}})", "{", "", "<html>"}) {
    write_atomically(scratch / "tokenizer.json", text);
    const Json json = json_of(path, "tokens");
    EXPECT_EQ(json["first_tokens"], (Json{1, 2, 3})) << text;
    EXPECT_FALSE(json.contains("first_text")) << text;
    ASSERT_EQ(json["warnings"].size(), 1u) << text;
    EXPECT_TRUE(contains(json["warnings"][0], "tokenizer.json: expected")) << text;
    const std::string shown = inspect(path).text;
    EXPECT_LT(shown.find("first tokens: 1 2 3"), shown.find("\nwarning: ")) << text;
  }
}

TEST(Inspect, TokensAboveTheTokenizersVocabulary) {
  const TemporaryDirectory scratch;
  fs::copy_file(data / "tokenizer" / "tokenizer.json", scratch / "tokenizer.json");
  const Tokenizer tokenizer = Tokenizer::load(scratch / "tokenizer.json");
  const auto a = static_cast<std::uint16_t>(tokenizer.encode("a").front());
  const auto padding = static_cast<std::uint16_t>(tokenizer.vocabulary_size() + 30);
  const Json json = json_of(with_tokens(scratch, {a, padding, a, padding}), "tokens");
  EXPECT_EQ(json["files"][0]["largest"], padding);
  EXPECT_EQ(json["first_text"], "a\ufffda\ufffd");
  ASSERT_EQ(json["warnings"].size(), 1u);
  EXPECT_TRUE(contains(json["warnings"][0], std::to_string(padding)));
}

TEST(Inspect, GoodShardsBesideDamagedOnes) {
  const TemporaryDirectory scratch;
  with_tokens(scratch, {1, 2, 3});
  write_atomically(scratch / "b.bin", "version https://git-lfs.github.com/spec/v1\nsize 10\n");
  write_token_shard(scratch / "c.bin", std::vector<std::uint16_t>{4});
  for (const fs::path& path : {scratch.path(), scratch / "*.bin"}) {
    const Json json = json_of(path, "tokens");
    EXPECT_EQ(json["files"].size(), 2u);
    EXPECT_EQ(json["tokens"], 4);
    ASSERT_EQ(json["warnings"].size(), 1u);
    EXPECT_TRUE(contains(json["warnings"][0], "b.bin"));
  }
  EXPECT_DATA_ERROR("b.bin: expected the magic number", inspect(scratch / "b.bin"));
  EXPECT_DATA_ERROR("a Git LFS pointer", inspect(scratch / "[b].bin"));
}

TEST(Inspect, PatternsOfWhateverTheyMatch) {
  const TemporaryDirectory scratch;
  fs::create_directory(scratch / "d");
  write_token_shard(scratch / "d/a.bin", std::vector<std::uint16_t>{1});
  write_token_shard(scratch / "d/b.bin", std::vector<std::uint16_t>{2});
  EXPECT_EQ(json_of(scratch / "d/*", "tokens")["files"].size(), 2u);
  EXPECT_EQ(json_of(scratch / "*/a*", "tokens")["files"].size(), 1u);
  EXPECT_EQ(json_of(scratch / "?", "tokens")["files"].size(), 2u) << "the pattern means one directory";
  save_safetensors(scratch / "x.safetensors", {{"x", at::zeros({2})}});
  EXPECT_EQ(json_of(scratch / "*.safetensors", "safetensors")["elements"], 2);
  EXPECT_DATA_ERROR("found nothing that matches the pattern", inspect(scratch / "none*"));
  save_safetensors(scratch / "y.safetensors", {{"x", at::zeros({2})}});
  EXPECT_DATA_ERROR("expected a pattern of one thing or of token files", inspect(scratch / "*.safetensors"));
}

TEST(Inspect, ForeignTextSteersNoTerminalAndIsValidInJson) {
  const TemporaryDirectory scratch;
  const std::string clear = "\x1b[2J", eight_bit = "\xc2\x9b", turned = "\xe2\x80\xae";
  const auto expect_harmless = [&](const fs::path& path) {
    const Inspection found = inspect(path);
    for (const std::string& bytes :
         {std::string("\x1b"), std::string("\x07"), std::string("\r"), eight_bit, turned}) {
      EXPECT_EQ(found.text.find(bytes), std::string::npos) << path;
    }
    EXPECT_TRUE(Json::accept(found.json)) << path;
    EXPECT_NE(found.text.find("[2J"), std::string::npos) << path;
  };
  const std::string bad = "t" + clear + eight_bit + turned + "\r\x07";
  save_safetensors(scratch / "a.safetensors", {{bad, at::zeros({2})}}, {{bad, bad}});
  expect_harmless(scratch / "a.safetensors");
  write_token_shard(scratch / (bad + "\xff.bin"), std::vector<std::uint16_t>{0, 1});
  expect_harmless(scratch / (bad + "\xff.bin"));
  Json tokenizer = {{"model", {{"type", "BPE"}, {"vocab", Json::object()}, {"merges", Json::array()}}},
                    {"pre_tokenizer", {{"type", "ByteLevel"}}},
                    {"added_tokens", {{{"id", 0}, {"content", bad}}, {{"id", 1}, {"content", "x"}}}}};
  fs::create_directory(scratch / "d");
  write_atomically(scratch / "d/tokenizer.json", tokenizer.dump());
  write_token_shard(scratch / "d/a.bin", std::vector<std::uint16_t>{0, 1});
  expect_harmless(scratch / "d/a.bin");
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
  EXPECT_DATA_ERROR("found another file, the text 'x'", inspect(scratch / "notes.txt"));
  write_atomically(scratch / "short.safetensors", "x");
  EXPECT_DATA_ERROR("short.safetensors", inspect(scratch / "short.safetensors"));
}

}  // namespace
}  // namespace vpd
