#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>

#include <ATen/core/ivalue.h>
#include <torch/csrc/distributed/c10d/Work.hpp>

namespace vpd {

/// Waits until `work` has ended, well or badly, and calls `look` many times a second meanwhile. Where that
/// throws, the work goes on.
inline void await_end(c10d::Work& work, const std::function<void()>& look) {
  struct Ended {
    std::mutex mutex;
    std::condition_variable changed;
    bool yes = false;
  };
  constexpr std::chrono::milliseconds slice{20};
  const auto ended = std::make_shared<Ended>();
  work.getFuture()->addCallback([ended](c10::ivalue::Future&) {
    const std::lock_guard<std::mutex> lock(ended->mutex);
    ended->yes = true;
    ended->changed.notify_all();
  });
  std::unique_lock<std::mutex> lock(ended->mutex);
  while (!ended->changed.wait_for(lock, slice, [&] { return ended->yes; })) {
    lock.unlock();
    look();
    lock.lock();
  }
}

}  // namespace vpd
