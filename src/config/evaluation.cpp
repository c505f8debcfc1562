#include "vpd/config/evaluation.hpp"

#include <map>
#include <string>

#include <spdlog/fmt/fmt.h>

namespace vpd {

std::optional<config::Complaint> CeKlMetric::validate() const {
  std::map<std::string, std::size_t> first;  // by what tells their figures apart
  for (std::size_t i = 0; i < rounding_thresholds.size(); ++i) {
    const std::string name = fmt::format("{:g}", rounding_thresholds[i]);
    const auto [same, is_new] = first.emplace(name, i);
    if (is_new) continue;
    return config::Complaint{
        fmt::format("rounding_thresholds[{}]", i),
        fmt::format("expected thresholds that differ in six digits, found {}, which [{}] is too", name,
                    same->second)};
  }
  return std::nullopt;
}

std::optional<config::Complaint> CiL0Metric::validate() const {
  if (groups.contains("total")) {
    return config::Complaint{"groups.total",
                             "expected a group name other than total, which is the sum's, found it"};
  }
  return std::nullopt;
}

std::optional<config::Complaint> EvaluationConfig::validate() const {
  if (slow_every && !every) {
    return config::Complaint{"slow_every",
                             fmt::format("expected null while `every` is null, found {}", *slow_every)};
  }
  if (slow_every && *slow_every % *every != 0) {
    return config::Complaint{
        "slow_every",
        fmt::format("expected a multiple of `every`, which is {}, found {}", *every, *slow_every)};
  }
  for (std::size_t i = 0; i < metrics.size(); ++i) {
    const auto* pgd = std::get_if<PgdMetric>(&metrics[i]);
    if (!pgd || pgd->batches <= this->batches) continue;
    return config::Complaint{
        fmt::format("metrics[{}].batches", i),
        fmt::format("expected at most the {} batch{} of an evaluation (evaluation.batches), found {}",
                    batches, batches == 1 ? "" : "es", pgd->batches)};
  }
  return std::nullopt;
}

std::optional<config::Complaint> validate_metrics(const std::vector<MetricConfig>& metrics,
                                                  bool delta_component) {
  std::map<std::string, std::size_t> first;
  for (std::size_t i = 0; i < metrics.size(); ++i) {
    const auto* pgd = std::get_if<PgdMetric>(&metrics[i]);
    const std::string kind(std::visit([]<class Metric>(const Metric&) { return Metric::kind; }, metrics[i]));
    const auto [same, is_new] = first.emplace(pgd ? "pgd/" + pgd->name : kind, i);
    if (!is_new && pgd) {
      return config::Complaint{fmt::format("[{}].name", i),
                               fmt::format("expected a name of its own, found \"{}\", which [{}] has too",
                                           pgd->name, same->second)};
    }
    if (!is_new) {
      return config::Complaint{
          fmt::format("[{}].type", i),
          fmt::format("expected one {} at most, found it again after [{}]", kind, same->second)};
    }
    if (pgd) {
      if (const auto complaint = validate_start(pgd->init, delta_component)) {
        return config::Complaint{fmt::format("[{}].{}", i, complaint->where), complaint->text};
      }
      if (pgd->batches > 1 && pgd->scope == FreshScope::per_datapoint) {
        return config::Complaint{fmt::format("[{}].batches", i),
                                 fmt::format("expected 1 for scope per_datapoint, whose sources belong to a "
                                             "position of one batch, found {}",
                                             pgd->batches)};
      }
    }
  }
  return std::nullopt;
}

}  // namespace vpd
