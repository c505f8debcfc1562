#include <map>

#include <spdlog/fmt/fmt.h>

#include "vpd/run/evaluate.hpp"

namespace vpd {

bool is_window_name(const std::string& name) { return name.ends_with("/std") || name.ends_with("/batches"); }

std::string spread_text(const std::map<std::string, double>& metrics, const std::string& name) {
  const auto spread = metrics.find(name + "/std");
  return spread == metrics.end() ? "" : fmt::format("± {:.2g}", spread->second);
}

std::string evaluation_table(const EvaluateResult& result) {
  const std::map<std::string, double> values(result.metrics.begin(), result.metrics.end());
  std::string text;
  const auto line = [&](std::string words) {
    words.erase(words.find_last_not_of(' ') + 1);
    text += words + "\n";
  };
  const auto target = values.find("ce_kl/ce_target");
  if (target != values.end()) {
    line(fmt::format("{:<24}{:>12}{:>14}{:>12}", "masking", "CE", "CE - target", "KL"));
    line(fmt::format("{:<24}{:>12.4f}", "target", target->second));
    for (const auto& [name, kl] : result.metrics) {
      const std::string prefix = "ce_kl/kl_";
      if (!name.starts_with(prefix) || is_window_name(name)) continue;
      const std::string masking = name.substr(prefix.size());
      const double ce = values.at("ce_kl/ce_" + masking);
      const std::string label =
          masking.starts_with("rounded_") ? "rounded (CI > " + masking.substr(8) + ")" : masking;
      line(fmt::format("{:<24}{:>12.4f}{:>+14.4f}{:>12.5f} {}", label, ce, ce - target->second, kl,
                       spread_text(values, name)));
    }
    text += "\n";
  }
  for (const auto& [name, value] : result.metrics) {
    if (name.starts_with("ce_kl/") || is_window_name(name)) continue;
    std::string notes = spread_text(values, name);
    if (!notes.empty()) notes += fmt::format(" over {:g} batches", values.at(name + "/batches"));
    if (const auto budget = result.budgets.find(name); budget != result.budgets.end())
      notes += fmt::format("{}({})", notes.empty() ? "" : "  ", budget->second);
    line(fmt::format("{:<36}{:>14.6g} {}", name, value, notes));
  }
  return text;
}

}  // namespace vpd
