#include "vpd/base/error.hpp"

#include <gtest/gtest.h>

namespace vpd {
namespace {

template <class Exception>
int exit_code_of_a_thrown() {
  try {
    throw Exception("what");
  } catch (const Error& error) {
    return error.exit_code();
  }
}

TEST(Error, EachTypeHasItsExitCode) {
  EXPECT_EQ(exit_code_of_a_thrown<ConfigError>(), 2);
  EXPECT_EQ(exit_code_of_a_thrown<UsageError>(), 2);
  EXPECT_EQ(exit_code_of_a_thrown<DataError>(), 3);
  EXPECT_EQ(exit_code_of_a_thrown<NumericalError>(), 4);
  EXPECT_EQ(exit_code_of_a_thrown<Interrupted>(), 130);
}

TEST(Error, CheckThrowsOnlyWhenTheConditionFails) {
  int evaluations = 0;
  EXPECT_NO_THROW(VPD_CHECK(++evaluations == 1, DataError, "never"));
  EXPECT_EQ(evaluations, 1);
  EXPECT_THROW(VPD_CHECK(false, NumericalError, "plain"), NumericalError);
}

TEST(Error, CheckFormatsItsMessage) {
  try {
    VPD_CHECK(1 == 2, DataError, "{}: expected {}, found {}", "a.bin", 1, 2);
    FAIL() << "nothing was thrown";
  } catch (const DataError& error) {
    EXPECT_STREQ(error.what(), "a.bin: expected 1, found 2");
  }
}

}  // namespace
}  // namespace vpd
