// Every kind of metric, whatever the batch is divided among: a kind that is not in `examples` fails here on
// the day that it is added.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support.hpp"
#include "support/expect_close.hpp"
#include "support/kinds.hpp"
#include "support/places.hpp"
#include "support/processes.hpp"
#include "vpd/io/data.hpp"
#include "vpd/target/induction.hpp"
#include "vpd/target/tms.hpp"

namespace vpd::testing {
namespace {

/// What is measured: a decomposition of which nothing is trained, in float64, and rows.
struct Subject {
  RunConfig config;
  Decomposition decomposition;
  std::unique_ptr<Dataset> data;
};

const Numerics float64{at::kCPU, at::kDouble, at::kDouble};

/// Six rows in two batches, which two lanes divide unevenly; four are more than there are rows.
std::vector<std::string> six_rows(const std::string& metric) {
  return {"evaluation.batch_size=3", "evaluation.batches=2", "evaluation.metrics=[" + metric + "]"};
}

Subject with_data(RunConfig config, Decomposition decomposition) {
  auto data =
      open_dataset(config.data.eval, decomposition.target->input(), config.seed, DataRole::eval, "data.eval");
  return {std::move(config), std::move(decomposition), std::move(data)};
}

Subject language_model(const std::string& metric) {
  GoldenCase golden("plain", at::kDouble, on_training_rows(3, 2, metric));
  return with_data(std::move(golden.config), std::move(golden.decomposition));
}

RunConfig toy_config(const char* name, const std::string& metric) {
  return load_run_config(source_dir() / "configs" / "toys" / name, six_rows(metric),
                         config::Files::may_be_missing);
}

Subject features(const std::string& metric) {
  RunConfig config = toy_config("tms_5-2.yaml", metric);
  const TmsConfig shapes{.n_features = 5, .n_hidden = 2};
  return with_data(config,
                   make_decomposition(config, float64, "tms_5-2.yaml",
                                      std::make_unique<Tms>(shapes, initial_tms(shapes, 1), float64)));
}

Subject induction(const std::string& metric) {
  RunConfig config = toy_config("induction.yaml", metric);
  const InductionConfig shapes{.vocab_size = 9, .block_size = 32, .d_model = 8};
  auto target = std::make_unique<InductionTransformer>(shapes, initial_induction(shapes, 1), float64);
  return with_data(config, make_decomposition(config, float64, "induction.yaml", std::move(target)));
}

struct Example {
  Subject (*subject)(const std::string& metric);
  std::string metric;
};

const std::map<std::string, Example> examples = {
    {"ce_kl", {language_model, "{type: ce_kl, rounding_thresholds: [0.0, 0.5]}"}},
    {"ci_l0", {language_model, "{type: ci_l0, groups: {mlp: [\"h.*.mlp.*\"]}}"}},
    {"alive", {language_model, "{type: alive}"}},
    {"ci_histogram", {language_model, "{type: ci_histogram}"}},
    {"hidden_acts", {language_model, "{type: hidden_acts}"}},
    {"losses", {language_model, "{type: losses}"}},
    {"pgd", {language_model, "{type: pgd, name: attack, steps: 3, batches: 2}"}},
    {"identity_ci_error", {features, "{type: identity_ci_error, sites: [\"linear*\"]}"}},
    {"dense_ci_error", {features, "{type: dense_ci_error, sites: {\"linear*\": 3}}"}},
    {"mmcs", {features, "{type: mmcs, sites: [\"linear*\"]}"}},
    {"l2_ratio", {features, "{type: l2_ratio, sites: [\"linear*\"]}"}},
    {"induction_match", {induction, "{type: induction_match}"}}};

Evaluated measure(const Example& example, int lane_count) {
  const Subject subject = example.subject(example.metric);
  Lanes lanes(lane_count);
  MetricArrays arrays;
  const MetricValues values =
      evaluate(subject.decomposition, subject.config, *subject.data, 0, {}, lanes, &arrays);
  return {{values.begin(), values.end()}, {arrays.begin(), arrays.end()}};
}

/// A figure is a sum of fewer than 10^5 numbers in another order, each of which went through fewer than 100
/// sums of fewer than 100 that may be in another order, too.
const double tolerance = (1e5 + 1e4) * epsilon(at::kDouble);

void expect_same(const Evaluated& found, const Evaluated& expected) {
  EXPECT_FALSE(expected.values.empty());
  ASSERT_EQ(found.values.size(), expected.values.size());
  for (const auto& [name, value] : expected.values) {
    ASSERT_TRUE(found.values.contains(name)) << name;
    EXPECT_NEAR(found.at(name), value, tolerance * std::max(1.0, std::abs(value))) << name;
  }
  EXPECT_EQ(found.arrays, expected.arrays);  // counts
}

TEST(MetricRegistry, EveryKindHasAnExampleOfItself) {
  std::set<std::string> kinds;
  for (const auto& [kind, example] : examples) {
    kinds.insert(kind);
    const std::vector<MetricConfig> metrics = example.subject(example.metric).config.evaluation.metrics;
    ASSERT_EQ(metrics.size(), 1u);
    EXPECT_EQ(kind_of(metrics.front()), kind);
  }
  EXPECT_EQ(kinds, kinds_of(static_cast<const MetricConfig*>(nullptr)));
}

TEST(MetricRegistry, LanesChangeNoFigure) {
  for (const auto& [kind, example] : examples) {
    SCOPED_TRACE(kind);
    const Evaluated one = measure(example, 1);
    for (const int lanes : {2, 4}) expect_same(measure(example, lanes), one);
  }
}

// Process 0 measures for all while the others wait; here both do at once, and neither sees the other.
TEST(MetricRegistry, NorDoProcesses) {
  if (!can_test_processes()) GTEST_SKIP() << "NOT TESTED: this build has no process groups";
  for (const auto& [kind, example] : examples) {
    SCOPED_TRACE(kind);
    const Evaluated one = measure(example, 1);
    std::vector<Evaluated> found(2);
    as_processes(2, [&](Processes& processes) {
      found[static_cast<std::size_t>(processes.rank())] = measure(example, 2);
    });
    for (const Evaluated& of_process : found) expect_same(of_process, one);
  }
}

}  // namespace
}  // namespace vpd::testing
