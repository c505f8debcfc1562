#pragma once

#include <filesystem>
#include <string>

#include "vpd/run/observer.hpp"

namespace vpd {

/// Says lines to the observer and keeps them in log.txt; what is said before there is a file waits for it.
class RunLog {
 public:
  explicit RunLog(const Observer& observer) : observer_(observer) {}
  ~RunLog();
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  /// Appends to `path`, and holds a lock on it, so that no two programs work on one run. Throws DataError.
  void open(const std::filesystem::path& path);

  /// Whether open() got the lock.
  bool locked() const { return locked_; }

  void say(const std::string& line);
  /// To the file alone; errors are passed over.
  void note(const std::string& line) noexcept;

  const Observer& observer() const { return observer_; }

 private:
  bool append(const std::string& text) noexcept;

  const Observer& observer_;
  std::filesystem::path path_;
  std::string pending_;
  int descriptor_ = -1;
  bool locked_ = false;
};

}  // namespace vpd
