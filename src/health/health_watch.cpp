#include "health_watch.hpp"

#include <algorithm>

#include <spdlog/fmt/fmt.h>

namespace vpd {
namespace {

// A tenth of the run between two warnings of one cause: often enough to be seen by who looks in, and ten
// lines at most in a log.
constexpr std::int64_t warnings_a_run = 10;
// An examination sorts a tenth of what was logged: with every step of a long run logged, a thousandth of
// them is soon enough.
constexpr std::int64_t examinations_a_run = 1000;

}  // namespace

HealthWatch::HealthWatch(HealthSubject subject, MetricsSeries metrics)
    : subject_(std::move(subject)), metrics_(std::move(metrics)), examined_(steps_made(metrics_)) {}

bool HealthWatch::due(std::int64_t made) const {
  return made >= subject_.steps || made - examined_ >= subject_.steps / examinations_a_run;
}

std::vector<std::string> HealthWatch::take(std::int64_t step, const MetricsLog::Values& values) {
  metrics_.add(step, values);
  const std::int64_t made = steps_made(metrics_);
  if (!due(made)) return {};
  examined_ = made;
  std::vector<std::string> sentences;
  for (const HealthFinding& finding : examine(metrics_, subject_)) {
    // A run that goes on is not trained to its end, which is no news.
    const bool premature = finding.cause == "under_training" && made < subject_.steps;
    if (finding.verdict != Verdict::warning || premature) continue;
    const auto last = said_.find(finding.cause);
    if (last != said_.end() &&
        made - last->second < std::max<std::int64_t>(1, subject_.steps / warnings_a_run))
      continue;
    said_[finding.cause] = made;
    sentences.push_back(fmt::format("health: {}: {}; {}", finding.cause, finding.evidence, finding.remedy));
  }
  return sentences;
}

}  // namespace vpd
