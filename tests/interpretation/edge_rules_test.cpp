// What leads into a node adds up to it by the complete rule, in every family of targets.

#include <cmath>
#include <tuple>

#include "support.hpp"
#include "support/device_case.hpp"
#include "support/places.hpp"
#include "support/targets.hpp"
#include "vpd/interpretation/attribution_graph.hpp"
#include "vpd/passes/clean_pass.hpp"
#include "vpd/target/tms.hpp"

namespace vpd::testing {
namespace {

std::unique_ptr<Target> target_named(const std::string& name, const Numerics& numerics) {
  if (name != "tms") return target_with_blocks(name, numerics);
  const TmsConfig config{.n_features = 7, .n_hidden = 3, .n_hidden_layers = 2};
  NamedTensors weights = initial_tms(config, 1);
  for (auto& [key, weight] : weights)
    if (key == "linear2.bias") weight = uniform_values(weight.sizes(), 2, -0.2, 0.4);
  return std::make_unique<Tms>(config, weights, numerics);
}

/// Every matrix of a target as a site, embedding and head among them, or every third.
Decomposition decomposition_of(std::unique_ptr<Target> target, const Numerics& numerics, bool all) {
  std::string patterns;
  for (const Matrix& matrix : target->matrices())
    if (all || matrix.index % 3 == 1)
      patterns += fmt::format("{}{{pattern: \"{}\", C: 5}}", patterns.empty() ? "" : ", ", matrix.name);
  const RunConfig config =
      load_run_config(test_data() / "plain" / "config.yaml",
                      {fmt::format("sites=[{}]", patterns), where_it_reads(), "initialize_from=null"});
  return make_decomposition(config, numerics, "test", std::move(target));
}

/// Subcomponents of every site at some positions, and outputs.
std::vector<EdgeTarget> targets_of(const Decomposition& d, std::int64_t T) {
  std::vector<EdgeTarget> targets;
  for (std::int64_t t = 0; t < T; t += 3) {
    for (const Site& site : d.sites) targets.push_back({false, site.offset + t % site.C, t});
    targets.push_back({true, 2 + t % 4, t});
  }
  return targets;
}

double sum_of(const IncomingEdges& edges) {
  return edges.edge.sum().item<double>() + edges.delta.sum().item<double>() +
         edges.bias.sum().item<double>() + edges.input.sum().item<double>() + edges.constant;
}
double largest_of(const IncomingEdges& edges) {
  double largest = std::max(std::abs(edges.F), std::abs(edges.constant));
  for (const at::Tensor& part : {edges.edge, edges.delta, edges.bias, edges.input})
    if (part.numel() > 0) largest = std::max(largest, part.abs().max().item<double>());
  return largest;
}

using Case = std::tuple<const char*, bool, at::ScalarType>;
class CompleteEdges : public ::testing::TestWithParam<Case> {};

TEST_P(CompleteEdges, AddUpToWhatTheyLeadInto) {
  const auto& [name, all, type] = GetParam();
  const Numerics numerics{at::kCPU, type, type};
  const Decomposition d = decomposition_of(target_named(name, numerics), numerics, all);
  const at::Tensor rows = input_of(*d.target), whole = rows[1];
  const double tolerance = type == at::kDouble ? 1e-10 : 1e-5;
  Lanes lanes(1);
  const std::vector<at::Tensor> prompts =
      whole.is_floating_point() ? std::vector{whole} : std::vector{whole, whole.narrow(0, 2, 1)};
  for (const at::Tensor& prompt : prompts) {
    const std::vector<EdgeTarget> targets = targets_of(d, positions_of(prompt));
    ASSERT_GE(targets.size(), 2u);
    const CleanPass clean = clean_pass(d, prompt.unsqueeze(0));
    std::size_t moved = 0;
    incoming_edges(d, prompt, targets, EdgeRule::complete, lanes,
                   [&](std::size_t i, const IncomingEdges& edges) {
                     EXPECT_NEAR(sum_of(edges), edges.F, tolerance * largest_of(edges)) << "node " << i;
                     moved += std::abs(edges.F) > 1e-6;
                     if (targets[i].logit) {
                       EXPECT_NEAR(edges.F, clean.output[targets[i].at][targets[i].which].item<double>(),
                                   1e-2 * tolerance + tolerance * largest_of(edges));
                     }
                   });
    EXPECT_GT(moved, targets.size() / 4);
  }
}

std::vector<const char*> target_families() {
  std::vector<const char*> names(targets_with_blocks.begin(), targets_with_blocks.end());
  names.push_back("tms");
  return names;
}
INSTANTIATE_TEST_SUITE_P(Families, CompleteEdges,
                         ::testing::Combine(::testing::ValuesIn(target_families()), ::testing::Bool(),
                                            ::testing::Values(at::kDouble, at::kFloat)),
                         [](const auto& one) {
                           return fmt::format("{}_{}_{}", std::get<0>(one.param),
                                              std::get<1>(one.param) ? "all" : "some",
                                              std::get<2>(one.param) == at::kDouble ? "double" : "float");
                         });

TEST(PublishedEdges, LeaveARestUnlessSlopesAreSecants) {
  const Numerics numerics{at::kCPU, at::kDouble, at::kDouble};
  Lanes lanes(1);
  for (const char* name : target_families()) {
    const Decomposition d = decomposition_of(target_named(name, numerics), numerics, /*all=*/true);
    const at::Tensor prompt = input_of(*d.target)[1];
    double rest = 0.0;
    incoming_edges(d, prompt, targets_of(d, positions_of(prompt)), EdgeRule::published, lanes,
                   [&](std::size_t, const IncomingEdges& edges) {
                     rest = std::max(rest, std::abs(sum_of(edges) - edges.F) / largest_of(edges));
                   });
    // Toys of ReLU without norms are linear between their bends.
    if (prompt.is_floating_point()) {
      EXPECT_LT(rest, 1e-12) << name;
    } else {
      EXPECT_GT(rest, 1e-3) << name;
    }
  }
}

}  // namespace
}  // namespace vpd::testing
