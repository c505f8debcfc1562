// A term of the objective of a program's own: a struct, its plan, and one line in a list of kinds. It is read
// from a configuration, trained on, measured and priced, and nothing else knows of it.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "run_case.hpp"
#include "support/expect_close.hpp"
#include "vpd/config/reflection.hpp"

namespace vpd::testing {
namespace {

/// Divergence where every mask is half way between the causal importance and 1.
struct HalfwayReconTerm {
  static constexpr std::string_view kind = "halfway_recon";
  static constexpr std::string_view summary = "divergence with masks half way from the importances to 1";
  std::optional<std::string> name;
  Coefficient coefficient;
  double way = 0.5;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
    visit(config::field("way", "0: the importances; 1: all masks 1").fraction(), self.way);
  }
  ReconstructionPlan plan() const { return {ConstantMasks{way}, Comparison::output, AllRoutingConfig{}}; }
  bool operator==(const HalfwayReconTerm&) const = default;
};

using OwnTerm = std::variant<FaithfulnessTerm, ImportanceMinimalityTerm, UnmaskedReconTerm, HalfwayReconTerm>;

struct OwnConfig {
  static constexpr std::string_view summary = "an objective";
  std::vector<OwnTerm> objective;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("objective", "its terms").required(), self.objective);
  }
  bool operator==(const OwnConfig&) const = default;
};

ObjectivePlan read(const std::string& text) {
  return plan_of(
      config::from_value<OwnConfig>(config::parse_json(text, "own"), config::type_of<OwnConfig>(), {})
          .objective);
}

TEST(OwnTerm, IsTrainedOnLikeAnyOther) {
  RunCase made(run_with_draws());
  const ObjectivePlan objective = read(R"({"objective": [{"type": "faithfulness", "coefficient": 1},
                             {"type": "halfway_recon", "name": "halfway", "coefficient": 2, "way": 0.25},
                             {"type": "halfway_recon", "coefficient": 0, "way": 1},
                             {"type": "unmasked_recon", "coefficient": 0}]})");
  TrainingStep step(made.decomposition, made.config, objective, made.tokens().sequence_length, made.lanes);
  const at::Tensor before = made.decomposition.components.flat().clone();
  const StepResult first = step.run(made.batch(0), 0);
  EXPECT_EQ(first.labels,
            (std::vector<std::string>{"faithfulness", "halfway", "halfway_recon", "unmasked_recon"}));
  EXPECT_FALSE(made.decomposition.components.flat().equal(before));
  EXPECT_EQ(first.losses[2].item<double>(), first.losses[3].item<double>()) << "all the way is unmasked";
  EXPECT_GT(first.losses[1].item<double>(), first.losses[3].item<double>());
  EXPECT_NEAR(first.total.item<double>(),
              first.losses[0].item<double>() + 2.0 * first.losses[1].item<double>(), 1e-9);
  double last = 0.0;
  for (std::int64_t s = 1; s < 30; ++s) last = step.run(made.batch(0), s).losses[1].item<double>();
  EXPECT_LT(last, 0.8 * first.losses[1].item<double>());
}

}  // namespace
}  // namespace vpd::testing
