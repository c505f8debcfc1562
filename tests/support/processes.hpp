#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <vector>

#include "vpd/machine/processes.hpp"

namespace vpd::testing {

/// Whether this build lets several processes work together; says so loudly where it does not.
bool can_test_processes();

/// A port of this machine that nobody listens on.
std::uint16_t free_port();

/// Runs work(processes) on one thread for each of `count` processes, which is what they are to each other,
/// and returns what each of them threw, or null.
std::vector<std::exception_ptr> try_as_processes(int count, const std::function<void(Processes&)>& work,
                                                 std::chrono::milliseconds timeout = std::chrono::minutes(2));

/// The same for processes that differ in what their launcher told them, each with a function that says
/// whether it was asked to stop.
struct Start {
  Launch launch;
  StopAsked stop{};
};
std::vector<std::exception_ptr> try_starts(const std::vector<Start>& starts,
                                           const std::function<void(Processes&)>& work,
                                           std::chrono::milliseconds timeout = std::chrono::minutes(2));

/// The same for work that may throw nothing: the first exception is thrown on.
void as_processes(int count, const std::function<void(Processes&)>& work);

}  // namespace vpd::testing
