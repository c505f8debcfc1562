#include "vpd/config/adversary.hpp"

namespace vpd {
namespace {

// All ones, the Delta-component's included, is the target itself: the loss and its gradient are zero there,
// and a step would follow rounding noise.
constexpr const char* starts_at_target =
    "expected first values below 1 while delta_component is true, found 1 everywhere, which is the target "
    "itself, "
    "where the gradient is zero";

}  // namespace

std::optional<config::Complaint> PersistentAdversaryConfig::validate() const {
  const bool has_number = scope == PersistentScope::n_sources || scope == PersistentScope::pooled;
  if (has_number && !sources) {
    return config::Complaint{"sources", std::string("expected a whole number of at least 1 for scope ") +
                                            (scope == PersistentScope::pooled ? "pooled" : "n_sources") +
                                            ", found none"};
  }
  if (!has_number && sources) {
    return config::Complaint{
        "sources", "expected null, found a number that only scopes n_sources and pooled have a use for"};
  }
  if (shared_across_positions && scope != PersistentScope::shared_across_batch) {
    return config::Complaint{
        "shared_across_positions",
        "expected false, found true, which only scope shared_across_batch has a use for"};
  }
  if (storage == SourceStorage::compact &&
      (scope != PersistentScope::per_position || parametrization != SourceParametrization::clamped)) {
    return config::Complaint{
        "storage",
        "expected float32, found compact, which needs scope per_position and parametrization clamped"};
  }
  const auto* constant = std::get_if<ConstantInitConfig>(&init);
  if (constant && parametrization == SourceParametrization::sigmoid &&
      (constant->value <= 0.0 || constant->value >= 1.0)) {
    return config::Complaint{
        "init.value", "expected a number between 0 and 1, found one of the two, which no sigmoid reaches"};
  }
  return std::nullopt;
}

std::optional<config::Complaint> validate_start(const AdversaryConfig& adversary, bool delta_component) {
  if (const auto* fresh = std::get_if<FreshAdversaryConfig>(&adversary)) {
    return validate_start(fresh->init, delta_component);
  }
  const auto* constant =
      std::get_if<ConstantInitConfig>(&std::get<PersistentAdversaryConfig>(adversary).init);
  if (delta_component && constant && constant->value == 1.0)
    return config::Complaint{"init.value", starts_at_target};
  return std::nullopt;
}

std::optional<config::Complaint> validate_start(FreshInit init, bool delta_component) {
  if (delta_component && init == FreshInit::ones) return config::Complaint{"init", starts_at_target};
  return std::nullopt;
}

}  // namespace vpd
