#pragma once

#include <ATen/Parallel.h>

#include "vpd/base/error.hpp"

namespace vpd {

/// LibTorch's number of CPU threads for the length of a job: the wanted one, or where that is 0 the present
/// one. Afterwards it is what it was: the program around the job has a number of its own.
class ThreadNumber {
 public:
  explicit ThreadNumber(int wanted) : before_(at::get_num_threads()) {
    VPD_CHECK(wanted >= 0, UsageError, "expected a number of threads of at least 0, found {}", wanted);
    if (wanted > 0) at::set_num_threads(wanted);
  }
  ~ThreadNumber() { at::set_num_threads(before_); }
  ThreadNumber(const ThreadNumber&) = delete;
  ThreadNumber& operator=(const ThreadNumber&) = delete;

  int get() const { return at::get_num_threads(); }

 private:
  int before_;
};

}  // namespace vpd
