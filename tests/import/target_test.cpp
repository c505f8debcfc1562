// Targets of the original code as vpd import converts them.

#include "import/support.hpp"
#include "support/places.hpp"

namespace vpd {
namespace {

TEST_F(Import, Target) {
  const ImportSummary summary = import_to_out({.path = golden / "target"});
  EXPECT_EQ(summary.kind, "target");
  EXPECT_EQ(summary.step, 100);
  EXPECT_EQ(summary.target_parameters, 15408);
  EXPECT_TRUE(summary.warnings.empty());
  std::vector<std::string> warnings;
  const LlamaSimpleMlpCheckpoint loaded = read_llama_simple_mlp(out_, warnings);
  EXPECT_TRUE(warnings.empty());
  EXPECT_EQ(loaded.config, read_model_config(golden / "target" / "model_config.yaml", warnings));
  const TorchCheckpoint original(golden_target);
  EXPECT_EQ(loaded.weights.size() + 1, original.tensors().size());  // the head is tied
  for (const auto& [name, weight] : loaded.weights)
    EXPECT_TRUE(at::equal(weight, original.load(name))) << name;
  const auto provenance = nlohmann::json::parse(read_text(out_ / "provenance.json"));
  EXPECT_EQ(provenance["imported"][golden_target.string()], sha256_of_file(golden_target));
  EXPECT_EQ(provenance["command_line"], "vpd import");
}

TEST_F(Import, UntiedHead) {
  NamedTensors tensors = tensors_of(golden_target);
  tensor_in(tensors, "lm_head.weight")[3][4] += 1.0;
  import_to_out({.path = target_of(tensors)});
  expect_warning(
      import_to_out({.path = target_of(tensors)}),
      "lm_head.weight and wte.weight differ, which a LlamaSimpleMLP ties: the head stays a matrix");
  EXPECT_TRUE(at::equal(SafetensorsFile(out_ / "model.safetensors").load("lm_head.weight"),
                        tensor_in(tensors, "lm_head.weight")));
  // Later versions say that it is so.
  const fs::path path = target_of(tensors), config = path.parent_path() / "model_config.yaml";
  write_atomically(config, read_text(config) + "tie_word_embeddings: false\n");
  EXPECT_TRUE(import_to_out({.path = path}).warnings.empty());
  std::vector<std::string> warnings;
  EXPECT_FALSE(read_llama_simple_mlp(out_, warnings).config.tied_head);
  EXPECT_TRUE(warnings.empty()) << warnings.front();
}

// What two modules share may have either name, as safetensors' save_model() leaves it.
TEST_F(Import, TiedHeadUnderOneName) {
  import_to_out({.path = golden / "target"});
  const std::string expected = sha256_of_file(out_ / "model.safetensors");
  for (const char* name : {"wte.weight", "lm_head.weight"}) {
    NamedTensors tensors = tensors_of(golden_target);
    drop(tensors, name);
    EXPECT_TRUE(import_to_out({.path = target_of(tensors)}).warnings.empty()) << name;
    EXPECT_EQ(sha256_of_file(out_ / "model.safetensors"), expected) << name;
    const fs::path config = directory_ / "t" / "model_config.yaml";
    write_atomically(config, read_text(config) + "tie_word_embeddings: false\n");
    expect_rejected({.path = directory_ / "t"},
                    "expected wte.weight and lm_head.weight, as tie_word_embeddings: false");
    fs::remove(config);
  }
}

// Under the keys and with the prefixes that training scripts leave.
TEST_F(Import, WeightsUnderOtherNames) {
  import_to_out({.path = golden / "target"});
  const std::string expected = sha256_of_file(out_ / "model.safetensors");
  for (const char* prefix : {"model.", "state_dict.", "model_state_dict.", "module.", "model.module.",
                             "_orig_mod.", "model._orig_mod.", "module._orig_mod.",
                             "state_dict.model._orig_mod.", "checkpoint.model_state_dict.module.",
                             "transformer.", "_fsdp_wrapped_module.", "ema.", "whatever."}) {
    NamedTensors tensors = tensors_of(golden_target);
    for (auto& [name, tensor] : tensors) name = prefix + name;
    EXPECT_TRUE(import_to_out({.path = target_of(tensors)}).warnings.empty()) << prefix;
    EXPECT_EQ(sha256_of_file(out_ / "model.safetensors"), expected) << prefix;
    // What lies beside it is passed over.
    tensors.emplace_back("optimizer.state.0.exp_avg", at::ones({3}));
    tensors.emplace_back("optimizer.exp_avg.wte.weight", at::ones({3}));
    tensors.emplace_back("torch_rng_state", at::ones({3}));
    EXPECT_TRUE(import_to_out({.path = target_of(tensors)}).warnings.empty()) << prefix;
    EXPECT_EQ(sha256_of_file(out_ / "model.safetensors"), expected) << prefix;
  }
  // In the middle of a name too, and in safetensors.
  NamedTensors tensors = tensors_of(golden_target);
  for (auto& [name, tensor] : tensors) {
    if (name.starts_with("h.")) name = name.substr(0, 4) + "_checkpoint_wrapped_module." + name.substr(4);
    name = "model." + name;
  }
  target_of(tensors);
  fs::remove(directory_ / "t" / "model_step_100.pt");
  save_safetensors(directory_ / "t" / "a.safetensors", tensors);
  EXPECT_TRUE(import_to_out({.path = directory_ / "t"}).warnings.empty());
  EXPECT_EQ(sha256_of_file(out_ / "model.safetensors"), expected);
}

TEST_F(Import, OneOfSeveralModels) {
  const auto both = [&](const std::string& a, const std::string& b) {
    NamedTensors tensors;
    for (const auto& [name, tensor] : tensors_of(golden_target)) {
      tensors.emplace_back(a + name, tensor + 1.0);
      tensors.emplace_back(b + name, tensor);
    }
    return target_of(tensors);
  };
  for (const auto& [other, chosen] : std::vector<std::pair<std::string, std::string>>{
           {"best_model.", "model."}, {"state_dict.", "model."}, {"a.", ""}, {"model.best.", "model."}}) {
    const ImportSummary summary = import_to_out({.path = both(other, chosen)});
    EXPECT_TRUE(at::equal(SafetensorsFile(out_ / "model.safetensors").load("ln_f.weight"),
                          TorchCheckpoint(golden_target).load("ln_f.weight")))
        << chosen;
    expect_warning(summary, "whose names begin with '" + chosen +
                                "' were taken for the model, and those of '" + other + "'");
  }
  EXPECT_TRUE(import_to_out({.path = both("ema.", "model.")}).warnings.empty());
  expect_rejected({.path = both("student.", "teacher.")},
                  "expected the weights of one model, found those of several, whose names begin with "
                  "'student.', 'teacher.'");
}

// Without grouped-query attention q, k and v are one matrix, and n_key_value_heads is left over.
TEST_F(Import, OneMatrixForQueriesKeysAndValues) {
  import_to_out({.path = golden / "target"});
  const std::string expected = sha256_of_file(out_ / "model.safetensors");
  NamedTensors tensors = tensors_of(golden_target);
  for (const char* block : {"h.0.attn.", "h.1.attn."}) {
    std::vector<at::Tensor> parts;
    for (const char* part : {"q_proj.weight", "k_proj.weight", "v_proj.weight"}) {
      parts.push_back(tensor_in(tensors, std::string(block) + part));
      drop(tensors, std::string(block) + part);
    }
    tensors.emplace_back(std::string(block) + "c_attn.weight", at::cat(parts));
  }
  const fs::path path = target_of(tensors), config = path.parent_path() / "model_config.yaml";
  std::string text = read_text(config);
  text.replace(text.find("n_key_value_heads: 3"), 20, "n_key_value_heads: 1");
  write_atomically(config, text);
  expect_rejected({.path = path}, "found one c_attn for all three, which has as many key and value heads");
  text.replace(text.find("attention: true"), 15, "attention: false");
  write_atomically(config, text);
  expect_warning(import_to_out({.path = path}), "n_key_value_heads: has no effect");
  EXPECT_EQ(sha256_of_file(out_ / "model.safetensors"), expected);
}

// Only Python could make them, and nobody asks for them.
TEST_F(Import, ObjectsBesideTheWeights) {
  const auto harmless = [&](const std::string& name, const std::string& value) {
    const fs::path path = target_of(tensors_of(golden_target));
    testing::add_to_torch(path, name, value);
    return import_to_out({.path = path}).warnings;
  };
  const std::string system = "cposix\nsystem\n" + testing::pickled_text("touch pwned") + "\x85R";
  EXPECT_TRUE(harmless("args", "cargparse\nNamespace\n)\x81}b").empty());
  EXPECT_TRUE(harmless("epoch",
                       "cnumpy\nint64\nC\x01"
                       "a\x85R")
                  .empty());
  std::vector<std::string> warnings = harmless("h.0.attn.extra", "cnumpy\nint64\n)R");
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_TRUE(contains(warnings[0], "'h.0.attn.extra' is what 'numpy.int64' would make and was passed over"));
  warnings = harmless("x", system);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_TRUE(contains(warnings[0],
                       "found the name 'posix.system', which Python would import and could call; "
                       "nothing of it was run"))
      << warnings[0];
  EXPECT_FALSE(fs::exists("pwned"));
  // A weight itself.
  NamedTensors tensors = tensors_of(golden_target);
  drop(tensors, "ln_f.weight");
  const fs::path path = target_of(tensors);
  testing::add_to_torch(path, "ln_f.weight", "cnumpy\nndarray\n)R");
  expect_rejected(
      {.path = path},
      "expected a tensor ln_f.weight, found what 'numpy.ndarray' would make; nothing of it was run");
  // A whole model, of which nothing but its name is read.
  testing::save_torch(path, {});
  testing::add_to_torch(path, "model", "cforeign\nModel\n)\x81}b");
  expect_rejected({.path = path}, "found no tensors; 'model' is what 'foreign.Model' would make");
}

TEST_F(Import, OtherFloatingPointTypesBecomeFloat32) {
  NamedTensors tensors = tensors_of(golden_target);
  for (const at::ScalarType type : {at::kBFloat16, at::kDouble}) {
    for (auto& [name, tensor] : tensors) tensor = tensor.to(type);
    import_to_out({.path = target_of(tensors)});
    const SafetensorsFile file(out_ / "model.safetensors");
    EXPECT_EQ(file.find("wte.weight")->scalar_type, at::kFloat);
    EXPECT_TRUE(at::equal(file.load("wte.weight"), tensor_in(tensors, "wte.weight").to(at::kFloat)));
  }
}

// Later targets were published as safetensors.
TEST_F(Import, TargetOfSafetensors) {
  const fs::path path = target_of(tensors_of(golden_target));
  save_safetensors(directory_ / "t" / "model_step_99999.safetensors", tensors_of(golden_target));
  const ImportSummary summary = import_to_out({.path = directory_ / "t"});
  EXPECT_EQ(summary.step, 99999);
  import_to_out({.path = golden / "target"});
  const std::string expected = sha256_of_file(out_ / "model.safetensors");
  import_to_out({.path = directory_ / "t"});
  EXPECT_EQ(sha256_of_file(out_ / "model.safetensors"), expected);
}

TEST_F(Import, ChecksWhichCheckpointIsMeant) {
  const NamedTensors tensors = tensors_of(golden_target);
  const fs::path last = target_of(tensors, "model_step_1000.pt");
  target_of(tensors, "model_step_200.pt");
  EXPECT_EQ(import_to_out({.path = directory_ / "t"}).step, 1000);
  EXPECT_EQ(import_to_out({.path = directory_ / "t", .step = 200}).step, 200);
  expect_rejected({.path = directory_ / "t", .step = 300},
                  "expected a checkpoint of step 300, found those of 200, 1000");
  EXPECT_ERROR_AS(UsageError, "--step chooses among the checkpoints of a directory",
                  import_to_out({.path = last, .step = 1000}));
  // The original code keeps them in a folder below the configuration.
  fs::create_directories(directory_ / "t" / "checkpoints");
  fs::rename(last, directory_ / "t" / "checkpoints" / "model_step_1000.pt");
  EXPECT_EQ(import_to_out({.path = directory_ / "t"}).step, 1000);
  EXPECT_EQ(import_to_out({.path = directory_ / "t" / "checkpoints"}).step, 1000);
  fs::rename(directory_ / "t" / "model_step_200.pt", directory_ / "t" / "a.pt");
  fs::rename(directory_ / "t" / "checkpoints" / "model_step_1000.pt", directory_ / "t" / "b.pt");
  expect_rejected({.path = directory_ / "t"}, "expected one checkpoint, or names that end with their step");
  expect_rejected({.path = directory_ / "t", .step = 1},
                  "expected a checkpoint of step 1, found none with a step");
  fs::remove(directory_ / "t" / "a.pt");
  EXPECT_EQ(import_to_out({.path = directory_ / "t"}).step, std::nullopt);
  fs::remove(directory_ / "t" / "b.pt");
  expect_rejected({.path = directory_ / "t"},
                  "expected checkpoints (.pt, .pth, .safetensors) in the directory");
  expect_rejected({.path = directory_ / "none"}, "found nothing of that name");
}

TEST_F(Import, TensorsOfATargetThatAreNoWeights) {
  NamedTensors tensors = tensors_of(golden_target);
  tensors.emplace_back("h.0.attn.bias", at::ones({1, 1, 32, 32}));
  tensors.emplace_back("h.0.attn.rotary_sin", at::ones({32, 8}));
  EXPECT_TRUE(import_to_out({.path = target_of(tensors)}).warnings.empty());
  tensors.emplace_back("h.0.attn.gate", at::ones({3}));
  expect_warning(import_to_out({.path = target_of(tensors)}),
                 "the tensor h.0.attn.gate is not part of a LlamaSimpleMLP");
}

TEST_F(Import, TargetsThatAreRefused) {
  const auto changed = [&](const std::string& name, const at::Tensor& tensor) {
    NamedTensors tensors = tensors_of(golden_target);
    tensor_in(tensors, name) = tensor;
    return target_of(tensors);
  };
  expect_rejected({.path = changed("h.0.mlp.c_fc.weight", at::zeros({96, 23}))},
                  "tensor h.0.mlp.c_fc.weight: expected the shape [96, 24], found [96, 23]");
  expect_rejected({.path = changed("h.0.mlp.c_fc.weight", at::zeros({96, 24}, at::kLong))},
                  "expected real floating-point numbers, found Long");
  at::Tensor broken = at::zeros({24});
  broken[5] = std::numeric_limits<float>::quiet_NaN();
  expect_rejected({.path = changed("ln_f.weight", broken)},
                  "tensor ln_f.weight: expected finite values, found nan at element 5");
  NamedTensors tensors = tensors_of(golden_target);
  drop(tensors, "h.1.rms_2");
  expect_rejected({.path = target_of(tensors)},
                  "expected a tensor h.1.rms_2.weight, found none of that name among 18; the nearest is");
  expect_rejected({.path = target_of({{"a", at::ones({1})}, {"b", at::ones({1})}})},
                  "expected a LlamaSimpleMLP (tensors such as wte.weight) or a decomposition of one "
                  "(_components.h-0-attn-q_proj.V), found a, b");
  expect_rejected({.path = target_of({})}, "found no tensors");
  expect_rejected({.path = target_of({{"a\x1b[2J", at::ones({1})}})},
                  "expected tensors whose names are printable ASCII, found 'a\\x1b[2J'");
  fs::remove(directory_ / "t" / "model_config.yaml");
  save_torch(directory_ / "t" / "model_step_100.pt", tensors_of(golden_target));
  expect_rejected({.path = directory_ / "t"},
                  "expected a model_config.yaml or .json beside it or one directory above");
  expect_rejected({.path = golden / "hostile.pth"},
                  "found the name 'posix.system', which Python would import");
  expect_rejected({.path = golden / "hostile.pth"}, "expected a LlamaSimpleMLP");
  for (const ImportOptions& options :
       {ImportOptions{.path = golden_target, .target = golden / "target"},
        ImportOptions{.path = golden_target, .tokens = golden / "tokens.npy"}}) {
    EXPECT_ERROR_AS(UsageError, "--tokens and --target belong to a run", import_to_out(options));
  }
}

// They are read as they are.
TEST_F(Import, HuggingFacesLayoutNeedsNone) {
  const fs::path llama = testing::test_data() / "huggingface" / "llama",
                 gpt2 = testing::test_data() / "huggingface" / "gpt2";
  expect_rejected(
      {.path = llama},
      "found a Llama in Hugging Face's layout, which is read as it is and needs no import: write target: "
      "{type: hf, path: " +
          llama.string() + "} in the run's configuration");
  expect_rejected({.path = gpt2 / "model.safetensors"},
                  "write target: {type: hf, path: " + gpt2.string() + "}");
  fs::create_directories(directory_ / "a b");
  write_atomically(directory_ / "a b" / "config.json", R"({"model_type": "mamba"})");
  save_safetensors(directory_ / "a b" / "model.safetensors", {{"a", at::zeros({1})}});
  expect_rejected({.path = directory_ / "a b"}, "needs no import, but cannot be read either");
  expect_rejected({.path = directory_ / "a b"}, "model_type: expected one of gpt2, llama, qwen2, qwen3");
}

// A config.json may be a run's own, and a checkpoint of PyTorch may lie beside another's.
TEST_F(Import, OtherConfigurationsAreNoHuggingFaceLayout) {
  const fs::path path = target_of(tensors_of(golden_target));
  fs::remove(directory_ / "t" / "model_config.yaml");
  fs::copy_file(golden / "target" / "model_config.yaml", directory_ / "model_config.yaml");
  write_atomically(directory_ / "t" / "config.json", R"({"target": {"type": "hf"}})");
  import_to_out({.path = directory_ / "t"});
  write_atomically(directory_ / "t" / "config.json", R"({"model_type": "llama"})");
  import_to_out({.path = directory_ / "t"});
  save_safetensors(directory_ / "t" / "model.safetensors", {{"a", at::zeros({1})}});
  import_to_out({.path = path});
}

TEST_F(Import, OutIsNewOrEmpty) {
  fs::create_directories(out_);
  import_artefact({.path = golden_target, .out = out_});
  EXPECT_DATA_ERROR("expected a new or an empty directory",
                    import_artefact({.path = golden_target, .out = out_}));
  write_atomically(directory_ / "file", "x");
  EXPECT_DATA_ERROR("expected a new or an empty directory",
                    import_artefact({.path = golden_target, .out = directory_ / "file"}));
  EXPECT_DATA_ERROR("cannot make this directory",
                    import_artefact({.path = golden_target, .out = directory_ / "file" / "out"}));
}

}  // namespace
}  // namespace vpd
