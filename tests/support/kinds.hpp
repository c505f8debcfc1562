#pragma once

#include <set>
#include <string>
#include <variant>

namespace vpd::testing {

/// The names of a configuration's alternatives: what a test of all of them holds its own list against.
template <class... Kinds>
std::set<std::string> kinds_of(const std::variant<Kinds...>*) {
  return {std::string(Kinds::kind)...};
}

template <class Variant>
std::string kind_of(const Variant& value) {
  return std::visit([]<class Kind>(const Kind&) { return std::string(Kind::kind); }, value);
}

}  // namespace vpd::testing
