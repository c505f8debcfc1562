#pragma once

// The two kinds of process groups of LibTorch, each behind a function of its own, because their headers need
// what a machine may lack.

#include <chrono>

#include <c10/core/Device.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace vpd {

/// Throws UsageError where this build cannot have `count` processes.
void need_gloo(int count);

/// Both throw UsageError where this build lacks the kind. A collective that takes longer than `timeout`
/// fails.
c10::intrusive_ptr<c10d::Backend> make_gloo_group(const c10::intrusive_ptr<c10d::Store>& store, int rank,
                                                  int count, std::chrono::milliseconds timeout);
/// Makes `device` the current one, too.
c10::intrusive_ptr<c10d::Backend> make_nccl_group(const c10::intrusive_ptr<c10d::Store>& store, int rank,
                                                  int count, std::chrono::milliseconds timeout,
                                                  const c10::Device& device);

}  // namespace vpd
