#pragma once

#include <exception>
#include <string>

#include <gtest/gtest.h>

#include "vpd/base/error.hpp"

namespace vpd::testing {

/// That `error` is of that type, with those words and that exit code.
template <class Expected>
void expect_error(const std::exception_ptr& error, const std::string& words, int exit_code) {
  ASSERT_TRUE(error) << "expected an error with: " << words;
  try {
    std::rethrow_exception(error);
  } catch (const Expected& found) {
    EXPECT_NE(std::string(found.what()).find(words), std::string::npos) << found.what();
    EXPECT_EQ(found.exit_code(), exit_code);
  } catch (const std::exception& other) {
    ADD_FAILURE() << "an error of another type: " << other.what();
  }
}

}  // namespace vpd::testing
