#pragma once

#include <cstdlib>
#include <filesystem>

namespace vpd::testing {

/// Where the environment says, else where it was on the machine that built the tests: they also run where
/// these files are elsewhere.
inline std::filesystem::path place(const char* variable, const char* at_build) {
  const char* const other = std::getenv(variable);
  return other ? other : at_build;
}

/// tests/data.
inline std::filesystem::path test_data() { return place("VPD_TEST_DATA", VPD_TEST_DATA); }

/// The root of the source tree.
inline std::filesystem::path source_dir() { return place("VPD_SOURCE_DIR", VPD_SOURCE_DIR); }

}  // namespace vpd::testing
