// `vpd selftest`: from random weights to figures, in less time than it is given; and how a report reads.

#include "vpd/run/selftest.hpp"

#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "io/support.hpp"
#include "run/selftest_configs.hpp"
#include "support/places.hpp"
#include "vpd/io/files.hpp"

namespace vpd::testing {
namespace {

double value_of(const SelftestReport& report, const std::string& name) {
  for (const SelftestFigure& figure : report.figures) {
    if (figure.name == name) return figure.value;
  }
  ADD_FAILURE() << "no figure named " << name;
  return 0.0;
}

// A short training: not yet the truth, but features have subcomponents of their own.
TEST(Selftest, GoesFromRandomWeightsTowardsTheTruth) {
  const TemporaryDirectory scratch;
  const SelftestReport report =
      selftest({.seed = 0,
                .out = scratch / "out",
                .overrides = {"training.steps=2500", "sites.0.C=20", "objective.1.p=1.0"},
                .device = "cpu",
                .threads = 2},
               {});
  EXPECT_GT(value_of(report, "mmcs/linear1"), 0.95);
  EXPECT_LE(value_of(report, "identity_ci_error/linear1"), 10.0);
  EXPECT_GT(value_of(report, "l2_ratio/linear1"), 0.5);
  EXPECT_TRUE(std::filesystem::exists(scratch / "out" / "run" / "evaluation.json"));
  EXPECT_TRUE(std::filesystem::exists(scratch / "out" / "target" / "model.safetensors"));
}

TEST(Selftest, CarriesTheConfigurationsOfTheTree) {
  const std::filesystem::path toys = source_dir() / "configs" / "toys";
  EXPECT_EQ(selftest_target_config, read_text(toys / "tms_5-2_target.yaml"));
  EXPECT_EQ(selftest_decomposition_config, read_text(toys / "tms_5-2.yaml"));
}

TEST(Selftest, ADirectoryInUseIsRefused) {
  const TemporaryDirectory scratch;
  std::ofstream(scratch / "notes.txt") << "mine";
  EXPECT_DATA_ERROR("empty directory", selftest({.out = scratch.path()}, {}));
}

TEST(Selftest, ReportsWhatHolds) {
  SelftestReport report{
      .seed = 3,
      .figures = {{"a", 0.0, 0.0, 0.0}, {"b", 0.9995, 0.999, 1.0 + 1e-9}, {"c", 1.0, 0.98, 1.04}},
      .pretrain_seconds = 1.0,
      .decompose_seconds = 2.0};
  EXPECT_TRUE(report.recovered());
  EXPECT_TRUE(contains(selftest_text(report), "recovers the known mechanisms"));
  EXPECT_TRUE(contains(selftest_text(report), "at least 0.999"));
  EXPECT_TRUE(contains(selftest_text(report), "0.98 to 1.04"));
  report.figures[0].value = 2.0;
  EXPECT_FALSE(report.recovered());
  EXPECT_TRUE(contains(selftest_text(report), "NOT MET"));
  EXPECT_TRUE(contains(selftest_text(report), "DOES NOT RECOVER"));
  const auto json = nlohmann::json::parse(selftest_json(report));
  EXPECT_EQ(json["seed"], 3);
  EXPECT_EQ(json["recovered"], false);
  EXPECT_EQ(
      json["figures"][0],
      (nlohmann::json{{"name", "a"}, {"value", 2.0}, {"lowest", 0.0}, {"highest", 0.0}, {"passed", false}}));
  report.figures[0].value = std::nan("");
  EXPECT_FALSE(report.recovered()) << "what is not a number is not met";
}

}  // namespace
}  // namespace vpd::testing
