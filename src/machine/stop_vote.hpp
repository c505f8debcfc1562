#pragma once

#include <functional>

#include <ATen/core/Tensor.h>

#include "vpd/machine/processes.hpp"

namespace vpd {

/// Whether to stop, the same answer in all processes at the same call: at the call after the one at which any
/// of them was asked to. The votes travel meanwhile, so that no step waits for them.
class StopVote {
 public:
  /// Of processes that train from here on, and so stop together.
  StopVote(Processes& processes, std::function<bool()> asked)
      : processes_(processes), asked_(std::move(asked)) {
    processes.stop_together();
  }

  bool operator()();

 private:
  Processes& processes_;
  std::function<bool()> asked_;
  at::Tensor votes_;
  Processes::Sum sum_;  // after what it writes to
};

}  // namespace vpd
