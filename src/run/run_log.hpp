#pragma once

#include <filesystem>
#include <set>
#include <string>

#include "vpd/base/observer.hpp"

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

  /// A file that cannot be appended to, on a full disk, is said once, and ends nothing.
  void say(const std::string& line);
  /// The same, but once alone.
  void warn_once(const std::string& line);
  /// To the file alone.
  void note(const std::string& line) noexcept;

  const Observer& observer() const { return observer_; }

 private:
  void append(const std::string& text) noexcept;

  const Observer& observer_;
  std::filesystem::path path_;
  std::string pending_;
  int descriptor_ = -1;
  bool locked_ = false;
  bool failed_ = false;
  std::set<std::string> warned_;
};

}  // namespace vpd
