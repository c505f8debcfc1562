#pragma once

#include "vpd/config/field.hpp"

// Fields that every metric has.

namespace vpd::config {

constexpr Field slow_field() {
  return field("slow", "true: measured every `slow_every` steps instead of every `every`");
}

}  // namespace vpd::config
