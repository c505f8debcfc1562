#pragma once

// A small run configuration of which a test puts one key in another's place.

#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <spdlog/fmt/fmt.h>

#include "config/support.hpp"
#include "vpd/config/run.hpp"

namespace vpd {

// Each line is one key, so that a test can put another in its place.
inline constexpr const char* base = R"(target: {type: llama_simple_mlp, path: target}
data: {train: {type: tokens, path: t.bin, sequence_length: 8}, eval: {type: tokens, path: t.bin, sequence_length: 8}}
sites: [{pattern: "h.*", C: 4}]
causal_importance: {type: global_shared_transformer, d_model: 8, n_blocks: 1, n_heads: 2, d_mlp: 16}
objective: [{type: faithfulness, coefficient: 1}]
training: {steps: 10, batch_size: 4, learning_rate: 1.0e-3}
)";

class RunConfigTest : public testing::Test {
 protected:
  RunConfigTest() {
    std::filesystem::create_directory(scratch.path() / "target");
    scratch.write("t.bin", "");
  }

  // `base` with one key's line replaced, added, or, where `value` is empty, left out.
  RunConfig load(const std::string& key = "", const std::string& value = "",
                 const std::vector<std::string>& overrides = {}) {
    std::string text = base;
    if (!key.empty()) {
      if (const std::size_t begin = text.find("\n" + key + ":");
          begin != std::string::npos || text.starts_with(key + ":")) {
        const std::size_t start = begin == std::string::npos ? 0 : begin + 1;
        text.erase(start, text.find('\n', start) + 1 - start);
      }
      if (!value.empty()) text += fmt::format("{}: {}\n", key, value);
    }
    return load_run_config(scratch.write("run.yaml", text), overrides);
  }

  // The message without the file's name and line.
  std::string message(const std::string& key, const std::string& value,
                      const std::vector<std::string>& overrides = {}) {
    const std::string error = error_of([&] { load(key, value, overrides); });
    const std::string file = (scratch.path() / "run.yaml").string();
    if (error.empty()) return "";
    if (!error.starts_with(file)) return error;
    return error.substr(error.find(": ", file.size()) + 2);
  }

  std::string objective_message(const std::string& terms) { return message("objective", "[" + terms + "]"); }
  std::string metrics_message(const std::string& metrics) {
    return message("evaluation", "{metrics: [" + metrics + "]}");
  }
  std::string adversary_message(const std::string& adversary) {
    return objective_message("{type: adversarial_recon, coefficient: 1, adversary: {" + adversary + "}}");
  }

  ScratchDirectory scratch;
};

}  // namespace vpd
