#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "config/support.hpp"
#include "vpd/config/value.hpp"

namespace vpd::config {
namespace {

Value scalar(const std::string& text) { return parse_yaml(text, "test"); }

TEST(Yaml, PlainScalarsFollowTheCoreSchema) {
  for (const char* text : {"null", "Null", "NULL", "~", ""}) EXPECT_TRUE(scalar(text).is_null()) << text;
  for (const char* text : {"true", "True", "TRUE"})
    EXPECT_EQ(std::get<bool>(scalar(text).data), true) << text;
  for (const char* text : {"false", "False", "FALSE"})
    EXPECT_EQ(std::get<bool>(scalar(text).data), false) << text;
  const std::pair<const char*, std::int64_t> whole[] = {{"0", 0},
                                                        {"-7", -7},
                                                        {"+12", 12},
                                                        {"007", 7},
                                                        {"0x1F", 31},
                                                        {"0o17", 15},
                                                        {"-9223372036854775808", INT64_MIN}};
  for (const auto& [text, value] : whole) EXPECT_EQ(std::get<std::int64_t>(scalar(text).data), value) << text;
  const std::pair<const char*, double> real[] = {{"1e6", 1e6},    {"1.0e7", 1e7},       {".5", 0.5},
                                                 {"5.", 5.0},     {"-2.5E-3", -2.5e-3}, {"+.5", 0.5},
                                                 {"1e-999", 0.0}, {"1.0e+2", 100.0}};
  for (const auto& [text, value] : real) EXPECT_EQ(std::get<double>(scalar(text).data), value) << text;
  for (const char* text :
       {"yes", "no", "on", "off", "abc", "1e", "1_000", "0b1", "1:30", ".", "0x", "e5", "nan"}) {
    ASSERT_TRUE(scalar(text).text()) << text;
    EXPECT_EQ(*scalar(text).text(), text);
  }
}

TEST(Yaml, NumbersBeyondTheirRange) {
  EXPECT_EQ(std::get<std::uint64_t>(scalar("18446744073709551615").data), UINT64_MAX);
  EXPECT_EQ(std::get<double>(scalar("18446744073709551616").data), 0x1p64);
  EXPECT_EQ(std::get<double>(scalar("-9223372036854775809").data), -0x1p63);
  EXPECT_TRUE(std::isinf(std::get<double>(scalar("1e999").data)));
  EXPECT_TRUE(std::isinf(std::get<double>(scalar("-.inf").data)));
  EXPECT_TRUE(std::isnan(std::get<double>(scalar(".nan").data)));
}

TEST(Yaml, QuotedScalarsAreText) {
  for (const char* text : {"\"5\"", "'5'", "\"null\"", "'true'", "\"\""})
    EXPECT_TRUE(scalar(text).text()) << text;
  EXPECT_EQ(*scalar("\"a\\nb\"").text(), "a\nb");
}

TEST(Yaml, ValuesKnowTheirLine) {
  const Value value = parse_yaml("a: 1\nb:\n  c: [2,\n      3]\n", "run.yaml");
  EXPECT_EQ(value.find("a")->origin, "run.yaml:1");
  EXPECT_EQ(value.find("b")->origin, "run.yaml:2");
  EXPECT_EQ((*value.find("b")->find("c")->list())[1].origin, "run.yaml:4");
}

TEST(Yaml, DuplicateKeysAreAnError) {
  EXPECT_EQ(error_of([] { parse_yaml("a:\n  b: 1\n  c: 2\n  b: 3\n", "run.yaml"); }),
            "run.yaml:4: a.b: expected each key once, found it again after run.yaml:2");
  EXPECT_NE(
      error_of([] { parse_yaml("[{a: 1, \"a\": 2}]", "run.yaml"); }).find("[0].a: expected each key once"),
      std::string::npos);
}

TEST(Yaml, SyntaxErrorsHaveLineAndColumn) {
  const std::string error = error_of([] { parse_yaml("a: 1\nb: [1, 2\nc: 3\n", "run.yaml"); });
  EXPECT_TRUE(error.starts_with("run.yaml:3:")) << error;
  EXPECT_NE(error.find("expected YAML, found a syntax error"), std::string::npos) << error;
  EXPECT_NE(error_of([] { parse_yaml("a: b: c\n", "x"); }), "");
  EXPECT_NE(error_of([] { parse_yaml("a: *nothing\n", "x"); }), "");
  EXPECT_NE(error_of([] { parse_yaml("\ta: 1\n", "x"); }), "");
}

TEST(Yaml, RefusesWhatAConfigurationNeverHas) {
  EXPECT_EQ(error_of([] { parse_yaml("a: 1\n---\nb: 2\n", "x"); }), "x: expected one YAML document, found 2");
  EXPECT_EQ(error_of([] { parse_yaml("a: !!str 5\n", "x"); }),
            "x:1: a: expected a value without a tag, found the tag \"tag:yaml.org,2002:str\"");
  EXPECT_NE(error_of([] { parse_yaml("[a, b]: 1\n", "x"); }).find("expected a key of plain text"),
            std::string::npos);
  EXPECT_NE(error_of([] { parse_yaml("a: &x [*x]\n", "x"); }), "");
  std::string laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    laughs += fmt::format("a{0}: &a{0} [*a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}]\n", i, i - 1);
  }
  EXPECT_NE(error_of([&] { parse_yaml(laughs, "x"); }).find("nested without end"), std::string::npos);
  EXPECT_NE(error_of([] { parse_yaml(std::string(3000, '['), "x"); }), "");
}

TEST(Yaml, PrintedTextReadsBackAsItself) {
  for (const char* text : {"plain",
                           "h.*.mlp",
                           "",
                           "null",
                           "True",
                           "yes",
                           "off",
                           "n",
                           "5",
                           "1e5",
                           "-",
                           "a b",
                           "a: b",
                           "#",
                           "a\"b\\",
                           "line\nbreak\ttab",
                           "/abs/path-1.bin",
                           "x,y",
                           "{",
                           "\x01",
                           "sch\xc3\xb6n",
                           "~",
                           "0x1F",
                           "*"}) {
    const Value value(std::string{text});
    const Value again = parse_yaml(to_yaml(value), "x");
    ASSERT_TRUE(again.text()) << to_yaml(value);
    EXPECT_EQ(*again.text(), text);
  }
}

TEST(Yaml, PrintedNumbersReadBackExactly) {
  for (const double number : {0.0, -0.0, 1.0, 0.1, 1e-12, 1e7, 1e16, 1.5e300, 5e-324, 1.0 / 3.0, -2.5e-8}) {
    const Value again = parse_yaml(to_yaml(Value(number)), "x");
    ASSERT_TRUE(std::holds_alternative<double>(again.data)) << to_yaml(Value(number));
    EXPECT_EQ(std::get<double>(again.data), number);
  }
  EXPECT_EQ(to_yaml_line(Value(1e-12)), "1.0e-12");
  EXPECT_EQ(to_yaml_line(Value(1e16)), "1.0e+16");
  EXPECT_EQ(to_yaml_line(Value(5.0)), "5.0");
  EXPECT_EQ(to_yaml_line(Value(std::uint64_t{UINT64_MAX})), "18446744073709551615");
}

TEST(Yaml, PrintedStructureReadsBack) {
  const std::string text =
      "top:\n  - {a: 1, b: [1.5, null, true], c: {}}\n  - []\n  - [[x], [y, {z: 1}]]\n  - name: "
      "\"a long text that does not fit on the rest of the line, so that the map around it has to be opened "
      "up here\"\n"
      "    nested: [{type: all, values: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, "
      "20, 21]}, {b: "
      "[\"another long text that takes its own line, again to open up the surroundings of the "
      "list\"]}]\nempty: {}\n";
  const Value value = parse_yaml(text, "x");
  const std::string printed = to_yaml(value);
  EXPECT_EQ(to_yaml(parse_yaml(printed, "x")), printed);
  EXPECT_EQ(to_yaml_line(parse_yaml(printed, "x")), to_yaml_line(value)) << printed;
}

TEST(Yaml, DifferencesNameThePathAndBothValues) {
  const auto lines = [](const char* before, const char* after) {
    return differences(parse_yaml(before, "x"), parse_yaml(after, "y"));
  };
  using Lines = std::vector<std::string>;
  EXPECT_EQ(lines("a: 1", "a: 1"), Lines{});
  EXPECT_EQ(lines("training: {steps: 100}", "training: {steps: 200}"),
            Lines{"training.steps: 100 became 200"});
  EXPECT_EQ(lines("o: [{t: 1}, {t: 2}]", "o: [{t: 1}, {t: 3}, {t: 4}]"),
            (Lines{"o[1].t: 2 became 3", "o[2]: {t: 4} was added"}));
  EXPECT_EQ(lines("o: [1, 2]", "o: [1]"), Lines{"o[1]: 2 was removed"});
  EXPECT_EQ(lines("g: {a: 1}", "g: {b: 1}"), (Lines{"g.a: 1 was removed", "g.b: 1 was added"}));
  EXPECT_EQ(lines("r: {type: all}", "r: {type: static_probability, probability: 0.5}"),
            Lines{"r: {type: all} became {type: static_probability, probability: 0.5}"});
  EXPECT_EQ(lines("a: null", "a: [1]"), Lines{"a: null became [1]"});
}

}  // namespace
}  // namespace vpd::config
