#pragma once

#include "activity.hpp"
#include "interrupt.hpp"

namespace vpd {

/// What `work(observer)` gives, while standard error says what it is at and Ctrl-C ends it.
template <class Work>
auto watched(const Work& work) {
  watch_interrupts("stopping");
  Activity activity;
  Observer observer = activity.observer();
  observer.stop = interrupted;
  return work(observer);
}

}  // namespace vpd
