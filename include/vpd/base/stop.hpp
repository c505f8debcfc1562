#pragma once

#include <functional>
#include <string_view>

#include "vpd/base/error.hpp"

namespace vpd {

/// Asked often during long work; true: end it. May be empty.
using StopAsked = std::function<bool()>;

/// Throws Interrupted, naming `work`, once `stop` says so.
inline void end_if_asked(const StopAsked& stop, std::string_view work) {
  if (stop && stop()) throw Interrupted(fmt::format("{} was interrupted", work));
}

}  // namespace vpd
