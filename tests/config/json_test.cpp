#include <gtest/gtest.h>

#include "config/support.hpp"
#include "vpd/config/value.hpp"

namespace vpd::config {
namespace {

TEST(Json, GivesTheSameAsYaml) {
  const std::string text =
      R"({"a": [1, -2, 2.5, 1e6, true, null, "x"], "b": {"c": 18446744073709551615, "d": {}, "e": []}})";
  EXPECT_EQ(to_yaml_line(parse_json(text, "x")), to_yaml_line(parse_yaml(text, "x")));
}

TEST(Json, PrintsWhatItReads) {
  const std::string text = R"({"a": [1, 2.5, "q\"\u00fc\n"], "b": {"c": true, "d": null}, "A": 1e-12})";
  const Value value = parse_json(text, "x");
  EXPECT_EQ(to_yaml_line(parse_json(to_json(value), "x")), to_yaml_line(value));
}

TEST(Json, DuplicateKeysAreAnError) {
  EXPECT_EQ(error_of([] { parse_json(R"({"a": [{"b": 1, "b": 2}]})", "run.json"); }),
            "run.json: a[0].b: expected each key once, found it again in the same map");
}

TEST(Json, SyntaxErrorsHaveLineAndColumn) {
  const std::string error = error_of([] { parse_json("{\n  \"a\": 1,\n  \"b\" 2\n}", "run.json"); });
  EXPECT_TRUE(error.starts_with("run.json:3:7: expected JSON, found a syntax error")) << error;
  for (const char* text : {"", "{", "[1,]", "{\"a\": 1} x", "nan", "{'a': 1}", "1e999", "\"\xff\""}) {
    EXPECT_NE(error_of([&] { parse_json(text, "x"); }), "") << text;
  }
  EXPECT_NE(error_of([] { parse_json(std::string(3000, '['), "x"); }).find("nested without end"),
            std::string::npos);
}

TEST(ReadFile, GoesByTheEnding) {
  const ScratchDirectory scratch;
  EXPECT_EQ(read_file(scratch.write("a.json", "{\"x\": 1}")).find("x")->origin,
            (scratch.path() / "a.json").string());
  EXPECT_EQ(read_file(scratch.write("a.yml", "x: 1")).find("x")->origin,
            (scratch.path() / "a.yml:1").string());
  EXPECT_NE(error_of([&] { read_file(scratch.write("b.json", "x: 1")); }), "");
}

TEST(ReadFile, NamesWhatItCannotRead) {
  const ScratchDirectory scratch;
  EXPECT_EQ(error_of([&] { read_file(scratch.path() / "none.yaml"); }),
            (scratch.path() / "none.yaml").string() +
                ": expected a configuration file, found none that can be read "
                "(No such file or directory)");
  EXPECT_EQ(error_of([&] { read_file(scratch.path()); }),
            scratch.path().string() + ": expected a configuration file, found a directory");
}

}  // namespace
}  // namespace vpd::config
