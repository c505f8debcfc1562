#include "vpd/config/custom_options.hpp"

#include <gtest/gtest.h>

#include "config/support.hpp"

namespace vpd {
namespace {

using config::Scalar;

CustomOptions options() {
  return CustomOptions({{"width", Scalar(std::int64_t{32})},
                        {"slope", Scalar(0.5)},
                        {"form", Scalar(std::string("deep"))},
                        {"bias", Scalar(true)}},
                       "place");
}

TEST(CustomOptions, AreReadByName) {
  CustomOptions o = options();
  EXPECT_EQ(o.whole_number("width"), 32);
  EXPECT_EQ(o.number("width"), 32.0);
  EXPECT_EQ(o.number("slope"), 0.5);
  EXPECT_EQ(o.text("form"), "deep");
  EXPECT_TRUE(o.flag("bias"));
  EXPECT_NO_THROW(o.refuse_the_rest());
}

TEST(CustomOptions, AbsentOnesHaveAValueInTheirPlaceOrAreMissed) {
  CustomOptions o({}, "place");
  EXPECT_EQ(o.whole_number("width", 7), 7);
  EXPECT_EQ(o.number("slope", 0.25), 0.25);
  EXPECT_EQ(o.text("form", "flat"), "flat");
  EXPECT_FALSE(o.flag("bias", false));
  EXPECT_EQ(error_of([&] { o.whole_number("width"); }),
            "place.width: expected a whole number, found no such key");
  EXPECT_EQ(error_of([&] { o.number("slope"); }), "place.slope: expected a number, found no such key");
  EXPECT_EQ(error_of([&] { o.text("form"); }), "place.form: expected text, found no such key");
  EXPECT_EQ(error_of([&] { o.flag("bias"); }), "place.bias: expected true or false, found no such key");
}

TEST(CustomOptions, OtherTypesAreRefused) {
  CustomOptions o = options();
  EXPECT_EQ(error_of([&] { o.whole_number("slope"); }),
            "place.slope: expected a whole number, found the number 0.5");
  EXPECT_EQ(error_of([&] { o.number("form"); }), "place.form: expected a number, found the text \"deep\"");
  EXPECT_EQ(error_of([&] { o.text("width"); }), "place.width: expected text, found the number 32");
  EXPECT_EQ(error_of([&] { o.flag("form", false); }),
            "place.form: expected true or false, found the text \"deep\"");
}

TEST(CustomOptions, WhatNobodyAskedForIsRefused) {
  CustomOptions o({{"widht", Scalar(std::int64_t{32})}}, "place");
  EXPECT_EQ(error_of([&] { o.refuse_the_rest(); }), "place.widht: expected no options, found \"widht\"");
  o.whole_number("width", 1);
  o.number("slope", 1.0);
  EXPECT_EQ(
      error_of([&] { o.refuse_the_rest(); }),
      "place.widht: expected a known option (slope, width), found \"widht\" (the nearest is \"width\")");
}

}  // namespace
}  // namespace vpd
