#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace vpd {

/// Where a job's words for people go, and how it learns that it should come to an end. Each may be empty.
struct Observer {
  std::function<void(const std::string& line)> say{};  ///< a line that stays
  std::function<void(const std::string& line)>
      status{};                  ///< a line that the next one of either kind may replace
  std::function<bool()> stop{};  ///< asked often; true: save and stop
  std::function<void(const std::filesystem::path& run)> began{};  ///< once there is a run, or one goes on

  /// What a job is about to do, where that may take long: before it begins.
  void announce(const std::string& line) const {
    if (status) status(line);
  }
};

}  // namespace vpd
