#pragma once

#include <stdexcept>
#include <string>

#include <spdlog/fmt/fmt.h>

// Every failure that a user can cause or cure is one of these types. The text is one sentence: what was
// expected, what was found, where, and the cure where it is known. The program's exit code follows from the
// type alone.

namespace vpd {

class Error : public std::runtime_error {
 public:
  int exit_code() const noexcept { return exit_code_; }

 protected:
  Error(const std::string& what, int exit_code) : std::runtime_error(what), exit_code_(exit_code) {}

 private:
  int exit_code_;
};

// The configuration cannot be used: an unknown key, a wrong type, an impossible value.
class ConfigError : public Error {
 public:
  explicit ConfigError(const std::string& what) : Error(what, 2) {}
};

// The program or a library function was called in a way that makes no sense.
class UsageError : public Error {
 public:
  explicit UsageError(const std::string& what) : Error(what, 2) {}
};

// A file, its contents or a device is not what it has to be.
class DataError : public Error {
 public:
  explicit DataError(const std::string& what) : Error(what, 3) {}
};

// A computation left the finite numbers.
class NumericalError : public Error {
 public:
  explicit NumericalError(const std::string& what) : Error(what, 4) {}
};

// One of several processes failed, and this one ends because of it: with that one's exit code where it is
// known.
class ProcessError : public Error {
 public:
  ProcessError(const std::string& what, int exit_code) : Error(what, exit_code) {}
};

// The user asked to stop; the state has been saved.
class Interrupted : public Error {
 public:
  explicit Interrupted(const std::string& what) : Error(what, 130) {}
};

}  // namespace vpd

// Throws `Exception` with a message in fmt syntax unless `condition` holds. Always on, in every build type:
//   VPD_CHECK(rank == 2, DataError, "{}: expected a matrix, found {} dimensions", path, rank);
#define VPD_CHECK(condition, Exception, ...)     \
  do {                                           \
    if (!(condition)) {                          \
      throw Exception(fmt::format(__VA_ARGS__)); \
    }                                            \
  } while (false)
