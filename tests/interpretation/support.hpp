#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/places.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/interpretation/evidence.hpp"
#include "vpd/interpretation/harvest.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"
#include "vpd/ops/differentiable.hpp"

namespace vpd::testing {

/// Rows that a test wrote down: tokens [B, T], or features [B, n].
class GivenRows final : public Dataset {
 public:
  explicit GivenRows(at::Tensor rows) : rows_(std::move(rows)) {}
  InputKind kind() const override {
    return rows_.is_floating_point() ? InputKind::features : InputKind::tokens;
  }
  std::int64_t length() const override { return length_of(rows_); }
  std::optional<std::int64_t> rows() const override { return rows_.size(0); }
  at::Tensor batch(std::int64_t position, std::int64_t count) const override {
    return rows_.narrow(0, position, count);
  }
  std::string describe() const override { return "rows of a test"; }

 private:
  at::Tensor rows_;
};

/// z = 2 |x| - 1 of an embedding's inner activations, or of x V: important exactly where these are 1 or -1,
/// for entries of -1, 0 and 1.
class WhereItReads final : public CausalImportance {
 public:
  explicit WhereItReads(const Sites& sites) : sites_(sites) {}
  std::vector<TensorSpec> parameters() const override { return {{"unused", {1}}}; }
  void initialise(ParameterSet& parameters, std::uint64_t) const override { parameters.refresh(); }
  at::Tensor forward(const std::vector<at::Tensor>& inputs, std::int64_t, const std::vector<Parameter>&,
                     const BoundSubcomponents& components) const override {
    std::vector<at::Tensor> z;
    for (std::size_t i = 0; i < sites_.size(); ++i) {
      const at::Tensor h = sites_[i].embedding ? inputs[i] : at::matmul(inputs[i], components.V(i).value);
      z.push_back(2.0 * h.abs() - 1.0);
    }
    return at::cat(z, 1);
  }

 private:
  Sites sites_;
};

inline std::string where_it_reads() {
  static const bool once = [] {
    register_causal_importance("where_it_reads", [](CustomOptions&, const Sites& sites, const Numerics&) {
      return std::make_unique<WhereItReads>(sites);
    });
    return true;
  }();
  static_cast<void>(once);
  return "causal_importance={type: custom, name: where_it_reads, options: {}}";
}

/// The plain case's target with its embedding as the only site. V [vocabulary, C] has -1, 0 and 1:
/// subcomponent c fires at token v where V[v][c] is not 0, with that sign.
inline Decomposition embedding_case(const at::Tensor& V, at::ScalarType type = at::kFloat) {
  const RunConfig config = load_run_config(
      test_data() / "plain" / "config.yaml",
      {fmt::format("sites=[{{pattern: wte, C: {}}}]", V.size(1)), where_it_reads(), "initialize_from=null"});
  std::vector<std::string> warnings;
  Decomposition d = make_decomposition(config, {at::kCPU, type, type}, "test", warnings);
  at::Tensor(d.components.V(0)).copy_(V);
  at::Tensor(d.components.U(0)).fill_(1.0 / std::sqrt(static_cast<double>(d.sites[0].d_out)));
  d.components.refresh();
  return d;
}

/// Harvests rows in batches of `at_once`, those of a shard alone.
inline Harvest harvested(const Decomposition& d, const Dataset& data, const HarvestSettings& settings,
                         std::int64_t at_once = 2, int lanes = 1, int shard = 0, int shards = 1) {
  Lanes pool(lanes);
  Harvest harvest(d, data.length(), settings);
  const BatchReader reader(d, data, pool, {.rows = at_once});
  for (std::int64_t k = shard; reader.rows_of(k) > 0; k += shards) harvest.add(reader.read(k));
  return harvest;
}

/// The tables of a harvest, with an about.json as `vpd harvest` writes it, opened.
inline Evidence evidence_of(const Harvest& harvest, const Decomposition& d, std::int64_t T,
                            const std::filesystem::path& directory, std::int64_t partners = 0) {
  std::filesystem::create_directories(directory);
  harvest.write_tables(directory, partners);
  nlohmann::ordered_json about = {{"settings", to_json(harvest.settings())},
                                  {"positions", harvest.positions()},
                                  {"rows", harvest.rows()},
                                  {"row_length", T},
                                  {"sites", nlohmann::json::array()}};
  for (const Site& site : d.sites)
    about["sites"].push_back({{"name", site.name},
                              {"C", site.C},
                              {"offset", site.offset},
                              {"d_in", site.d_in},
                              {"d_out", site.d_out}});
  write_about(directory, about);
  return Evidence(directory);
}

inline const std::vector<std::string>& table_names() {
  static const std::vector<std::string> names = {"subcomponents.safetensors", "input_tokens.safetensors",
                                                 "output_tokens.safetensors", "coactivation.safetensors",
                                                 "lens.safetensors",          "examples.safetensors"};
  return names;
}
inline void expect_same_tables(const std::filesystem::path& a, const std::filesystem::path& b) {
  for (const std::string& name : table_names())
    EXPECT_TRUE(read_text(a / name) == read_text(b / name)) << name << " differs";
}

}  // namespace vpd::testing
