#pragma once

// Waiting for other processes with an eye on what else happens.

#include <algorithm>
#include <chrono>
#include <functional>
#include <future>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>

namespace vpd {

/// How long a process waits, and what it does meanwhile.
class Patience {
 public:
  using Clock = std::chrono::steady_clock;
  using Milliseconds = std::chrono::milliseconds;

  /// `look` is called often while something is waited for, and throws where the wait should end.
  Patience(Milliseconds limit, std::function<void()> look)
      : start_(Clock::now()), end_(start_ + limit), look_(std::move(look)) {}

  /// The same look, and an end that may come before.
  Patience at_most(Milliseconds limit) const {
    Patience part = *this;
    part.end_ = std::min(end_, Clock::now() + limit);
    return part;
  }

  /// With another look, once in so long.
  Patience looking_too(Milliseconds every, std::function<void()> at_what) const {
    Patience more = *this;
    more.look_ = [look = look_, every, at_what = std::move(at_what), next = Clock::now() + every]() mutable {
      look();
      if (Clock::now() < next) return;
      at_what();
      next = Clock::now() + every;
    };
    return more;
  }

  Milliseconds left() const {
    return std::chrono::duration_cast<Milliseconds>(std::max(Clock::duration::zero(), end_ - Clock::now()));
  }
  bool over() const { return Clock::now() >= end_; }
  double waited_seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  void look() const { look_(); }

  /// Looks, then sleeps for that long, or to the end.
  void sleep(Milliseconds time) const {
    look();
    std::this_thread::sleep_for(std::min(time, left()));
  }

  /// Runs `work`, which may hang, on a thread of its own, and returns what it does: nothing where it did not
  /// come to its end. Then, and where `look` throws, the thread is left to itself: `work` owns all it uses.
  template <class Work>
  std::optional<std::invoke_result_t<Work>> aside(Work work) const {
    std::packaged_task<std::invoke_result_t<Work>()> task(std::move(work));
    auto result = task.get_future();
    std::thread(std::move(task)).detach();
    constexpr Milliseconds at_first{1}, later{20};
    Milliseconds slice = at_first;
    while (result.wait_for(std::min(slice, left())) != std::future_status::ready) {
      if (over()) return std::nullopt;
      look();
      slice = later;
    }
    return result.get();
  }

 private:
  Clock::time_point start_, end_;
  std::function<void()> look_;
};

}  // namespace vpd
