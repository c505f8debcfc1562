#pragma once

#include <chrono>

#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "notices.hpp"
#include "patience.hpp"
#include "vpd/base/launch.hpp"

// How the processes of a run find each other. What goes wrong is a DataError that says where this process
// looked, what it found there, and the likely causes; what `patience.look()` throws passes through.

namespace vpd {

/// Process 0 opens the store at the launch's address and port, unless the launcher did; the others look for
/// it there and make sure that it is their run's. Returns the part that belongs to this start of it.
c10::intrusive_ptr<c10d::Store> connect(const Launch& launch, const Patience& patience);

/// Until all have come.
void wait_for_all(const Launch& launch, Notices& notices, const Patience& patience);

/// "expected all processes to meet at host:port in time, found ..."
[[noreturn]] void not_met(const Launch& launch, const std::string& found_and_cure);

}  // namespace vpd
