#include "progress_line.hpp"

#include <string_view>

#include <spdlog/fmt/fmt.h>

#include "vpd/base/text.hpp"

namespace vpd {

ProgressLine::ProgressLine(std::int64_t first_step, std::int64_t steps)
    : first_step_(first_step), steps_(steps) {}

std::string ProgressLine::text(std::int64_t s, std::int64_t made) const {
  std::string line = fmt::format("step {}/{}", s, steps_);
  if (made > first_step_ && made < steps_) {
    const std::chrono::duration<double> spent = Clock::now() - began_;
    const double left =
        spent.count() / static_cast<double>(made - first_step_) * static_cast<double>(steps_ - made);
    line += "  ETA " + human_duration(left);
  }
  std::string l0, peak, total, losses;
  constexpr std::string_view loss = "train/loss/";
  for (const auto& [name, value] : values_) {
    if (name == "perf/step_ms") {
      line += fmt::format("  {:.4g} ms/step", value);
    } else if (name == "perf/tokens_per_s") {
      line += fmt::format("  {} tokens/s", human_count(value));
    } else if (name == "perf/peak_memory_bytes") {
      peak = "  peak " + human_bytes(value);
    } else if (name == "train/l0") {
      l0 = fmt::format("  L0 {:.4g}", value);
    } else if (name == "train/loss/total") {
      total = fmt::format("  total {:.4g}", value);
    } else if (name.starts_with(loss)) {
      losses += fmt::format("  {} {:.4g}", name.substr(loss.size()), value);
    }
  }
  return line + l0 + total + peak + losses;
}

bool ProgressLine::refresh() {
  const Clock::time_point now = Clock::now();
  if (now - refreshed_ < std::chrono::milliseconds(100)) return false;
  refreshed_ = now;
  return true;
}

}  // namespace vpd
