#pragma once

#include <cstdint>
#include <string>

#include "vpd/base/observer.hpp"
#include "vpd/base/stop.hpp"

namespace vpd {

/// Tells the observer of work that may take long. The status line says it at once. A line that stays says it
/// at once, too, where there are `bytes` enough to read that it will take seconds, and else as soon as it
/// has. The work has to ask what this returns, often, whether to stop.
StopAsked announce(const Observer& observer, const std::string& work, std::int64_t bytes);

}  // namespace vpd
