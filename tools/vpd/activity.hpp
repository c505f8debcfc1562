#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "terminal.hpp"
#include "vpd/base/observer.hpp"

namespace vpd {

/// Says on standard error what a command is at whose standard output is a table or JSON. On a terminal at
/// once, on a line that is written over and is gone at the end; elsewhere only what has taken two seconds,
/// and then ever more seldom, so that a command that is quick says nothing there.
class Activity {
 public:
  Activity();
  ~Activity();
  Activity(const Activity&) = delete;
  Activity& operator=(const Activity&) = delete;

  /// For the library's functions, not longer than this lives.
  Observer observer();

 private:
  void say(const std::string& line);
  void begin(const std::string& what);
  void watch();

  Terminal terminal_;
  std::mutex mutex_;
  std::condition_variable ends_;
  bool ended_ = false;
  std::string now_;   ///< what the command is at
  std::string said_;  ///< the last of these that was written
  std::thread watcher_;
};

}  // namespace vpd
