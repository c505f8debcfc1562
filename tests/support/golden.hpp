#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/safetensors.hpp"

namespace vpd::testing {

/// One case of reference numbers under tests/data (plain, grouped): computed in float64 with an independent
/// implementation, stored as float32.
struct GoldenCase {
  GoldenCase(const std::string& name, at::ScalarType type, const std::vector<std::string>& overrides = {},
             at::Device device = at::kCPU);

  std::filesystem::path directory;
  RunConfig config;
  nlohmann::json expected;
  SafetensorsFile tensors, fixed;
  Decomposition decomposition;  ///< target, and the parameters of initial/
  at::ScalarType type;

  /// A tensor of expected.safetensors or fixed.safetensors in the case's type (numbers) with its leading [B,
  /// T] as one dimension.
  at::Tensor value(const std::string& name) const;
  at::Tensor drawn(const std::string& name) const;
  double number(const char* group, const std::string& name) const {
    return expected.at(group).at(name).get<double>();
  }
};

/// Largest absolute difference over the largest absolute entry of `expected`.
double relative_error(const at::Tensor& actual, const at::Tensor& expected);
inline double relative_error(double actual, double expected) {
  return std::abs(actual - expected) / std::abs(expected);
}

}  // namespace vpd::testing
