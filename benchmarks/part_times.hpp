#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/record_function.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "median.hpp"

namespace vpd {

/// Listens to the parts of training steps (vpd/training/part_names.hpp) that the thread which made this
/// object takes, until it is destroyed. On a GPU a part lasts from event to event of the stream, waits for
/// the host included; on a CPU it is what the first lane took. Of parts within parts the outer ones count. A
/// captured step announces nothing.
class PartTimes {
 public:
  explicit PartTimes(c10::Device device) : device_(device) {
    listener_ = this;
    handle_ = at::addThreadLocalCallback(
        at::RecordFunctionCallback(&begin, &end).scopes({at::RecordScope::USER_SCOPE}));
  }
  ~PartTimes() {
    at::removeCallback(handle_);
    listener_ = nullptr;
  }
  PartTimes(const PartTimes&) = delete;
  PartTimes& operator=(const PartTimes&) = delete;

  /// To be called when the device has finished the step.
  void end_step() {
    ++steps_;
    for (const Interval& interval : intervals_) {
      std::vector<double>& times = of(interval.part);
      times.resize(steps_, 0.0);
      times.back() += milliseconds(interval);
    }
    intervals_.clear();
  }

  struct Part {
    std::string part;
    double milliseconds;  ///< a step, median
  };
  std::vector<Part> parts() const {
    std::vector<Part> result;
    for (const auto& [part, times] : times_) result.push_back({part, median(times)});
    return result;
  }

 private:
  struct Moment {
    std::chrono::steady_clock::time_point host;
    std::optional<c10::Event> event;
  };
  struct Interval {
    std::string part;
    Moment begin, end;
  };
  struct Begun : at::ObserverContext {
    Moment moment;
  };

  Moment now() const {
    Moment moment{std::chrono::steady_clock::now(), std::nullopt};
    if (device_.is_cpu()) return moment;
    const c10::impl::VirtualGuardImpl guard(device_.type());
    moment.event.emplace(device_.type(), c10::EventFlag::BACKEND_DEFAULT);  // one that tells the time
    moment.event->record(guard.getStream(guard.getDevice()));
    return moment;
  }

  static double milliseconds(const Interval& i) {
    if (i.begin.event) return i.begin.event->elapsedTime(*i.end.event);
    return std::chrono::duration<double, std::milli>(i.end.host - i.begin.host).count();
  }

  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction&) {
    if (listener_->depth_++ > 0) return nullptr;
    auto begun = std::make_unique<Begun>();
    begun->moment = listener_->now();
    return begun;
  }
  static void end(const at::RecordFunction& function, at::ObserverContext* begun) {
    --listener_->depth_;
    if (!begun) return;
    listener_->intervals_.push_back(
        {function.name(), std::move(static_cast<Begun*>(begun)->moment), listener_->now()});
  }

  std::vector<double>& of(const std::string& part) {
    for (auto& [name, times] : times_) {
      if (name == part) return times;
    }
    return times_.emplace_back(part, std::vector<double>()).second;
  }

  inline static thread_local PartTimes* listener_ = nullptr;
  c10::Device device_;
  at::CallbackHandle handle_ = 0;
  int depth_ = 0;
  std::size_t steps_ = 0;
  std::vector<Interval> intervals_;                                 // of the present step
  std::vector<std::pair<std::string, std::vector<double>>> times_;  // per part, a number a step
};

}  // namespace vpd
