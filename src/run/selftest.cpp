#include "vpd/run/selftest.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <system_error>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "selftest_configs.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/base/text.hpp"
#include "vpd/base/version.hpp"
#include "vpd/io/files.hpp"
#include "vpd/run/decompose.hpp"
#include "vpd/run/evaluate.hpp"
#include "vpd/run/pretrain.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// The directory that everything is written into, removed at the end unless it was asked for.
class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(const std::optional<fs::path>& wanted) : keep_(wanted.has_value()) {
    path_ = wanted ? fs::absolute(*wanted)
                   : fs::temp_directory_path() / fmt::format("vpd-selftest-{}", ::getpid());
    std::error_code error;
    VPD_CHECK(
        !fs::exists(path_, error) || fs::is_empty(path_, error), DataError,
        "{}: expected a new or an empty directory, found something there: choose another --out or remove it",
        path_.string());
    fs::create_directories(path_, error);
    VPD_CHECK(!error, DataError, "{}: cannot make this directory: {}; choose another with --out",
              path_.string(), error.message());
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    if (!keep_) fs::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  fs::path operator/(const char* name) const { return path_ / name; }

 private:
  fs::path path_;
  bool keep_;
};

struct Bound {
  const char* name;
  double lowest, highest;
};

// What "recovered" means (SPD, section "Results"): one subcomponent per feature in both matrices, in the
// feature's own direction, at its own length.
constexpr Bound bounds[] = {{"identity_ci_error/linear1", 0.0, 0.0}, {"identity_ci_error/linear2", 0.0, 0.0},
                            {"mmcs/linear1", 0.999, 1.0 + 1e-9},     {"mmcs/linear2", 0.999, 1.0 + 1e-9},
                            {"l2_ratio/linear1", 0.98, 1.04},        {"l2_ratio/linear2", 0.98, 1.04}};

std::string range_text(const SelftestFigure& figure) {
  if (figure.lowest == figure.highest) return fmt::format("{:g}", figure.lowest);
  return figure.highest > 1.0 && figure.highest < 1.0 + 1e-6
             ? fmt::format("at least {:g}", figure.lowest)
             : fmt::format("{:g} to {:g}", figure.lowest, figure.highest);
}

}  // namespace

bool SelftestReport::recovered() const {
  return !figures.empty() && std::all_of(figures.begin(), figures.end(),
                                         [](const SelftestFigure& figure) { return figure.passed(); });
}

SelftestReport selftest(const SelftestOptions& options, const Observer& observer) try {
  SelftestReport report{.seed = options.seed};
  const TemporaryDirectory directory(options.out);
  write_atomically(directory / "target.yaml", std::string(selftest_target_config));
  write_atomically(directory / "decomposition.yaml", std::string(selftest_decomposition_config));
  const std::string seed = fmt::format("seed={}", options.seed);
  std::vector<std::string> overrides = {seed, "target.path=" + (directory / "target").string()};
  overrides.insert(overrides.end(), options.overrides.begin(), options.overrides.end());
  // Mistakes in these are better told before the training than after it.
  load_run_config(directory / "decomposition.yaml", overrides, config::Files::may_be_missing);
  const Observer silent{.say = {}, .status = observer.status, .stop = observer.stop};

  const auto say = [&](const std::string& line) {
    if (observer.say) observer.say(line);
  };
  say("training a toy model of superposition: 5 features in 2 dimensions");
  Clock::time_point start = Clock::now();
  pretrain({.config = directory / "target.yaml",
            .out = directory / "target",
            .overrides = {seed},
            .device = options.device,
            .threads = options.threads},
           silent);
  report.pretrain_seconds = seconds_since(start);

  say("decomposing it");
  start = Clock::now();
  const fs::path run = decompose({.config = directory / "decomposition.yaml",
                                  .out = directory / "run",
                                  .resume = {},
                                  .overrides = overrides,
                                  .device = options.device,
                                  .threads = options.threads,
                                  .command_line = "vpd selftest"},
                                 silent);
  const EvaluateResult evaluation = evaluate_run({.run = run,
                                                  .checkpoint = {},
                                                  .metrics = {"identity_ci_error", "mmcs", "l2_ratio"},
                                                  .overrides = {},
                                                  .device = options.device,
                                                  .threads = options.threads},
                                                 silent);
  report.decompose_seconds = seconds_since(start);

  const std::map<std::string, double> values(evaluation.metrics.begin(), evaluation.metrics.end());
  for (const Bound& bound : bounds)
    report.figures.push_back({bound.name, values.at(bound.name), bound.lowest, bound.highest});
  return report;
} catch (const Interrupted&) {
  if (options.out) throw;
  throw Interrupted("interrupted: nothing is kept without --out");
}

std::string selftest_text(const SelftestReport& report) {
  std::string text = fmt::format("{:<28} {:>12} {:>18}\n", "figure", "measured", "expected");
  for (const SelftestFigure& figure : report.figures) {
    text += fmt::format("{:<28} {:>12.6g} {:>18}{}\n", figure.name, figure.value, range_text(figure),
                        figure.passed() ? "" : "  NOT MET");
  }
  text += fmt::format("seed {}; trained in {}, decomposed and measured in {}\n", report.seed,
                      human_duration(report.pretrain_seconds), human_duration(report.decompose_seconds));
  text += report.recovered() ? "this installation recovers the known mechanisms\n"
                             : "this installation DOES NOT RECOVER the known mechanisms\n";
  return text;
}

std::string selftest_json(const SelftestReport& report) {
  nlohmann::ordered_json figures = nlohmann::ordered_json::array();
  for (const SelftestFigure& figure : report.figures) {
    figures.push_back({{"name", figure.name},
                       {"value", figure.value},
                       {"lowest", figure.lowest},
                       {"highest", figure.highest},
                       {"passed", figure.passed()}});
  }
  const nlohmann::ordered_json document = {{"version", version()},
                                           {"git_revision", git_revision()},
                                           {"seed", report.seed},
                                           {"recovered", report.recovered()},
                                           {"figures", figures},
                                           {"pretrain_seconds", report.pretrain_seconds},
                                           {"decompose_seconds", report.decompose_seconds}};
  return json_text(document, 2) + "\n";
}

}  // namespace vpd
