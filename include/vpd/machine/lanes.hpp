#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include <c10/core/Device.h>

namespace vpd {

/// Threads that each work on their own rows of the batch from the first matrix product to the last. On a CPU
/// this beats dividing each product among threads by far where products are small: there are a handful of
/// meetings in a step instead of two in every operation. On CUDA there is one lane, the caller itself.
class Lanes {
 public:
  /// `threads_each`: how many threads a lane's operations may use themselves. Throws std::system_error where
  /// the system has no more threads to give.
  explicit Lanes(int count, int threads_each = 1);
  ~Lanes();
  Lanes(const Lanes&) = delete;
  Lanes& operator=(const Lanes&) = delete;

  int count() const { return count_; }

  /// Runs work(lane) for each lane, lane 0 on the calling thread, and returns when all are done. An exception
  /// of the lowest lane that threw is thrown again here.
  void run(const std::function<void(int)>& work);

 private:
  void serve(int lane);
  void dismiss();
  void guarded(int lane);

  int count_;
  int threads_each_;
  const std::function<void(int)>* work_ = nullptr;
  std::atomic<std::uint32_t> generation_{0};
  std::atomic<int> running_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::exception_ptr> errors_;
  std::vector<std::thread> threads_;
};

/// How many lanes suit work on `rows` of a batch: one on CUDA; on a CPU at most `threads`, one per row, and
/// no more than keep the lanes' buffers of `elements_each` float32 within 1 GiB together.
int suitable_lanes(const c10::Device& device, std::int64_t rows, int threads, std::int64_t elements_each = 1);

struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t size() const { return end - begin; }
};

// How whoever works on a batch divides its rows: training, evaluation, interpretation and pretraining.

/// Part `lane` of a range divided as evenly as whole numbers allow.
inline Range lane_range(const Range& whole, int lane, int lanes) {
  return {whole.begin + whole.size() * lane / lanes, whole.begin + whole.size() * (lane + 1) / lanes};
}
/// Of [0, total).
inline Range lane_range(std::int64_t total, int lane, int lanes) {
  return lane_range(Range{0, total}, lane, lanes);
}

/// Calls visit(part) with parts of at most `most`, one after the other.
template <class Visit>
void for_each_part(const Range& whole, std::int64_t most, const Visit& visit) {
  for (std::int64_t begin = whole.begin; begin < whole.end; begin += most)
    visit(Range{begin, std::min(begin + most, whole.end)});
}

}  // namespace vpd
