#include "support/golden.hpp"

#include <fstream>

#include <ATen/ATen.h>

#include "support/places.hpp"

namespace vpd::testing {
namespace {

nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(std::ifstream(path));
}

thread_local std::vector<std::string> ignored_warnings;

}  // namespace

GoldenCase::GoldenCase(const std::string& name, at::ScalarType scalar_type,
                       const std::vector<std::string>& overrides, at::Device device)
    : directory(test_data() / name),
      config(load_run_config(directory / "config.yaml", overrides)),
      expected(read_json(directory / "expected.json")),
      tensors(directory / "expected.safetensors"),
      fixed(directory / "fixed.safetensors"),
      decomposition(make_decomposition(config, {device, scalar_type, scalar_type}, name, ignored_warnings)),
      type(scalar_type) {
  load_weights(decomposition, config.initialize_from.value());
}

at::Tensor GoldenCase::value(const std::string& name) const {
  return tensors.load(name).to(decomposition.numerics.device, type);
}

at::Tensor GoldenCase::drawn(const std::string& name) const {
  const at::Tensor x = fixed.load(name);
  const at::Tensor rows = x.flatten(0, 1).contiguous();
  return (x.is_floating_point() ? rows.to(type) : rows).to(decomposition.numerics.device);
}

double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  const at::Tensor a = actual.to(at::kCPU, at::kDouble).flatten(),
                   b = expected.to(at::kCPU, at::kDouble).flatten();
  if (a.numel() != b.numel()) return std::numeric_limits<double>::infinity();
  const double error = (a - b).abs().max().item<double>(), scale = b.abs().max().item<double>();
  if (!std::isfinite(error)) return std::numeric_limits<double>::infinity();
  return scale > 0.0 ? error / scale : error;
}

}  // namespace vpd::testing
