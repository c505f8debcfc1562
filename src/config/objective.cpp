#include "vpd/config/objective.hpp"

#include <map>
#include <string>
#include <utility>

#include <spdlog/fmt/fmt.h>

namespace vpd {
namespace {

std::string_view kind_of(const TermConfig& term) {
  return std::visit([]<class Term>(const Term&) { return Term::kind; }, term);
}

bool at_most_once(const TermConfig& term) {
  return std::visit(
      []<class Term>(const Term&) {
        return requires { Term::at_most_once; };
      },
      term);
}

}  // namespace

std::string label(const TermConfig& term) {
  return std::visit([]<class Term>(const Term& t) { return t.name.value_or(std::string(Term::kind)); }, term);
}

const Coefficient& coefficient_of(const TermConfig& term) {
  return std::visit([](const auto& t) -> const Coefficient& { return t.coefficient; }, term);
}

FreshAdversaryConfig evaluation_attack(const AdversaryConfig& adversary) {
  const auto* fresh = std::get_if<FreshAdversaryConfig>(&adversary);
  return fresh ? *fresh : FreshAdversaryConfig{};
}

std::optional<config::Complaint> validate_objective(const ObjectiveConfig& objective, bool delta_component) {
  const ObjectivePlan plan = plan_of(objective);
  std::map<std::pair<std::string_view, TermRows>, std::size_t> first_of_kind;
  std::map<std::string, std::size_t> first_of_label;
  for (std::size_t i = 0; i < objective.size(); ++i) {
    const TermConfig& term = objective[i];
    const std::string_view kind = kind_of(term);
    const auto [same_kind, is_first] = first_of_kind.emplace(std::pair(kind, plan[i].rows), i);
    if (!is_first && at_most_once(term)) {
      return config::Complaint{
          fmt::format("[{}].type", i),
          fmt::format("expected one {}{} at most, found it again after [{}]", kind,
                      plan[i].minimality() ? " of the same rows" : "", same_kind->second)};
    }
    const std::string name = label(term);
    const auto [same_label, is_new] = first_of_label.emplace(name, i);
    if (!is_new || name == "total") {
      return config::Complaint{
          fmt::format("[{}].name", i),
          is_new ? std::string("expected a name other than total, which is the sum's, found it")
                 : fmt::format("expected a name of its own, found \"{}\", which [{}] has too", name,
                               same_label->second)};
    }
    const ReconstructionPlan* reconstruction = plan[i].reconstruction();
    if (reconstruction && reconstruction->delta.value_or(0.0) != 0.0 && !delta_component) {
      return config::Complaint{fmt::format("[{}].delta", i),
                               fmt::format("expected null or 0 where delta_component is false, found {:g}",
                                           *reconstruction->delta)};
    }
    if (const AdversaryConfig* adversary = plan[i].adversary()) {
      const char* place = std::holds_alternative<HiddenActsReconTerm>(term) ? "masks.adversary" : "adversary";
      if (const auto complaint = validate_start(*adversary, delta_component)) {
        return config::Complaint{fmt::format("[{}].{}.{}", i, place, complaint->where), complaint->text};
      }
      const auto* persistent = std::get_if<PersistentAdversaryConfig>(adversary);
      if (persistent && persistent->storage == SourceStorage::compact &&
          std::holds_alternative<LayerwiseRoutingConfig>(plan[i].reconstruction()->routing)) {
        return config::Complaint{fmt::format("[{}].{}.storage", i, place),
                                 "expected float32 beside layerwise routing, which masks one site at a time, "
                                 "found compact, which needs "
                                 "one pass for all of them"};
      }
    }
    const auto* schatten = std::get_if<SchattenTerm>(&term);
    if (schatten && schatten->weighted_by_topk && !largest_masks(plan)) {
      return config::Complaint{
          fmt::format("[{}].weighted_by_topk", i),
          "expected false where no topk_attribution_recon says what is kept, found true"};
    }
    if (const auto* frequency = std::get_if<FrequencyMinimalityTerm>(&term)) {
      if (const auto complaint = validate_frequency(*frequency, objective))
        return config::Complaint{fmt::format("[{}].{}", i, complaint->where), complaint->text};
    }
  }
  return std::nullopt;
}

}  // namespace vpd
