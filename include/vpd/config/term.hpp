#pragma once

#include <array>

#include "vpd/config/field.hpp"

// What terms of the objective have in common.

namespace vpd {

// Which of a step's rows a term is taken of.
enum class TermRows { target, background };

constexpr std::array<config::EnumName<TermRows>, 2> config_names(TermRows) {
  return {{{TermRows::target, "target"}, {TermRows::background, "background"}}};
}

}  // namespace vpd

namespace vpd::config {

constexpr Field coefficient_field() {
  return field("coefficient", "weight of the term in the objective, a number or a schedule").required();
}

constexpr Field term_name_field() {
  return field("name",
               "name of the term in the log in place of its type; a second term of one type needs one")
      .label()
      .matching("[A-Za-z0-9_.-]+", "letters, digits, '_', '.' and '-'");
}

constexpr Field term_rows_field() {
  return field("rows", "rows that the term is taken of: those of data.train, or those of data.background");
}

constexpr Field term_delta_field() {
  return field("delta", "Delta-mask at every position; null: from the term's own sources").fraction();
}

}  // namespace vpd::config
