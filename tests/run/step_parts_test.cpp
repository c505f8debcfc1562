// A training step announces the parts whose operations are counted, under the same names.

#include <algorithm>
#include <set>
#include <string>
#include <tuple>
#include <variant>

#include <ATen/record_function.h>
#include <gtest/gtest.h>

#include "training/run_case.hpp"
#include "vpd/cost/step_shape.hpp"
#include "vpd/target/llama_simple_mlp.hpp"
#include "vpd/training/part_names.hpp"

namespace vpd {
namespace {

using Names = std::set<std::string>;

/// What this thread announces in user scopes.
class Listener {
 public:
  Listener() : handle_(at::addThreadLocalCallback(callback())) { names().clear(); }
  ~Listener() { at::removeCallback(handle_); }
  static Names& names() {
    static thread_local Names all;
    return all;
  }

 private:
  static at::RecordFunctionCallback callback() {
    const auto begin = [](const at::RecordFunction& function) -> std::unique_ptr<at::ObserverContext> {
      names().insert(function.name());
      return nullptr;
    };
    return at::RecordFunctionCallback(begin).scopes({at::RecordScope::USER_SCOPE});
  }
  at::CallbackHandle handle_;
};

Names counted(testing::RunCase& run, int lanes) {
  const auto& target = std::get<LlamaSimpleMlpTarget>(run.config.target);
  const auto [model, untied_head] = describe_llama_simple_mlp(target.path, run.warnings);
  const StepShape step_shape =
      make_step_shape(run.config, llama_simple_mlp_architecture(model, untied_head), run.numerics, lanes, "");
  Names names;
  for (const OperationCount& count : count_operations(step_shape)) names.insert(count.part);
  return names;
}

RunConfig every_family() {
  RunConfig config = testing::run_with_draws();
  config.objective.push_back(TopkAttributionReconTerm{.coefficient = {.start = 0.5}, .k = 12.0});
  config.objective.push_back(
      HiddenActsReconTerm{.coefficient = {.start = 0.5},
                          .masks = AdversarialMasksConfig{.adversary = FreshAdversaryConfig{.steps = 2}}});
  return config;
}

TEST(StepParts, AreAnnouncedUnderTheNamesOfTheirCounts) {
  for (const int lanes : {1, 2}) {
    testing::RunCase run(every_family(), lanes);
    {
      const Listener listener;
      run.step.run(run.batch(0), 0);
    }
    Names expected = counted(run, lanes);
    EXPECT_TRUE(expected.contains(step_part::ascents("adversarial_recon")));
    EXPECT_TRUE(expected.contains(step_part::ascents("hidden_acts_recon")));
    EXPECT_TRUE(expected.contains(step_part::attributions("topk_attribution_recon")));
    expected.insert({step_part::penalty_sums, step_part::optimizer, step_part::last_ascents});
    EXPECT_EQ(Listener::names(), expected) << lanes << " lanes";
  }
}

}  // namespace
}  // namespace vpd
