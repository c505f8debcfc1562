// Entries of lists by their labels, in --set.

#include <gtest/gtest.h>

#include "config/run_support.hpp"

namespace vpd {
namespace {

class Labels : public RunConfigTest {
 protected:
  static constexpr const char* terms =
      "[{type: faithfulness, coefficient: 1}, {type: importance_minimality, coefficient: 2}, "
      "{type: stochastic_recon, coefficient: 3}, {type: stochastic_recon, coefficient: 4, name: b.2}]";
  static constexpr const char* metrics =
      "{metrics: [{type: ce_kl}, {type: pgd, name: pgd_20}, {type: pgd, name: pgd_20.long}]}";

  ObjectiveConfig objective(const std::vector<std::string>& overrides) {
    return load("objective", terms, overrides).objective;
  }
  double coefficient(std::size_t term, const std::string& override_text) {
    return coefficient_of(objective({override_text})[term]).start;
  }
};

TEST_F(Labels, TermsGoByNameOrType) {
  EXPECT_EQ(coefficient(0, "objective.faithfulness.coefficient=9"), 9);
  EXPECT_EQ(coefficient(1, "objective.importance_minimality.coefficient=9"), 9);
  EXPECT_EQ(coefficient(1, "objective[importance_minimality].coefficient=9"), 9);
  EXPECT_EQ(coefficient(1, "objective[importance_minimality][coefficient]=9"), 9);
  EXPECT_EQ(coefficient(2, "objective.stochastic_recon.coefficient=9"), 9);
  EXPECT_EQ(coefficient(3, "objective.b.2.coefficient=9"), 9);
  EXPECT_EQ(coefficient(3, "objective[b.2].coefficient=9"), 9);
  EXPECT_EQ(objective({"objective.b.2={type: unmasked_recon, coefficient: 1}"})[3].index(),
            TermConfig(UnmaskedReconTerm{}).index());
  const auto term =
      std::get<ImportanceMinimalityTerm>(objective({"objective.importance_minimality.p.end=0.7"})[1]);
  EXPECT_EQ(term.p.end, 0.7);
}

TEST_F(Labels, PositionsGoOn) {
  EXPECT_EQ(coefficient(3, "objective.3.coefficient=9"), 9);
  EXPECT_EQ(coefficient(2, "objective[2].coefficient=9"), 9);
  EXPECT_EQ(coefficient(2, "objective[2]coefficient=9"), 9);
}

TEST_F(Labels, EachOverrideSeesThoseBefore) {
  const ObjectiveConfig changed =
      objective({"objective.b.2.name=other", "objective.other.coefficient=9", "objective.0.type=schatten",
                 "objective.schatten.coefficient=8", "objective.schatten.p=1"});
  EXPECT_EQ(coefficient_of(changed[3]).start, 9);
  EXPECT_EQ(coefficient_of(changed[0]).start, 8);
}

TEST_F(Labels, MetricsGoByNameOrType) {
  const auto changed = [&](const std::string& override_text) {
    return load("evaluation", metrics, {override_text}).evaluation.metrics;
  };
  const auto steps = [&](std::size_t metric, const std::string& override_text) {
    return std::get<PgdMetric>(changed(override_text)[metric]).steps;
  };
  EXPECT_EQ(steps(1, "evaluation.metrics.pgd_20.steps=7"), 7);
  EXPECT_EQ(steps(2, "evaluation.metrics.pgd_20.long.steps=7"), 7);  // the longest label that fits
  EXPECT_EQ(std::get<CeKlMetric>(changed("evaluation.metrics.ce_kl.rounding_thresholds=[0.5]")[0])
                .rounding_thresholds,
            std::vector<double>{0.5});
  EXPECT_NE(message("evaluation", metrics, {"evaluation.metrics.pgd.steps=7"})
                .find("found \"pgd\", which 2 have: write [1] or [2]"),
            std::string::npos);
  const auto one =
      load("evaluation", "{metrics: [{type: pgd, name: a}]}", {"evaluation.metrics.pgd.steps=7"});
  EXPECT_EQ(std::get<PgdMetric>(one.evaluation.metrics[0]).steps, 7);
}

TEST_F(Labels, SitesGoByTheirPattern) {
  const char* sites =
      "[{pattern: h.*.mlp.c_fc, C: 1}, {pattern: 'h.[01].attn.*_proj', C: 2}, {pattern: h.*, C: 3}]";
  const auto C = [&](std::size_t site, const std::string& override_text) {
    return load("sites", sites, {override_text}).sites[site].C;
  };
  EXPECT_EQ(C(0, "sites.h.*.mlp.c_fc.C=9"), 9);
  EXPECT_EQ(C(0, "sites[h.*.mlp.c_fc].C=9"), 9);
  EXPECT_EQ(C(1, "sites.h.[01].attn.*_proj.C=9"), 9);
  EXPECT_EQ(C(1, "sites[h.[01].attn.*_proj].C=9"), 9);
  EXPECT_EQ(C(2, "sites.h.*.C=9"), 9);
  EXPECT_EQ(C(2, "sites[2].C=9"), 9);
}

TEST_F(Labels, NamesOfAMapMayHavePointsInThem) {
  const auto run =
      load("evaluation", "{metrics: [{type: ci_l0, groups: {h.0.mlp: [a, b]}}]}",
           {"evaluation.metrics.ci_l0.groups.h.0.mlp.1=c", "evaluation.metrics.ci_l0.groups.new=[x]"});
  const auto& groups = std::get<CiL0Metric>(run.evaluation.metrics[0]).groups;
  EXPECT_EQ(groups.at("h.0.mlp"), (std::vector<std::string>{"a", "c"}));
  EXPECT_EQ(groups.at("new"), std::vector<std::string>{"x"});
}

TEST_F(Labels, AnUnknownOneListsThoseThatThereAre) {
  const auto error = [&](const std::string& override_text) {
    return message("objective", terms, {override_text});
  };
  EXPECT_EQ(
      error("objective.importance_minimalty.coefficient=9"),
      "--set objective.importance_minimalty.coefficient=9: objective: expected an index below 4, the number "
      "of its entries, or a label (faithfulness, importance_minimality, stochastic_recon, b.2), found "
      "\"importance_minimalty\" (the nearest is \"importance_minimality\")");
  EXPECT_NE(error("objective.7.coefficient=9").find("expected an index below 4"), std::string::npos);
  EXPECT_NE(error("objective.faithfulness2.coefficient=9").find("found \"faithfulness2\""),
            std::string::npos);
  EXPECT_NE(message("evaluation", "{metrics: []}", {"evaluation.metrics.ce_kl.slow=true"})
                .find("expected an index below 0, the number of its entries, found \"ce_kl\""),
            std::string::npos);
}

TEST_F(Labels, PathsThatAreNone) {
  for (const char* text : {".objective=1", "objective.=1", "objective..0=1", "objective.[0].coefficient=1",
                           "objective[0].=1", "objective[]=1", "=1"}) {
    EXPECT_NE(message("objective", terms, {text})
                  .find("expected a path such as objective.faithfulness.coefficient"),
              std::string::npos)
        << text << ": " << message("objective", terms, {text});
  }
}

}  // namespace
}  // namespace vpd
