// What a program that links vpd does: decompose a target, evaluate the run, and look at what was learned.
//
//     consumer CONFIG DIRECTORY

#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <vpd/base/error.hpp>
#include <vpd/decomposition/opened_run.hpp>
#include <vpd/io/metrics_series.hpp>
#include <vpd/io/run_directory.hpp>
#include <vpd/passes/clean_pass.hpp>
#include <vpd/run/decompose.hpp>
#include <vpd/run/evaluate.hpp>

namespace {

void look_at(const std::filesystem::path& directory) {
  const vpd::RunDirectory run = vpd::RunDirectory::open(directory);
  for (const vpd::MetricPoint& point : vpd::read_metrics(run.metrics_path()).of("train/loss/total"))
    std::printf("loss of step %lld: %g\n", static_cast<long long>(point.step), point.value);

  // The decomposition as the last checkpoint has it, on two rows of held-out data.
  const vpd::OpenedRun opened(directory);
  const vpd::Decomposition& d = opened.decomposition;
  const vpd::CleanPass clean = vpd::clean_pass(d, opened.eval->batch(0, 2));
  const at::Tensor g =
      vpd::causal_importance(d, clean, d.ci_parameters.bind({}), d.components.bind({})).lower;
  for (const vpd::Site& site : d.sites) {
    const at::Tensor active = site.columns(g).gt(0).sum(1).to(at::kDouble).mean();
    std::printf("%s: V [%lld, %lld], %g of its subcomponents important at a position\n", site.name.c_str(),
                static_cast<long long>(site.d_in), static_cast<long long>(site.C), active.item<double>());
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::fprintf(stderr, "consumer CONFIG DIRECTORY\n");
    return 2;
  }
  try {
    const std::vector<std::string> few_steps = {"training.steps=4", "output.log_every=2",
                                                "evaluation.every=null", "device=cpu"};
    const std::filesystem::path run =
        vpd::decompose({.config = arguments[1], .out = arguments[2], .overrides = few_steps, .threads = 1},
                       {.say = [](const std::string& line) { std::puts(line.c_str()); }});
    const vpd::EvaluateResult result = vpd::evaluate_run({.run = run, .metrics = {"ci_l0"}, .threads = 1});
    for (const auto& [name, value] : result.metrics) std::printf("%s: %g\n", name.c_str(), value);
    look_at(run);
  } catch (const vpd::Error& error) {
    std::fprintf(stderr, "consumer: %s\n", error.what());
    return error.exit_code();
  }
  return 0;
}
