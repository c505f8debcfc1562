#pragma once

#include <map>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "support/golden.hpp"
#include "support/places.hpp"
#include "vpd/evaluation/evaluate.hpp"
#include "vpd/io/tokens.hpp"

namespace vpd::testing {

struct Evaluated {
  std::map<std::string, double> values;
  std::map<std::string, std::vector<double>> arrays;

  double at(const std::string& name) const { return values.at(name); }
};

/// A golden case's evaluation with slow metrics, divided among lanes.
inline Evaluated evaluate_golden(const GoldenCase& golden, int lane_count = 2) {
  Lanes lanes(lane_count);
  const auto& data = std::get<TokensData>(golden.config.data.eval);
  TokenDataset tokens(data.path, data.sequence_length, data.shuffle, golden.config.seed);
  MetricArrays arrays;
  const MetricValues values = evaluate(golden.decomposition, golden.config, tokens, 0, {}, lanes, &arrays);
  return {{values.begin(), values.end()}, {arrays.begin(), arrays.end()}};
}

/// Overrides that evaluate the 30 rows of the plain case's training data, in order, in batches of `rows`.
inline std::vector<std::string> on_training_rows(std::int64_t rows, std::int64_t batches,
                                                 const std::string& metrics) {
  return {"data.eval.path=" + (test_data() / "plain" / "train.npy").string(),
          fmt::format("evaluation.batch_size={}", rows), fmt::format("evaluation.batches={}", batches),
          "evaluation.metrics=[" + metrics + "]"};
}

}  // namespace vpd::testing
