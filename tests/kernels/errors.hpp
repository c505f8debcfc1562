#pragma once

#include <string>

#include <gtest/gtest.h>

#include "vpd/base/error.hpp"

namespace vpd::testing {

/// Expects UsageError with `words` in its text.
template <class Function>
void expect_usage_error(const Function& function, const std::string& words) {
  try {
    function();
    ADD_FAILURE() << "expected an error with \"" << words << "\", found none";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
  }
}

}  // namespace vpd::testing
