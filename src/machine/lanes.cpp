#include "vpd/machine/lanes.hpp"

#include <algorithm>

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <omp.h>

namespace vpd {
namespace {

/// For the products of this thread; 0: as many as for all threads.
void use_threads_in_mkl(int count) {
  static const auto set = reinterpret_cast<int (*)(int)>(dlsym(RTLD_DEFAULT, "MKL_Set_Num_Threads_Local"));
  if (set) set(count);
}

/// LibTorch sets a thread's share once, when the thread first computes: in the library's own code and,
/// through an inline function with a flag of its own, in ours. Both have to be over before ours is set, or
/// they undo it. MKL, where LibTorch has it, keeps a number of its own, which LibTorch sets for all threads.
void use_threads(int count) {
  at::internal::lazy_init_num_threads();
  at::get_num_threads();
  omp_set_num_threads(count);
  use_threads_in_mkl(count);
}

}  // namespace

int suitable_lanes(const c10::Device& device, std::int64_t rows, int threads, std::int64_t elements_each) {
  if (!device.is_cpu()) return 1;
  constexpr std::int64_t most_elements = std::int64_t{1} << 28;
  const std::int64_t affordable = most_elements / std::max<std::int64_t>(1, elements_each);
  return static_cast<int>(
      std::max<std::int64_t>(1, std::min({static_cast<std::int64_t>(threads), rows, affordable})));
}

Lanes::Lanes(int count, int threads_each)
    : count_(count), threads_each_(threads_each), errors_(static_cast<std::size_t>(count)) {
  try {
    for (int lane = 1; lane < count; ++lane) threads_.emplace_back([this, lane] { serve(lane); });
  } catch (...) {
    dismiss();
    throw;
  }
}

Lanes::~Lanes() { dismiss(); }

void Lanes::dismiss() {
  stop_ = true;
  ++generation_;
  generation_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Lanes::guarded(int lane) {
  try {
    (*work_)(lane);
  } catch (...) {
    errors_[static_cast<std::size_t>(lane)] = std::current_exception();
  }
}

void Lanes::serve(int lane) {
  use_threads(threads_each_);
  for (std::uint32_t seen = 0;;) {
    generation_.wait(seen);
    seen = generation_.load();
    if (stop_) return;
    guarded(lane);
    if (running_.fetch_sub(1) == 1) running_.notify_one();
  }
}

void Lanes::run(const std::function<void(int)>& work) {
  work_ = &work;
  for (std::exception_ptr& error : errors_) error = nullptr;
  if (count_ == 1) {
    guarded(0);
  } else {
    running_ = count_ - 1;
    ++generation_;
    generation_.notify_all();
    const int before = omp_get_max_threads();
    use_threads(threads_each_);
    guarded(0);
    omp_set_num_threads(before);
    use_threads_in_mkl(0);
    for (int left = running_.load(); left != 0; left = running_.load()) running_.wait(left);
  }
  for (const std::exception_ptr& error : errors_) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace vpd
