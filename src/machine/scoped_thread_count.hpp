#pragma once

#include <string>

#include <ATen/Parallel.h>

#include "vpd/base/error.hpp"
#include "vpd/base/limits.hpp"

namespace vpd {

/// LibTorch's number of CPU threads for the length of a job: the wanted one, or where that is 0 the present
/// one, but no more than this process may use. Afterwards it is what it was: the program around the job has a
/// number of its own.
class ScopedThreadCount {
 public:
  explicit ScopedThreadCount(int wanted) : before_(at::get_num_threads()) {
    VPD_CHECK(wanted >= 0, UsageError, "expected a number of threads of at least 0, found {}", wanted);
    if (const auto complaint = too_many_threads(wanted)) throw UsageError("threads: " + *complaint);
    if (wanted > 0) {
      at::set_num_threads(wanted);
      return;
    }
    // Where nothing bounds the number it is not set either, even to what it is: that alone changes how MKL
    // divides its work.
    CoreLimit limit = usable_cores();
    if (limit.count >= before_) return;
    at::set_num_threads(limit.count);
    bound_ = std::move(limit.giver);
  }
  ~ScopedThreadCount() { at::set_num_threads(before_); }
  ScopedThreadCount(const ScopedThreadCount&) = delete;
  ScopedThreadCount& operator=(const ScopedThreadCount&) = delete;

  int get() const { return at::get_num_threads(); }
  /// What makes the number smaller than LibTorch's own; empty: nothing does.
  const std::string& bound() const { return bound_; }

 private:
  int before_;
  std::string bound_;
};

}  // namespace vpd
