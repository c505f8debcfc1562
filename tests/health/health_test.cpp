// Verdicts on made-up series: for each cause one that shows it, one that does not, and one that says too
// little.

#include "vpd/health/health.hpp"

#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include <gtest/gtest.h>
#include <spdlog/fmt/fmt.h>

#include "support/places.hpp"

namespace vpd {
namespace {

using Series = std::function<double(double progress)>;

Series constant(double value) {
  return [value](double) { return value; };
}

/// A run of 1,000 steps that logs every tenth: 12 sites with 768 subcomponents.
struct MadeUpRun {
  HealthSubject subject{.steps = 1000,
                        .sites = {},
                        .subcomponents = 768,
                        .reconstructions = {"stochastic_recon", "adversarial_recon"},
                        .adversaries = {{"adversarial_recon", true}},
                        .attack = "pgd_20",
                        .annealing = HealthSubject::Annealing{"p", {2.0, 0.4}}};
  MetricsSeries metrics;

  MadeUpRun() {
    for (int i = 0; i < 12; ++i) subject.sites.push_back(fmt::format("site_{}", i));
  }
  /// A logged metric over the first `steps` steps; progress goes from 0 to 1 over the planned ones.
  MadeUpRun& log(const std::string& name, const Series& series, std::int64_t steps = 1000) {
    for (std::int64_t s = 0; s < steps; s += 10)
      metrics.add(s, {{"train/" + name, series(static_cast<double>(s) / 1000.0)}});
    return *this;
  }
  MadeUpRun& evaluate(const std::string& name, double value, std::int64_t step = 1000) {
    metrics.add(step, {{"eval/" + name, value}});
    return *this;
  }
  HealthFinding find(const std::string& cause) const {
    for (const HealthFinding& finding : examine(metrics, subject)) {
      if (finding.cause == cause) return finding;
    }
    ADD_FAILURE() << "no finding about " << cause;
    return {};
  }
  void expect(const std::string& cause, Verdict verdict, const std::string& words = "") const {
    const HealthFinding finding = find(cause);
    EXPECT_EQ(name_of(finding.verdict), name_of(verdict)) << cause << ": " << finding.evidence;
    EXPECT_NE(finding.evidence.find(words), std::string::npos) << finding.evidence;
    EXPECT_FALSE(finding.evidence.empty()) << cause;
    EXPECT_EQ(finding.remedy.empty(), verdict != Verdict::warning) << cause;
  }
};

/// What the demo measures, roughly.
MadeUpRun healthy() {
  MadeUpRun run;
  run.log("loss/total", [](double x) { return 0.2 + 1.2 * std::exp(-30.0 * x); })
      .log("loss/stochastic_recon", [](double x) { return 0.05 + 0.4 * std::exp(-30.0 * x); })
      .log("loss/adversarial_recon", [](double x) { return 0.15 + 0.5 * std::exp(-30.0 * x); })
      .log("l0", [](double x) { return 57.0 + 90.0 * (1.0 - x) * (1.0 - x) + 500.0 * std::exp(-60.0 * x); })
      .log("grad_norm/causal_importance", [](double x) { return 0.1 + 1.4 * std::exp(-30.0 * x); })
      .log("saturated_sources/adversarial_recon", [](double x) { return 0.02 + 0.3 * x; });
  run.evaluate("ce_kl/kl_unmasked", 5e-5)
      .evaluate("ce_kl/kl_ci_masked", 0.08)
      .evaluate("ce_kl/kl_zero", 14.6);
  return run.evaluate("pgd/pgd_20", 0.13).evaluate("alive/total", 420.0);
}

TEST(Health, AHealthyRunIsHealthy) {
  std::set<std::string> causes;
  for (const HealthFinding& finding : examine(healthy().metrics, healthy().subject)) {
    causes.insert(finding.cause);
    healthy().expect(finding.cause, Verdict::ok);
  }
  EXPECT_EQ(causes, (std::set<std::string>{"ci_collapse", "density", "weak_adversary", "dead_subcomponents",
                                           "ci_gradient_growth", "saturated_sources", "under_training"}));
}

TEST(Health, NothingIsKnownOfNothing) {
  for (const HealthFinding& finding : examine({}, MadeUpRun().subject))
    MadeUpRun().expect(finding.cause, Verdict::unknown);
  for (const HealthFinding& finding : examine({}, {})) EXPECT_EQ(finding.verdict, Verdict::unknown);
}

TEST(Health, TwoLoggedStepsAreTooFew) {
  MadeUpRun run;
  for (const char* name : {"loss/total", "loss/stochastic_recon", "loss/adversarial_recon", "l0",
                           "grad_norm/causal_importance", "saturated_sources/adversarial_recon"})
    run.log(name, constant(0.0), 20);
  for (const char* cause :
       {"ci_collapse", "density", "weak_adversary", "ci_gradient_growth", "saturated_sources"})
    run.expect(cause, Verdict::unknown, "expected");
}

TEST(Health, CollapseIsAlmostNoImportance) {
  MadeUpRun run;
  run.log("l0", [](double x) { return 500.0 * std::exp(-100.0 * x); }).log("loss/total", constant(1.0));
  run.expect("ci_collapse", Verdict::warning, "over 12 sites");
  EXPECT_NEAR(run.find("ci_collapse").numbers[0].second, 0.0, 1e-6);
  // Features that are on in 5 % of a toy's data.
  MadeUpRun toy;
  toy.subject.sites = {"linear1", "linear2"};
  toy.subject.subcomponents = 40;
  toy.log("l0", [](double x) { return x < 0.1 ? 20.0 : 0.5; }).log("loss/total", constant(0.01));
  toy.expect("ci_collapse", Verdict::ok);
}

TEST(Health, CollapseIsLosingWhatReconstructionNeeds) {
  const auto with = [](double masked, double unmasked, double l0) {
    MadeUpRun run;
    run.log("l0", constant(l0)).log("loss/total", constant(1.0));
    return run.evaluate("ce_kl/kl_ci_masked", masked)
        .evaluate("ce_kl/kl_unmasked", unmasked)
        .evaluate("ce_kl/kl_zero", 14.6);
  };
  with(9.0, 1e-4, 20.0).expect("ci_collapse", Verdict::warning, "9, of 14.6");
  with(5.0, 1e-4, 20.0).expect("ci_collapse", Verdict::ok);
  with(9.0, 1e-4, 200.0).expect("ci_collapse", Verdict::ok);  // not sparse: something else is wrong
  with(9.0, 8.0, 20.0).expect("ci_collapse", Verdict::ok);    // not faithful
}

TEST(Health, CollapseShowsInTrainingToo) {
  const auto with = [](double end, double l0) {
    MadeUpRun run;
    return run.log("l0", [=](double x) { return x < 0.05 ? 400.0 : l0; })
        .log("loss/total", constant(1.0))
        .log("loss/stochastic_recon", [=](double x) { return x < 0.05 ? 0.5 : end; });
  };
  with(0.9, 10.0).expect("ci_collapse", Verdict::warning, "stochastic_recon 0.9 after 0.5 at the start");
  with(0.6, 10.0).expect("ci_collapse", Verdict::ok);
  with(0.9, 300.0).expect("ci_collapse", Verdict::ok);
  // In the first tenth of a run everything is on its way.
  MadeUpRun early;
  early
      .log(
          "l0", [](double x) { return x < 0.02 ? 400.0 : 10.0; }, 80)
      .log("loss/total", constant(1.0), 80)
      .log(
          "loss/stochastic_recon", [](double x) { return x < 0.02 ? 0.5 : 0.9; }, 80);
  early.expect("ci_collapse", Verdict::ok);
}

TEST(Health, CollapseNeedsTheNumberOfSites) {
  MadeUpRun run;
  run.subject.sites.clear();
  run.log("l0", constant(0.0)).log("loss/total", constant(1.0));
  run.expect("ci_collapse", Verdict::unknown, "not known");
}

TEST(Health, DensityIsJudgedLate) {
  MadeUpRun run;
  run.log("l0", constant(300.0), 600).log("loss/total", constant(1.0), 600);
  run.expect("density", Verdict::unknown, "judged from step 750 on");
  run.log("l0", constant(300.0)).log("loss/total", constant(1.0));
  run.expect("density", Verdict::warning, "39 % of 768");
  run.log("l0", constant(200.0));
  run.expect("density", Verdict::ok);
  MadeUpRun evaluated;
  evaluated.evaluate("l0/total", 300.0).expect("density", Verdict::warning);
}

TEST(Health, AWeakAdversaryIsBeatenByAFreshOne) {
  MadeUpRun run = healthy();
  run.evaluate("pgd/pgd_20", 0.9)
      .expect("weak_adversary", Verdict::warning, "pgd/pgd_20) reaches 0.9, 6 times");
  run.evaluate("pgd/pgd_20", 0.5).expect("weak_adversary", Verdict::ok);
  // Its own term on held-out data counts more than an attack that meets other sites.
  run.evaluate("loss/adversarial_recon", 0.9).expect("weak_adversary", Verdict::warning, "eval/loss/adv");
  run.evaluate("pgd/pgd_20", 0.9)
      .evaluate("loss/adversarial_recon", 0.2)
      .expect("weak_adversary", Verdict::ok);
}

TEST(Health, AnAdversaryOnSubsetsMayBeBeatenByMore) {
  MadeUpRun run = healthy();
  run.subject.adversaries[0].every_site = false;
  run.evaluate("pgd/pgd_20", 0.9).expect("weak_adversary", Verdict::ok);
  run.evaluate("pgd/pgd_20", 1.5).expect("weak_adversary", Verdict::warning);
}

TEST(Health, AnAdversaryBesideRandomSourcesMayBeBeatenByMore) {
  MadeUpRun run = healthy();
  run.subject.adversaries[0].alone = false;
  run.evaluate("loss/adversarial_recon", 0.9).expect("weak_adversary", Verdict::ok);
  run.evaluate("loss/adversarial_recon", 1.5).expect("weak_adversary", Verdict::warning);
}

TEST(Health, AnAttackOnAnotherLossSaysNothing) {
  MadeUpRun run = healthy();
  run.subject.adversaries[0].output = false;
  run.evaluate("pgd/pgd_20", 9.0).expect("weak_adversary", Verdict::unknown);
  run.evaluate("loss/adversarial_recon", 0.9).expect("weak_adversary", Verdict::warning);
}

TEST(Health, AnAttackThatDoesNoHarmIsNotABadOne) {
  MadeUpRun run = healthy();
  run.log("loss/adversarial_recon", constant(0.01));
  run.evaluate("pgd/pgd_20", 0.1).expect("weak_adversary", Verdict::ok);
  run.evaluate("ce_kl/kl_zero", 1.0).expect("weak_adversary", Verdict::warning);
}

TEST(Health, TheAdversaryIsComparedAtTheStepOfTheAttack) {
  MadeUpRun run;
  run.log("loss/total", constant(1.0)).log("loss/adversarial_recon", [](double x) {
    return x < 0.5 ? 0.1 : 9.0;
  });
  run.evaluate("pgd/pgd_20", 0.9, 500).expect("weak_adversary", Verdict::warning, "is 0.1 in training");
  MadeUpRun early;
  early.log("loss/total", constant(1.0)).log("loss/adversarial_recon", constant(0.1));
  early.evaluate("pgd/pgd_20", 0.9, 50).expect("weak_adversary", Verdict::unknown, "past 10 % of the run");
}

TEST(Health, WithoutAnAdversaryNothingIsSaidOfIt) {
  MadeUpRun run = healthy();
  run.subject.adversaries.clear();
  run.expect("weak_adversary", Verdict::unknown, "no adversary");
}

TEST(Health, DeadSubcomponentsAreCounted) {
  MadeUpRun run = healthy();
  run.evaluate("alive/total", 30.0).expect("dead_subcomponents", Verdict::warning, "30 of 768");
  run.evaluate("alive/total", 40.0).expect("dead_subcomponents", Verdict::ok, "5.21 %");
  for (const std::string& site : run.subject.sites) run.evaluate("alive/" + site, 3.0);
  run.expect("dead_subcomponents", Verdict::ok);
  for (const char* site : {"site_3", "site_5", "site_7", "site_9"})
    run.evaluate(std::string("alive/") + site, 0.0);
  run.expect("dead_subcomponents", Verdict::warning, "not one of site_3, site_5, site_7 and 1 more sites");
  run.subject.targeted = true;
  run.expect("dead_subcomponents", Verdict::ok, "what the target rows do not need dies");
  MadeUpRun().expect("dead_subcomponents", Verdict::unknown, "evaluation with alive");
  run.subject.subcomponents = 0;
  run.expect("dead_subcomponents", Verdict::unknown, "not known");
}

TEST(Health, TheGradientGrowsOverItsRunningMedian) {
  const auto with = [](double end, std::int64_t steps = 1000) {
    MadeUpRun run;
    return run.log(
        "grad_norm/causal_importance", [=](double x) { return x < 0.95 ? 0.2 : end; }, steps);
  };
  with(0.7).expect("ci_gradient_growth", Verdict::warning, "0.7 after a running median of 0.2");
  with(0.5).expect("ci_gradient_growth", Verdict::ok);
  with(0.7, 140).expect("ci_gradient_growth", Verdict::unknown, "expected 15 logged steps, found 14");
  // One step's outlier is not growth.
  MadeUpRun run;
  run.log("grad_norm/causal_importance", [](double x) { return x > 0.985 ? 50.0 : 0.2; });
  run.expect("ci_gradient_growth", Verdict::ok);
  // Nor is what happened long ago part of the running median.
  MadeUpRun late;
  late.subject.steps = 5000;
  for (std::int64_t s = 0; s < 5000; s += 10) {
    const double value = s < 2500 ? 0.01 : 1.0;
    late.metrics.add(s, {{"train/grad_norm/causal_importance", value}});
  }
  late.expect("ci_gradient_growth", Verdict::ok);
}

TEST(Health, SaturatedSourcesAreNamed) {
  MadeUpRun run;
  run.log("loss/total", constant(1.0)).log("saturated_sources/adversarial_recon", constant(0.95));
  run.expect("saturated_sources", Verdict::warning, "95 % of the sources of adversarial_recon");
  run.log("saturated_sources/second", constant(0.3));
  run.expect("saturated_sources", Verdict::warning, "adversarial_recon");
  run.log("saturated_sources/adversarial_recon", constant(0.45));
  run.expect("saturated_sources", Verdict::ok, "30 % of the sources of second");
  MadeUpRun early;
  early.log("loss/total", constant(1.0), 50).log("saturated_sources/adversarial_recon", constant(0.95), 50);
  early.expect("saturated_sources", Verdict::unknown, "too early");
  MadeUpRun().expect("saturated_sources", Verdict::unknown, "persistent adversary");
}

TEST(Health, WhatStillFallsIsUnderTrained) {
  MadeUpRun run = healthy();
  run.log("l0", [](double x) { return 300.0 - 250.0 * x; });
  run.expect("under_training", Verdict::warning, "L0 went from");
  run = healthy();
  run.log("loss/stochastic_recon", [](double x) { return 0.5 * std::exp(-4.0 * x); });
  run.expect("under_training", Verdict::warning, "stochastic_recon went from");
  EXPECT_NE(run.find("under_training").remedy.find("more training.steps"), std::string::npos);
  EXPECT_NE(run.find("under_training").remedy.find("--resume takes neither"), std::string::npos);
  // What is a thousandth of what it was has arrived.
  run.log("loss/stochastic_recon", [](double x) { return 0.5 * std::exp(-9.0 * x); });
  run.expect("under_training", Verdict::ok);
}

TEST(Health, ARunThatWasCutShortIsUnderTrained) {
  MadeUpRun run;
  run.log("loss/total", constant(1.0), 400).log("l0", constant(50.0), 400);
  run.expect("under_training", Verdict::warning,
             "p is 1.37 after 391 of 1000 steps, on its way from 2 to 0.4");
  EXPECT_NE(run.find("under_training").remedy.find("--resume"), std::string::npos);
  run.subject.annealing->value = {1.0, 1.0};
  run.expect("under_training", Verdict::ok);
  run.subject.annealing.reset();
  run.expect("under_training", Verdict::ok);
}

TEST(Health, FewLoggedStepsSayNothingOfTheEnd) {
  MadeUpRun run;
  run.subject.annealing.reset();
  for (std::int64_t s = 0; s < 1000; s += 50)
    run.metrics.add(s, {{"train/loss/total", 1.0}, {"train/l0", 50.0}});
  run.expect("under_training", Verdict::unknown, "3 logged steps in each");
}

TEST(Health, WhatIsNotFiniteIsNoEvidence) {
  MadeUpRun run = healthy();
  run.log("l0", constant(std::numeric_limits<double>::quiet_NaN()));
  for (const HealthFinding& finding : examine(run.metrics, run.subject))
    EXPECT_NE(finding.verdict, Verdict::warning) << finding.cause << ": " << finding.evidence;
  run.evaluate("pgd/pgd_20", std::numeric_limits<double>::infinity());
  run.expect("weak_adversary", Verdict::warning, "inf");
}

TEST(HealthSubject, IsReadFromTheConfiguration) {
  const std::string plain = testing::test_data() / "plain" / "config.yaml";
  const auto of = [&](const std::vector<std::string>& overrides) {
    return health_subject(load_run_config(plain, overrides), {"a", "b"}, 7);
  };
  const HealthSubject subject = of({"training.steps=50"});
  EXPECT_EQ(subject.steps, 50);
  EXPECT_EQ(subject.sites, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(subject.subcomponents, 7);
  ASSERT_TRUE(subject.annealing);
  EXPECT_EQ(subject.annealing->name, "p");
  EXPECT_EQ(subject.annealing->value, (Annealed{2.0, 0.4}));
  const HealthSubject terms = of(
      {"objective=[{type: faithfulness, coefficient: 1}, {type: stochastic_recon, coefficient: 1}, {type: "
       "ci_masked_recon, coefficient: 0}, {type: adversarial_recon, name: a, coefficient: 1, adversary: "
       "{type: "
       "persistent}}, {type: adversarial_recon, name: b, coefficient: 1, routing: {type: uniform_k_subset}, "
       "adversary: {type: fresh}}, {type: adversarial_recon, name: c, coefficient: 0, adversary: {type: "
       "fresh}}]"});
  EXPECT_EQ(terms.reconstructions, (std::vector<std::string>{"stochastic_recon", "a", "b"}));
  ASSERT_EQ(terms.adversaries.size(), 2U);
  EXPECT_EQ(terms.adversaries[0].label, "a");
  EXPECT_TRUE(terms.adversaries[0].every_site);
  EXPECT_FALSE(terms.adversaries[1].every_site);
  EXPECT_FALSE(terms.annealing);
}

TEST(HealthSubject, KnowsWhatAnAdversaryIsAfter) {
  const HealthSubject subject = health_subject(
      load_run_config(
          testing::test_data() / "plain" / "config.yaml",
          {"objective=[{type: importance_minimality, coefficient: 1, penalty: {type: smooth_l0, "
           "gamma: {start: 1, end: 0.1}}}, {type: adversarial_recon, coefficient: 1, merged: {}, "
           "adversary: {type: persistent}}, {type: hidden_acts_recon, coefficient: 1, masks: {type: "
           "adversarial, adversary: {type: fresh}}}]"}),
      {}, 0);
  EXPECT_EQ(subject.reconstructions, (std::vector<std::string>{"adversarial_recon", "hidden_acts_recon"}));
  ASSERT_EQ(subject.adversaries.size(), 2U);
  EXPECT_FALSE(subject.adversaries[0].alone);
  EXPECT_TRUE(subject.adversaries[0].output);
  EXPECT_TRUE(subject.adversaries[1].alone);
  EXPECT_FALSE(subject.adversaries[1].output);
  EXPECT_EQ(subject.annealing->name, "gamma");
  EXPECT_EQ(subject.annealing->value, (Annealed{1.0, 0.1}));
}

TEST(HealthSubject, TheAttackIsTheOneNearestToTheStandard) {
  const auto attack = [](const std::string& metrics) {
    return health_subject(load_run_config(testing::test_data() / "plain" / "config.yaml",
                                          {"evaluation.metrics=[" + metrics + "]"}),
                          {}, 0)
        .attack.value_or("none");
  };
  EXPECT_EQ(attack("{type: ci_l0}"), "none");
  EXPECT_EQ(attack("{type: pgd, name: a, steps: 320, step_size: 0.00625}"), "none");
  EXPECT_EQ(attack("{type: pgd, name: a, steps: 5}"), "none");
  EXPECT_EQ(attack("{type: pgd, name: a, steps: 20, step_size: 0.01}"), "none");
  EXPECT_EQ(attack("{type: pgd, name: a, steps: 40}, {type: pgd, name: b}, {type: pgd, name: c}"), "b");
  EXPECT_EQ(attack("{type: pgd, name: a, steps: 10}, {type: pgd, name: b, steps: 0}"), "a");
}

}  // namespace
}  // namespace vpd
