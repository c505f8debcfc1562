// Decompositions of the original code as vpd import converts them.

#include "import/support.hpp"

namespace vpd {
namespace {

TEST_F(Import, Run) {
  const ImportSummary summary = import_to_out({.path = golden / "run", .tokens = golden / "tokens.npy"});
  EXPECT_EQ(summary.kind, "run");
  EXPECT_EQ(summary.step, 10);
  EXPECT_EQ(summary.sites, 12);
  EXPECT_EQ(summary.subcomponents, 300);
  EXPECT_EQ(summary.causal_importance, "global_shared_transformer");
  const RunDirectory run = RunDirectory::open(out_);
  ASSERT_TRUE(run.latest());
  EXPECT_EQ(run.latest()->step, 10);
  const TorchCheckpoint original(golden_run);
  const SafetensorsFile components(run.latest()->path / components_file);
  EXPECT_EQ(components.tensors().size(), 24u);
  EXPECT_TRUE(
      at::equal(components.load("h.1.mlp.down_proj.U"), original.load("_components.h-1-mlp-down_proj.U")));
  const SafetensorsFile importance(run.latest()->path / causal_importance_file);
  const std::string base = "ci_fn._global_ci_fn.";
  for (const auto& [ours, theirs] :
       std::vector<std::pair<std::string, std::string>>{{"proj_in.weight", "_input_projector.W"},
                                                        {"blocks.1.mlp.fc.weight", "_blocks.1.mlp.0.W"},
                                                        {"blocks.0.mlp.proj.weight", "_blocks.0.mlp.2.W"},
                                                        {"proj_out.weight", "_output_head.W"}}) {
    EXPECT_TRUE(at::equal(importance.load(ours), original.load(base + theirs).t())) << ours;
  }
  for (const auto& [ours, theirs] : std::vector<std::pair<std::string, std::string>>{
           {"proj_in.bias", "_input_projector.b"},
           {"blocks.1.attn.o_proj.weight", "_blocks.1.attn.out_proj.weight"},
           {"blocks.0.attn.k_proj.weight", "_blocks.0.attn.k_proj.weight"},
           {"blocks.1.mlp.fc.bias", "_blocks.1.mlp.0.b"}}) {
    EXPECT_TRUE(at::equal(importance.load(ours), original.load(base + theirs))) << ours;
  }
  EXPECT_EQ(read_text(out_ / "imported_config.yaml"), read_text(golden / "run" / "final_config.yaml"));
  const RunConfig config = load_run_config(run.config_path());
  EXPECT_EQ(std::get<LlamaSimpleMlpTarget>(config.target).path, out_ / "target");
  EXPECT_EQ(std::get<TokensData>(config.data.eval).path, golden / "tokens.npy");
  const auto imported = nlohmann::json::parse(read_text(run.provenance_path()))["imported"];
  EXPECT_EQ(imported.size(), 3u);
  EXPECT_EQ(imported[golden_run.string()], sha256_of_file(golden_run));
}

// The numbers that the original code gave, from a run that was moved after its import.
TEST_F(Import, EvaluationGivesTheOriginalNumbers) {
  import_to_out({.path = golden / "run", .tokens = golden / "tokens.npy"});
  fs::rename(out_, directory_ / "moved");
  const EvaluateResult result = evaluate_run({.run = directory_ / "moved", .device = "cpu"});
  const auto expected = nlohmann::json::parse(read_text(golden / "expected.json"))["evaluation"];
  std::size_t found = 0;
  for (const auto& [name, value] : result.metrics) {
    if (!expected.contains(name)) continue;
    ++found;
    EXPECT_NEAR(value / expected[name].get<double>(), 1.0, 2e-5) << name;
  }
  EXPECT_EQ(found, expected.size());
}

TEST_F(Import, WithoutTokens) {
  const ImportSummary summary = import_to_out({.path = golden / "run"});
  expect_warning(summary, "no --tokens: data names tokens.npy in the run directory");
  fs::copy_file(golden / "tokens.npy", out_ / "tokens.npy");
  EXPECT_GT(evaluate_run({.run = out_, .metrics = {"ci_l0"}, .device = "cpu"}).metrics.size(), 0u);
}

TEST_F(Import, TokensThatDoNotFit) {
  expect_rejected({.path = golden / "run", .tokens = directory_ / "none.npy"}, "none.npy");
  fs::copy_file(golden / "tokens.npy", directory_ / "tokens.npy");
  std::string tokens = read_text(directory_ / "tokens.npy");
  tokens[tokens.size() - 4 * 17 * 3] = 61;
  write_atomically(directory_ / "tokens.npy", tokens);
  expect_rejected({.path = golden / "run", .tokens = directory_ / "tokens.npy"}, "61");
}

// --target may name the target's directory, as it was or as it was imported, or its configuration alone.
TEST_F(Import, WhereTheTargetIsDescribed) {
  import_artefact({.path = golden / "target", .out = directory_ / "imported"});
  const fs::path run = run_of(tensors_of(golden_run));
  std::string expected;
  for (const fs::path& target :
       {golden / "target", directory_ / "imported", golden / "target" / "model_config.yaml",
        directory_ / "imported" / "model_config.json"}) {
    const ImportSummary summary = import_to_out({.path = run, .target = target});
    EXPECT_TRUE(summary.model_config == target || summary.model_config.parent_path() == target) << target;
    const std::string weights = sha256_of_file(out_ / "target" / "model.safetensors");
    EXPECT_TRUE(expected.empty() || weights == expected);
    expected = weights;
  }
  // Without it, a neighbour with the same weights, and no other, is the target.
  fs::remove_all(out_);
  EXPECT_EQ(import_to_out({.path = run}).model_config, directory_ / "imported" / "model_config.json");
  NamedTensors others = tensors_of(golden_target);
  tensor_in(others, "ln_f.weight")[0] += 1.0;
  const fs::path other = target_of(others);
  fs::remove_all(directory_ / "imported");
  expect_rejected({.path = run}, "name the target's directory or that file with --target");
  expect_rejected(
      {.path = run, .target = other.parent_path()},
      "expected the weights of the run's target, found another ln_f.weight than target_model.ln_f.weight");
  expect_rejected({.path = run, .target = directory_ / "none"}, "found nothing of that name");
  expect_rejected({.path = run, .target = run.parent_path()}, "or a directory with one, found neither");
  fs::copy_file(golden / "target" / "model_config.yaml", directory_ / "r" / "model_config.yaml");
  EXPECT_EQ(import_to_out({.path = run}).model_config, directory_ / "r" / "model_config.yaml");
}

TEST_F(Import, RunWithoutItsTarget) {
  NamedTensors tensors = tensors_of(golden_run);
  drop(tensors, "target_model.");
  const fs::path run = run_of(tensors);
  import_to_out({.path = run, .target = golden / "target"});
  import_artefact({.path = golden / "target", .out = directory_ / "imported"});
  EXPECT_EQ(sha256_of_file(out_ / "target" / "model.safetensors"),
            sha256_of_file(directory_ / "imported" / "model.safetensors"));
  expect_rejected({.path = run, .target = golden / "target" / "model_config.yaml"},
                  "expected the target's weights in it or beside");
}

TEST_F(Import, RunUnderAKey) {
  import_run(run_of(tensors_of(golden_run)));
  const std::string expected = sha256_of_file(out_ / "checkpoints" / "latest" / components_file);
  const std::string target = sha256_of_file(out_ / "target" / "model.safetensors");
  NamedTensors tensors = tensors_of(golden_run);
  drop(tensors, "target_model.wte.weight");
  for (auto& [name, tensor] : tensors) name = "state_dict.module." + name;
  tensors.emplace_back("optimizer.state.0.exp_avg", at::ones({3}));
  import_run(run_of(tensors));
  EXPECT_EQ(sha256_of_file(out_ / "checkpoints" / "latest" / components_file), expected);
  EXPECT_EQ(sha256_of_file(out_ / "target" / "model.safetensors"), target);
}

TEST_F(Import, NamesOfOlderVersions) {
  EXPECT_EQ(newest_name("_gates.h-0-x.layers.0.W"), "ci_fn._ci_fns.h-0-x.layers.0.W");
  EXPECT_EQ(newest_name("ci_fn._ci_fns.h-0-x.layers.0.W"), "ci_fn._ci_fns.h-0-x.layers.0.W");
  EXPECT_EQ(newest_name("patched_model.h.0.attn.q_proj.original.weight"),
            "target_model.h.0.attn.q_proj.weight");
  EXPECT_EQ(newest_name("patched_model.h.0.attn.q_proj.components.V"), "_components.h-0-attn-q_proj.V");
  EXPECT_EQ(unwrapped_name("_orig_mod.h.0._orig_mod.mlp.c_fc.weight"), "h.0.mlp.c_fc.weight");
  EXPECT_EQ(unwrapped_name("module.model.transformer.wte.weight"), "model.wte.weight");
  EXPECT_EQ(unwrapped_name("module"), "module");
  import_run(run_of(tensors_of(golden_run)));
  const std::string expected = sha256_of_file(out_ / "checkpoints" / "latest" / components_file);
  NamedTensors tensors = tensors_of(golden_run);
  for (auto& [name, tensor] : tensors) {
    if (name.starts_with("target_model.")) {
      name = "patched_model." + name.substr(std::string("target_model.").size());
    } else if (name.starts_with("_components.")) {
      const std::size_t begin = std::string("_components.").size();
      std::string site = name.substr(begin, name.rfind('.') - begin);
      std::replace(site.begin(), site.end(), '-', '.');
      name = "patched_model." + site + ".components." + name.back();
    }
  }
  import_run(run_of(tensors));
  EXPECT_EQ(sha256_of_file(out_ / "checkpoints" / "latest" / components_file), expected);
  tensors.emplace_back("target_model.ln_f.weight", at::ones({24}));
  expect_run_rejected(run_of(tensors),
                      "expected one tensor target_model.ln_f.weight, found patched_model.ln_f.weight and "
                      "target_model.ln_f.weight");
}

TEST_F(Import, RunsThatAreRefused) {
  const auto with = [&](const std::string& name, const at::Tensor& tensor) {
    NamedTensors tensors = tensors_of(golden_run);
    drop(tensors, name);
    tensors.emplace_back(name, tensor);
    return run_of(tensors);
  };
  const std::string ci = "ci_fn._global_ci_fn.";
  expect_run_rejected(with("_components.h-0-attn-q_proj.U", at::zeros({12, 25})),
                      "expected the shape [12, 24], found [12, 25]");
  expect_run_rejected(with("_components.h-0-attn-q_proj.V", at::zeros({24})),
                      "tensor _components.h-0-attn-q_proj.V: expected a matrix, found [24]");
  expect_run_rejected(
      with("_components.h-9-attn-q_proj.V", at::zeros({24, 12})),
      "expected subcomponents of matrices of the target, found _components.h-9-attn-q_proj.V");
  expect_run_rejected(with("_components.wpe.V", at::zeros({61, 12})),
                      "expected subcomponents of matrices of the target, found _components.wpe.V");
  expect_run_rejected(
      with("_components.h-0-attn-q_proj.W", at::zeros({24, 12})),
      "expected only tensors that its configuration speaks of, found _components.h-0-attn-q_proj.W");
  expect_run_rejected(with(ci + "_blocks.2.mlp.0.b", at::zeros({64})),
                      "found ci_fn._global_ci_fn._blocks.2.mlp.0.b");
  expect_run_rejected(with(ci + "_output_head.W", at::zeros({300, 32})),
                      "expected the shape [32, 300], found [300, 32]");
  expect_run_rejected(with(ci + "_blocks.0.attn.rope.inv_freq", at::ones({4})),
                      "expected the frequencies of rope_base 10000 and 4 heads");
  expect_run_rejected(with(ci + "_blocks.0.attn.rope.inv_freq", at::ones({3})),
                      "expected the shape [4], found [3]");
  expect_run_rejected(with("_components.h-0-attn-q_proj.bias", at::zeros({24})),
                      "expected the target's own bias, found another");
  NamedTensors tensors = tensors_of(golden_run);
  drop(tensors, ci + "_output_head.b");
  expect_run_rejected(run_of(tensors),
                      "expected a tensor ci_fn._global_ci_fn._output_head.b, found none of that name");
  const fs::path run = run_of(tensors_of(golden_run));
  fs::remove(run.parent_path() / "final_config.yaml");
  expect_run_rejected(run, "expected the run's final_config.yaml beside it or one directory above");
}

TEST_F(Import, SettingsThatAreRefused) {
  const auto with = [&](const std::string& passage, const std::string& by) {
    std::string config = read_text(golden / "run" / "final_config.yaml");
    const std::size_t at = config.find(passage);
    EXPECT_NE(at, std::string::npos);
    return run_of(tensors_of(golden_run), config.replace(at, passage.size(), by));
  };
  expect_run_rejected(with("max_seq_len: 17", "max_seq_len: 33"),
                      "expected at most the 32 tokens that the target takes, found 33");
  expect_run_rejected(with("max_seq_len: 17", "max_seq_len: 1"), "its settings cannot be kept here: ");
  expect_run_rejected(with("n_blocks: 2", "n_blocks: 1"), "ci_fn._global_ci_fn._blocks.1");
  expect_run_rejected(with("rope_base: 10000.0", "rope_base: 1000.0"),
                      "expected the frequencies of rope_base 1000");
}

// Patterns that mean other matrices here than in Python, where one that matches twice was an error.
TEST_F(Import, SitesByName) {
  std::string config = read_text(golden / "run" / "final_config.yaml");
  const std::string passage = "h.*.attn.[qk]_proj";
  config.replace(config.find(passage), passage.size(), "h.*.attn.[!vo]_projection");
  const ImportSummary summary = import_run(run_of(tensors_of(golden_run), config));
  expect_warning(summary, "its patterns do not give the 12 matrices that the checkpoint decomposes");
  const RunConfig run = load_run_config(out_ / "config.yaml", {}, config::Files::may_be_missing);
  ASSERT_EQ(run.sites.size(), 12u);
  EXPECT_EQ(run.sites[0], (SitePattern{"h.0.attn.q_proj", 12}));
  // A matrix less in the checkpoint than the patterns match.
  NamedTensors tensors = tensors_of(golden_run);
  drop(tensors, "_components.h-0-attn-q_proj");
  expect_run_rejected(run_of(tensors), "_input_projector.W: expected the shape");
}

TEST_F(Import, OtherTensorsAreTold) {
  NamedTensors tensors = tensors_of(golden_run);
  tensors.emplace_back("extra.step", at::ones({1}));
  tensors.emplace_back("target_model.extra", at::ones({1}));
  const ImportSummary summary = import_run(run_of(tensors));
  expect_warning(summary, "the tensor extra.step is part of neither target nor decomposition");
  expect_warning(summary, "the tensor target_model.extra is not part of a LlamaSimpleMLP");
}

// An embedding's V has a row for each token, and the causal-importance function reads its C inner
// activations.
TEST_F(Import, EmbeddingAsASite) {
  NamedTensors tensors = tensors_of(golden_run);
  const std::string ci = "ci_fn._global_ci_fn.";
  const at::Tensor V = at::randn({61, 7}), U = at::randn({7, 24}), head = at::randn({32, 307});
  tensors.emplace_back("_components.wte.V", V);
  tensors.emplace_back("_components.wte.U", U);
  tensor_in(tensors, ci + "_input_projector.W") = at::randn({439, 32});
  tensor_in(tensors, ci + "_output_head.W") = head;
  tensor_in(tensors, ci + "_output_head.b") = at::randn({307});
  std::string config = read_text(golden / "run" / "final_config.yaml");
  config.replace(config.find("module_info:"), 12, "module_info:\n- {module_pattern: wte, C: 7}");
  const ImportSummary summary = import_to_out(
      {.path = run_of(tensors, config), .target = golden / "target", .tokens = golden / "tokens.npy"});
  EXPECT_EQ(summary.sites, 13);
  const fs::path checkpoint = out_ / "checkpoints" / "latest";
  EXPECT_TRUE(at::equal(SafetensorsFile(checkpoint / components_file).load("wte.V"), V));
  EXPECT_TRUE(at::equal(SafetensorsFile(checkpoint / components_file).load("wte.U"), U));
  EXPECT_TRUE(
      at::equal(SafetensorsFile(checkpoint / causal_importance_file).load("proj_out.weight"), head.t()));
  EXPECT_GT(evaluate_run({.run = out_, .metrics = {"ci_l0"}, .device = "cpu"}).metrics.size(), 0u);
}

// Subcomponents carry a copy of their matrix's bias.
TEST_F(Import, Biases) {
  NamedTensors tensors = tensors_of(golden_run);
  for (const char* block : {"h.0.", "h.1."}) {
    for (const auto& [site, width] :
         std::vector<std::pair<std::string, std::int64_t>>{{"mlp.c_fc", 96}, {"mlp.down_proj", 24}}) {
      const at::Tensor bias = at::rand({width});
      std::string dashed = block + site;
      std::replace(dashed.begin(), dashed.end(), '.', '-');
      tensors.emplace_back("target_model." + std::string(block) + site + ".bias", bias);
      tensors.emplace_back("_components." + dashed + ".bias", bias);
    }
  }
  std::string model = read_text(golden / "target" / "model_config.yaml");
  model.replace(model.find("mlp_bias: false"), 15, "mlp_bias: true");
  const fs::path run = run_of(tensors);
  write_atomically(run.parent_path() / "model_config.yaml", model);
  import_to_out({.path = run});
  EXPECT_TRUE(at::equal(SafetensorsFile(out_ / "target" / "model.safetensors").load("h.1.mlp.c_fc.bias"),
                        tensor_in(tensors, "target_model.h.1.mlp.c_fc.bias")));
  tensor_in(tensors, "_components.h-1-mlp-c_fc.bias") = at::rand({96});
  save_torch(run, tensors);
  expect_rejected({.path = run},
                  "tensor _components.h-1-mlp-c_fc.bias: expected the target's own bias, found another");
}

// A run whose causal importance comes from MLPs, in the names and layouts of the original: W [in, out], or
// [C, in, out] where each subcomponent has a network of its own, and a GELU at each odd place.
class ImportMlps : public Import, public ::testing::WithParamInterface<std::string> {};

TEST_P(ImportMlps, Run) {
  const std::string kind = GetParam();
  const bool global = kind == "global_shared_mlp", own = kind == "mlp" || kind == "vector_mlp";
  constexpr std::int64_t hidden = 5;
  const NamedTensors original = tensors_of(golden_run);
  NamedTensors tensors = original, expected;
  drop(tensors, "ci_fn.");
  const auto add = [&](const std::string& theirs, const std::string& ours, std::int64_t d_in,
                       std::int64_t C) {
    const std::vector<std::int64_t> widths = {d_in, hidden, own ? 1 : C};
    const auto draw = [&](std::vector<std::int64_t> shape) {
      if (own) shape.insert(shape.begin(), C);
      return at::randn(shape);
    };
    for (std::size_t i = 0; i < 2; ++i) {
      const at::Tensor W = draw({widths[i], widths[i + 1]}), b = draw({widths[i + 1]});
      const std::string layer = theirs + ".layers." + std::to_string(2 * i);
      tensors.emplace_back(layer + ".W", W);
      tensors.emplace_back(layer + ".b", b);
      expected.emplace_back(ours + "layers." + std::to_string(i) + ".weight", own ? W : W.t());
      expected.emplace_back(ours + "layers." + std::to_string(i) + ".bias", b);
    }
  };
  for (const auto& [name, V] : original) {
    if (global || !name.starts_with("_components.") || !name.ends_with(".V")) continue;
    const std::string dashed = name.substr(12, name.size() - 14);
    std::string site = dashed;
    std::replace(site.begin(), site.end(), '-', '.');
    // The newest version has the functions below ci_fn, older ones had not.
    add((kind == "mlp" ? "_ci_fns." : "ci_fn._ci_fns.") + dashed, site + ".", kind == "mlp" ? 1 : V.size(0),
        V.size(1));
  }
  if (global) add("ci_fn._global_ci_fn", "", 432, 300);

  std::string config = read_text(golden / "run" / "final_config.yaml");
  const std::size_t begin = config.find("ci_config:"), end = config.find("sigmoid_type");
  config.replace(begin, end - begin, "ci_config: {fn_type: " + kind + ", hidden_dims: [5]}\n");
  const ImportOptions options{
      .path = run_of(tensors, config), .target = golden / "target", .tokens = golden / "tokens.npy"};
  EXPECT_EQ(import_to_out(options).causal_importance, kind);
  const SafetensorsFile file(out_ / "checkpoints" / "latest" / causal_importance_file);
  EXPECT_EQ(file.tensors().size(), expected.size());
  for (const auto& [name, tensor] : expected) EXPECT_TRUE(at::equal(file.load(name), tensor)) << name;
  const EvaluateResult result = evaluate_run({.run = out_, .metrics = {"ci_l0"}, .device = "cpu"});
  EXPECT_GT(result.metrics.front().second, 0.0);

  tensors.emplace_back(global ? "ci_fn._global_ci_fn.layers.4.b" : "ci_fn._ci_fns.h-0-mlp-c_fc.layers.4.b",
                       at::ones({3}));
  expect_run_rejected(run_of(tensors, config),
                      "expected only tensors that its configuration speaks of, found ci_fn.");
}

INSTANTIATE_TEST_SUITE_P(Kinds, ImportMlps,
                         ::testing::Values("mlp", "vector_mlp", "shared_mlp", "global_shared_mlp"));

TEST_F(Import, SummaryForPeopleAndPrograms) {
  const ImportSummary summary = import_to_out({.path = golden / "run", .tokens = golden / "tokens.npy"});
  const std::string text = import_text(summary);
  for (const char* part : {"a run after 10 steps", "2 blocks of width 24, vocabulary 61: 15.4 k parameters",
                           "12, with 300 subcomponents", "global_shared_transformer", "model_config.yaml"}) {
    EXPECT_TRUE(contains(text, part)) << part << " in\n" << text;
  }
  const auto json = nlohmann::json::parse(import_json(summary));
  EXPECT_EQ(json["kind"], "run");
  EXPECT_EQ(json["step"], 10);
  EXPECT_EQ(json["sites"], 12);
  EXPECT_EQ(json["causal_importance_parameters"], 40332);
  EXPECT_EQ(json["warnings"].size(), summary.warnings.size());
  const auto target = nlohmann::json::parse(import_json(import_to_out({.path = golden_target})));
  EXPECT_FALSE(target.contains("sites"));
  EXPECT_EQ(target["target_parameters"], 15408);
}

}  // namespace
}  // namespace vpd
