#include "config/number_hint.hpp"

#include <map>

#include <gtest/gtest.h>

#include "config/run_support.hpp"

namespace vpd {
namespace {

using config::plain_number;

TEST(NumberHint, KnowsOtherWaysToWriteANumber) {
  const std::map<std::string, std::string> meant = {
      {"1_000", "1000"},        {"1_000_000", "1000000"}, {"1e3_0", "1e30"},      {"1,000", "1000"},
      {"1,234,567", "1234567"}, {"1,000.5", "1000.5"},    {"0,5", "0.5"},         {"1 000", "1000"},
      {"1'000", "1000"},        {"1k", "1000"},           {"10K", "10000"},       {"1.5M", "1500000"},
      {"2G", "2000000000"},     {"2B", "2000000000"},     {"50%", "0.5"},         {"50 %", "0.5"},
      {"-1_0", "-10"},          {"0X10", "16"},           {"0b101", "5"},         {"0x1_0", "0x10"},
      {"1_0k", "10000"},        {"0O17", "15"},           {"1_000.25", "1000.25"}};
  for (const auto& [text, number] : meant) EXPECT_EQ(plain_number(text), number) << text;
}

TEST(NumberHint, LeavesTheRestAlone) {
  for (const char* text : {"",  "many", "abc", "e5",   "-",       "_",   "1,2,3", "1-2",   "0x",   "0b12",
                           "k", "%",    "%1",  "1:30", "[1_000]", "{1}", "auto",  "0.5.5", "1__e", "1000"})
    EXPECT_EQ(plain_number(text), std::nullopt) << text;
  EXPECT_EQ(plain_number(std::string(1000, '1') + "_0"), std::nullopt);
}

class NumberMessages : public RunConfigTest {};

TEST_F(NumberMessages, SayWhatToWrite) {
  const auto training = [&](const std::string& keys) { return message("training", "{" + keys + "}"); };
  const std::string rest = ", batch_size: 4, learning_rate: 1.0e-3";
  EXPECT_EQ(training("steps: 1_000" + rest),
            "training.steps: expected a whole number of at least 0, found the text \"1_000\" (write 1000)");
  EXPECT_EQ(training("steps: \"1,000\"" + rest),
            "training.steps: expected a whole number of at least 0, found the text \"1,000\" (write 1000)");
  EXPECT_NE(training("steps: 1,000" + rest)
                .find("found \"000\" (between braces a comma begins a new key: write the number before it"),
            std::string::npos);
  EXPECT_NE(training("steps: 10, batch_size: 4, learning_rate: 1_0.5").find("(write 10.5)"),
            std::string::npos);
  EXPECT_NE(message("seed", "1_0").find("(write 10)"), std::string::npos);
  EXPECT_NE(message("objective", "[{type: faithfulness, coefficient: 1k}]").find("(write 1000)"),
            std::string::npos);
  // Where no whole number was meant, there is nothing to advise.
  EXPECT_EQ(training("steps: \"0,5\"" + rest),
            "training.steps: expected a whole number of at least 0, found the text \"0,5\"");
  EXPECT_NE(message("", "", {"training.steps=2_000"}).find("found the text \"2_000\" (write 2000)"),
            std::string::npos);
  EXPECT_NE(training("steps: \"10\"" + rest).find("(without quotes it would not be text)"),
            std::string::npos);
  // Text that is no YAML is still only text.
  EXPECT_EQ(training("steps: \"[1\"" + rest),
            "training.steps: expected a whole number of at least 0, found the text \"[1\"");
}

}  // namespace
}  // namespace vpd
