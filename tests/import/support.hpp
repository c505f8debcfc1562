#pragma once

// The golden artefacts of the original code, and copies of them with other tensors.

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "import/foreign_state.hpp"
#include "import/torch_files.hpp"
#include "io/support.hpp"
#include "support/places.hpp"
#include "vpd/config/run.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/import/import.hpp"
#include "vpd/import/torch_checkpoint.hpp"
#include "vpd/io/run_directory.hpp"
#include "vpd/io/sha256.hpp"
#include "vpd/run/evaluate.hpp"
#include "vpd/target/llama_simple_mlp.hpp"

namespace vpd {

namespace fs = std::filesystem;
using testing::contains;
using testing::count_entries;
using testing::save_torch;
using testing::TemporaryDirectory;

inline const fs::path golden = testing::test_data() / "import";
inline const fs::path golden_target = golden / "target" / "model_step_100.pt";
inline const fs::path golden_run = golden / "run" / "model_10.pth";

inline NamedTensors tensors_of(const fs::path& file) {
  const TorchCheckpoint checkpoint(file);
  NamedTensors tensors;
  for (const TorchTensorInfo& info : checkpoint.tensors())
    tensors.emplace_back(info.name, checkpoint.load(info.name).clone());
  return tensors;
}

inline at::Tensor& tensor_in(NamedTensors& tensors, const std::string& name) {
  for (auto& [key, tensor] : tensors) {
    if (key == name) return tensor;
  }
  throw std::runtime_error("no tensor " + name);
}

inline void drop(NamedTensors& tensors, const std::string& part) {
  std::erase_if(tensors, [&](const auto& entry) { return contains(entry.first, part); });
}

class Import : public ::testing::Test {
 protected:
  // A copy of the golden target or run whose tensors are others.
  fs::path target_of(const NamedTensors& tensors, const std::string& name = "model_step_100.pt") {
    fs::create_directories(directory_ / "t");
    fs::copy_file(golden / "target" / "model_config.yaml", directory_ / "t" / "model_config.yaml",
                  fs::copy_options::overwrite_existing);
    save_torch(directory_ / "t" / name, tensors);
    return directory_ / "t" / name;
  }
  fs::path run_of(const NamedTensors& tensors, const std::string& config = {}) {
    fs::create_directories(directory_ / "r");
    write_atomically(directory_ / "r" / "final_config.yaml",
                     config.empty() ? read_text(golden / "run" / "final_config.yaml") : config);
    save_torch(directory_ / "r" / "model_10.pth", tensors);
    return directory_ / "r" / "model_10.pth";
  }

  ImportSummary import_to_out(ImportOptions options) {
    fs::remove_all(out_);
    options.out = out_;
    options.command_line = "vpd import";
    return import_artefact(options);
  }
  // A run of the golden target.
  ImportSummary import_run(const fs::path& path) {
    return import_to_out({.path = path, .target = golden / "target"});
  }

  // Leaves nothing behind.
  void expect_rejected(ImportOptions options, const std::string& part) {
    fs::remove_all(out_);
    options.out = out_;
    const std::size_t before = count_entries(directory_.path());
    EXPECT_DATA_ERROR(part, import_artefact(options));
    EXPECT_EQ(count_entries(directory_.path()), before);
  }
  void expect_run_rejected(const fs::path& path, const std::string& part) {
    expect_rejected({.path = path, .target = golden / "target"}, part);
  }

  void expect_warning(const ImportSummary& summary, const std::string& part) {
    std::string all;
    for (const std::string& warning : summary.warnings) all += warning + "\n";
    EXPECT_TRUE(contains(all, part)) << "expected '" << part << "' among:\n" << all;
  }

  TemporaryDirectory directory_;
  fs::path out_ = directory_ / "out";
};

}  // namespace vpd
