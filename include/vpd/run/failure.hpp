#pragma once

#include <exception>
#include <string>

namespace vpd {

/// What ended a job, as the program says it: a sentence, and the exit code.
struct Failure {
  std::string sentence;
  int exit_code = 1;
};
Failure describe_failure(const std::exception& error);

}  // namespace vpd
