// Targets of the original code as vpd import converts them.

#include "run/import_support.hpp"

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
  EXPECT_TRUE(at::equal(SafetensorsFile(out_ / "model.safetensors").load("lm_head.weight"),
                        tensor_in(tensors, "lm_head.weight")));
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
                  "expected real floating-point numbers");
  at::Tensor broken = at::zeros({24});
  broken[5] = std::numeric_limits<float>::quiet_NaN();
  expect_rejected({.path = changed("ln_f.weight", broken)},
                  "tensor ln_f.weight: expected finite values, found nan at element 5");
  NamedTensors tensors = tensors_of(golden_target);
  drop(tensors, "h.1.rms_2");
  expect_rejected({.path = target_of(tensors)},
                  "expected a tensor h.1.rms_2.weight, found none of that name among 18; the nearest is");
  tensors.emplace_back("h.0.attn.c_attn.weight", at::zeros({72, 24}));
  expect_rejected({.path = target_of(tensors)}, "found one c_attn for all three");
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
  expect_rejected({.path = golden / "hostile.pth"}, "found the name 'posix.system'");
  for (const ImportOptions& options :
       {ImportOptions{.path = golden_target, .target = golden / "target"},
        ImportOptions{.path = golden_target, .tokens = golden / "tokens.npy"}}) {
    EXPECT_ERROR_AS(UsageError, "--tokens and --target belong to a run", import_to_out(options));
  }
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
