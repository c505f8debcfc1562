#pragma once

// The golden cases of tests/data/interpretation, and small decompositions of targets of every family.

#include "support.hpp"
#include "support/device_case.hpp"
#include "support/golden.hpp"
#include "support/places.hpp"
#include "support/targets.hpp"
#include "vpd/io/tokens.hpp"

namespace vpd::testing {

/// A golden case with the importances that statistics are made of, and its held-out rows.
struct InterpretationCase : GoldenCase {
  explicit InterpretationCase(const std::string& name)
      : GoldenCase(name, at::kDouble), folder(test_data() / "interpretation" / name) {
    decomposition.ci_parameters.load(folder / "causal_importance.safetensors");
    decomposition.ci_parameters.refresh();
  }
  at::Tensor rows() const {
    const auto& data = std::get<TokensData>(config.data.eval);
    const TokenDataset all(data.path, data.sequence_length, false, 0);
    return all.batch(0, *all.rows());
  }

  std::filesystem::path folder;
};

/// Random U and V for a target of a family, importances where they read.
inline Decomposition small_decomposition(const std::string& family, const std::string& sites) {
  const Numerics exact{at::kCPU, at::kDouble, at::kDouble};
  const RunConfig config = load_run_config(test_data() / "plain" / "config.yaml",
                                           {"sites=" + sites, where_it_reads(), "initialize_from=null"});
  return make_decomposition(config, exact, "test", target_with_blocks(family, exact));
}

/// Hands batches of rows of a test to `visit`.
template <class Visit>
void visit_batches(const Decomposition& d, const at::Tensor& rows, std::int64_t at_once, int lanes,
                   const Visit& visit) {
  const GivenRows data(rows);
  Lanes pool(lanes);
  const BatchReader reader(d, data, pool, {.rows = at_once});
  for (std::int64_t k = 0; reader.rows_of(k) > 0; ++k) visit(reader.read(k));
}

}  // namespace vpd::testing
