#pragma once

#include "vpd/config/field.hpp"

// What every term of the objective has.

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

}  // namespace vpd::config
