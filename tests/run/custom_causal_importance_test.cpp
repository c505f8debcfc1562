// A causal-importance function of a user's own, all of it in this one file (docs/extending.md): the function,
// its registration, and a run that trains with it, stops and resumes.

#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/support.hpp"
#include "support/places.hpp"
#include "vpd/base/error.hpp"
#include "vpd/decomposition/causal_importance.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/safetensors.hpp"
#include "vpd/ops/differentiable.hpp"
#include "vpd/run/check.hpp"
#include "vpd/run/decompose.hpp"

namespace {

/// z_c = scale_c · (x V_c)² + offset_c: what a subcomponent does is what makes it matter.
class SquaredActivation final : public vpd::CausalImportance {
 public:
  SquaredActivation(const vpd::Sites& sites, double offset) : sites_(sites), offset_(offset) {}

  std::vector<vpd::TensorSpec> parameters() const override {
    std::vector<vpd::TensorSpec> specs;
    for (const vpd::Site& site : sites_) {
      specs.push_back({site.name + ".scale", {site.C}});
      specs.push_back({site.name + ".offset", {site.C}});
    }
    return specs;
  }

  void initialise(vpd::ParameterSet& parameters, std::uint64_t) const override {
    for (std::size_t i = 0; i < parameters.size(); ++i) parameters.value(i).fill_(i % 2 == 0 ? 1.0 : offset_);
    parameters.refresh();
  }

  at::Tensor forward(const std::vector<at::Tensor>& inputs, std::int64_t,
                     const std::vector<vpd::Parameter>& parameters,
                     const vpd::BoundSubcomponents& components) const override {
    std::vector<at::Tensor> z;
    for (std::size_t i = 0; i < sites_.size(); ++i) {
      const at::Tensor activation = at::matmul(inputs[i], vpd::on_graph(components.V(i)));
      z.push_back(activation * activation * vpd::on_graph(parameters[2 * i]) +
                  vpd::on_graph(parameters[2 * i + 1]));
    }
    return at::cat(z, 1);
  }

 private:
  vpd::Sites sites_;
  double offset_;
};

void register_squared_activation() {
  vpd::register_causal_importance(
      "squared_activation", [](vpd::CustomOptions& options, const vpd::Sites& sites, const vpd::Numerics&) {
        return std::make_unique<SquaredActivation>(sites, options.number("offset", 0.5));
      });
}

const std::filesystem::path plain = vpd::testing::test_data() / "plain" / "config.yaml";

std::vector<std::string> overrides() {
  return {"initialize_from=null", "training.steps=6", "training.batch_size=4",
          "causal_importance={type: custom, name: squared_activation, options: {offset: 0.25}}",
          "evaluation.metrics=[{type: ci_l0, threshold: 0.0}]"};
}

TEST(CustomCausalImportance, TrainsStopsAndResumes) {
  register_squared_activation();
  const vpd::testing::TemporaryDirectory directory;
  const auto run = [&](const std::string& name, const vpd::Observer& observer) {
    return vpd::decompose({.config = plain, .out = directory / name, .overrides = overrides(), .threads = 2},
                          observer);
  };
  const std::filesystem::path whole = run("whole", {});

  const std::filesystem::path parts = directory / "parts";
  int asked = 0;
  vpd::Observer interrupting;  // in training: it is asked before, too
  interrupting.stop = [&] { return std::filesystem::exists(parts / "config.yaml") && ++asked > 3; };
  EXPECT_THROW(run("parts", interrupting), vpd::Interrupted);
  vpd::decompose({.resume = parts, .threads = 2}, {});
  for (const char* name :
       {"decomposition.safetensors", "causal_importance.safetensors", "training_state.safetensors"}) {
    const auto bytes = [&](const std::filesystem::path& path) {
      return vpd::read_text(path / "checkpoints" / "step_00000006" / name);
    };
    EXPECT_TRUE(bytes(whole) == bytes(parts)) << name << " differs";
  }

  // It has learned, and the file says what the function calls its parameters.
  const vpd::SafetensorsFile file(whole / "checkpoints" / "step_00000006" / "causal_importance.safetensors");
  const at::Tensor offset = file.load("h.0.attn.q_proj.offset");
  EXPECT_EQ(offset.sizes(), at::IntArrayRef({16}));
  EXPECT_LT(offset.mean().item<double>(), 0.25) << "minimality pushes every importance down";

  const vpd::CheckReport report = vpd::check_run({.config = plain, .overrides = overrides(), .threads = 2});
  EXPECT_EQ(report.step_shape.ci_parameters.count(), 2 * 282);
  ASSERT_EQ(report.warnings.size(), 2u);  // ci_masked_recon trains, too
  EXPECT_NE(report.warnings.back().find("does not say what it costs"), std::string::npos);
}

}  // namespace
