#include "vpd/config/reflection.hpp"

#include <cstdint>
#include <limits>

#include <gtest/gtest.h>

#include "config/support.hpp"
#include "vpd/config/schedule.hpp"

// The mechanism on a struct that has one field of each type.

namespace vpd::config {
namespace {

enum class Colour { red, blue };
constexpr std::array<EnumName<Colour>, 2> config_names(Colour) {
  return {{{Colour::red, "red"}, {Colour::blue, "blue"}}};
}

struct Empty {
  static constexpr std::string_view kind = "empty";
  static constexpr std::string_view summary = "nothing";
  template <class Self, class Visitor>
  static void describe(Self&, Visitor&) {}
  bool operator==(const Empty&) const = default;
};

struct Pair {
  static constexpr std::string_view kind = "pair";
  static constexpr std::string_view summary = "two numbers";
  std::int64_t low = 0;
  std::int64_t high = 1;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(field("low", "the lower"), self.low);
    visit(field("high", "the higher").required(), self.high);
  }
  std::optional<Complaint> validate() const {
    if (low <= high) return std::nullopt;
    return Complaint{"low", "expected no more than high"};
  }
  bool operator==(const Pair&) const = default;
};

struct All {
  static constexpr std::string_view summary = "everything";
  bool flag = true;
  std::int64_t whole = 3;
  std::uint64_t seed = 0;
  double real = 0.5;
  std::string text = "abc";
  std::string word = "a";
  std::filesystem::path path = "p";
  Colour colour = Colour::red;
  std::optional<double> maybe;
  std::vector<double> list = {1.0};
  std::map<std::string, std::vector<std::string>> map;
  std::map<std::string, Scalar> options;
  std::variant<Empty, Pair> choice = Pair{2, 5};
  Schedule rate = {.start = 0.5, .warmup_fraction = 0.1};
  Pair inner = {4, 8};
  std::vector<Pair> pairs;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(field("flag", "a flag"), self.flag);
    visit(field("whole", "a whole number").at_least(1).at_most(10), self.whole);
    visit(field("seed", "a seed"), self.seed);
    visit(field("real", "a real number").more_than(0).less_than(1), self.real);
    visit(field("text", "a text").non_empty(), self.text);
    visit(field("word", "a word").matching("[a-c]+", "letters from a to c"), self.word);
    visit(field("path", "a path"), self.path);
    visit(field("colour", "a colour"), self.colour);
    visit(field("maybe", "a number or none").more_than(0), self.maybe);
    visit(field("list", "numbers").non_empty().fraction(), self.list);
    visit(field("map", "lists"), self.map);
    visit(field("options", "of any type"), self.options);
    visit(field("choice", "one or the other"), self.choice);
    visit(field("rate", "a rate").at_least(0), self.rate);
    visit(field("inner", "a pair"), self.inner);
    visit(field("pairs", "pairs"), self.pairs);
  }
  bool operator==(const All&) const = default;
};

const Type& all_type() {
  static const Type type = type_of<All>();
  return type;
}

All read(const std::string& text, const std::vector<std::string>& overrides = {}) {
  Value value = parse_yaml(text, "f.yaml");
  for (const std::string& override_text : overrides) apply_override(value, all_type(), override_text);
  return from_value<All>(std::move(value), all_type(), {});
}

std::string reading_error(const std::string& text) {
  return error_of([&] { read(text); });
}

TEST(Reflection, NoKeysGiveTheDefaults) { EXPECT_EQ(read("{}"), All{}); }

TEST(Reflection, EveryTypeIsRead) {
  const All all = read(
      "flag: false\nwhole: 7\nseed: 18446744073709551615\nreal: 0.25\ntext: \"5\"\nword: cab\npath: "
      "x/y\ncolour: blue\n"
      "maybe: 2\nlist: [0, 0.5, 1]\nmap: {a: [x, y], b: []}\noptions: {a: 1, b: 1.0, "
      "c: \"1\", d: true, e: 1e3, f: 18446744073709551615}\nchoice: {type: empty}\nrate: {start: 1, "
      "schedule: linear, "
      "final_fraction: 0}\ninner: {high: 9}\npairs: [{low: 1, high: 2}, {high: 3}]\n");
  EXPECT_EQ(all.flag, false);
  EXPECT_EQ(all.whole, 7);
  EXPECT_EQ(all.seed, std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(all.real, 0.25);
  EXPECT_EQ(all.text, "5");
  EXPECT_EQ(all.word, "cab");
  EXPECT_EQ(all.path, "x/y");
  EXPECT_EQ(all.colour, Colour::blue);
  EXPECT_EQ(all.maybe, 2.0);
  EXPECT_EQ(all.list, (std::vector<double>{0.0, 0.5, 1.0}));
  EXPECT_EQ(all.map.at("a"), (std::vector<std::string>{"x", "y"}));
  EXPECT_TRUE(all.map.at("b").empty());
  EXPECT_EQ(all.options.at("a"), Scalar(std::int64_t{1}));
  EXPECT_EQ(all.options.at("b"), Scalar(1.0));
  EXPECT_EQ(all.options.at("c"), Scalar(std::string("1")));
  EXPECT_EQ(all.options.at("d"), Scalar(true));
  EXPECT_EQ(all.options.at("e"), Scalar(1000.0));
  EXPECT_EQ(all.options.at("f"), Scalar(18446744073709551615.0));
  EXPECT_TRUE(std::holds_alternative<Empty>(all.choice));
  EXPECT_EQ(all.rate, (Schedule{.start = 1.0, .schedule = ScheduleShape::linear, .final_fraction = 0.0}));
  EXPECT_EQ(all.inner, (Pair{0, 9})) << "what a map leaves out has its own struct's default";
  EXPECT_EQ(all.pairs, (std::vector<Pair>{{1, 2}, {0, 3}}));
}

TEST(Reflection, PrintingAndReadingAreInverse) {
  All all;
  all.seed = std::numeric_limits<std::uint64_t>::max();
  all.text = "true";
  all.maybe = 1e-12;
  all.map["odd: key"] = {"*"};
  all.options = {{"a", Scalar(std::int64_t{2})},
                 {"b", Scalar(2.0)},
                 {"c", Scalar(std::string("2"))},
                 {"d", Scalar(false)}};
  all.pairs = {{1, 2}};
  all.choice = Empty{};
  all.rate = Schedule::from_number(2);
  for (const All& each : {All{}, all}) {
    EXPECT_EQ(read(to_yaml(value_of(each))), each);
    Value json = parse_json(to_json(value_of(each)), "x");
    EXPECT_EQ(from_value<All>(std::move(json), all_type(), {}), each);
  }
}

TEST(Reflection, PrintsEveryDefaultAndTheTypeFirst) {
  const Value value = value_of(All{});
  EXPECT_EQ(value.map()->size(), 16u);
  EXPECT_EQ(to_yaml_line(*value.find("choice")), "{type: pair, low: 2, high: 5}");
  EXPECT_EQ(to_yaml_line(*value.find("maybe")), "null");
  EXPECT_EQ(to_yaml_line(value_of(Schedule::from_number(2))), "2.0");
}

TEST(Reflection, IntegerValuedFloatsAreWholeNumbers) {
  EXPECT_EQ(read("whole: 1e1").whole, 10);
  EXPECT_EQ(read("whole: 4.0").whole, 4);
  EXPECT_EQ(read("seed: 1e19").seed, 10000000000000000000u);
  EXPECT_EQ(reading_error("whole: 4.5"),
            "f.yaml:1: whole: expected a whole number from 1 to 10, found the number 4.5");
}

TEST(Reflection, WrongTypesSayWhatWasExpectedAndFound) {
  EXPECT_EQ(reading_error("flag: yes"), "f.yaml:1: flag: expected true or false, found the text \"yes\"");
  EXPECT_EQ(reading_error("flag: 1"), "f.yaml:1: flag: expected true or false, found the number 1");
  EXPECT_EQ(reading_error("\nwhole: \"5\""),
            "f.yaml:2: whole: expected a whole number from 1 to 10, found the text \"5\" (without "
            "quotes it would not be text)");
  EXPECT_EQ(reading_error("text: 5"),
            "f.yaml:1: text: expected text that is not empty, found the number 5 (quotes make it text)");
  EXPECT_EQ(reading_error("real: null"), "f.yaml:1: real: expected a number above 0 and below 1, found null");
  EXPECT_EQ(reading_error("maybe: x"),
            "f.yaml:1: maybe: expected a number above 0, or null, found the text \"x\"");
  EXPECT_EQ(reading_error("list: 0.5"),
            "f.yaml:1: list: expected a list of at least one entry, found the number 0.5");
  EXPECT_EQ(reading_error("list: [0.5, [1]]"),
            "f.yaml:1: list[1]: expected a number from 0 to 1, found a list of 1 entry");
  EXPECT_EQ(reading_error("map: [1, 2]"),
            "f.yaml:1: map: expected a map of names, found a list of 2 entries");
  EXPECT_EQ(reading_error("map: {a: x}"), "f.yaml:1: map.a: expected a list, found the text \"x\"");
  EXPECT_EQ(reading_error("options: {a: null}"),
            "f.yaml:1: options.a: expected a number, text, or true or false, found null");
  EXPECT_EQ(reading_error("inner: 5"),
            "f.yaml:1: inner: expected a map with keys from low, high, found the number 5");
  EXPECT_EQ(reading_error("choice: pair"),
            "f.yaml:1: choice: expected a map with a type from empty, pair, found the text \"pair\"");
  EXPECT_EQ(reading_error("path: 3"), "f.yaml:1: path: expected a path, found the number 3");
  EXPECT_EQ(reading_error("path: ''"), "f.yaml:1: path: expected a path, found the text \"\"");
  EXPECT_EQ(reading_error("seed: -1"),
            "f.yaml:1: seed: expected a whole number from 0 to 2^64 - 1, found the number -1");
  EXPECT_EQ(reading_error("[1]").find("f.yaml:1: expected a map with keys from flag, whole"), 0u);
  EXPECT_EQ(reading_error("").find("f.yaml: expected a map with keys from flag, whole"), 0u);
}

TEST(Reflection, RangesHold) {
  EXPECT_NE(reading_error("whole: 0"), "");
  EXPECT_EQ(reading_error("whole: 1"), "");
  EXPECT_EQ(reading_error("whole: 10"), "");
  EXPECT_NE(reading_error("whole: 11"), "");
  EXPECT_NE(reading_error("whole: 99999999999999999999"), "");
  EXPECT_NE(reading_error("real: 0"), "");
  EXPECT_NE(reading_error("real: 1"), "");
  EXPECT_NE(reading_error("list: []"), "");
  EXPECT_NE(reading_error("list: [1.1]"), "");
  EXPECT_NE(reading_error("text: ''"), "");
  EXPECT_EQ(reading_error("word: abd"),
            "f.yaml:1: word: expected letters from a to c, found the text \"abd\"");
  EXPECT_NE(reading_error("rate: -1"), "");
  EXPECT_EQ(reading_error("rate: {start: -1}"),
            "f.yaml:1: rate.start: expected a number of at least 0, found the number -1");
  EXPECT_NE(reading_error("maybe: 0"), "");
}

TEST(Reflection, NumbersAreFinite) {
  EXPECT_EQ(reading_error("options: {a: .nan}"), "f.yaml:1: options.a: expected a finite number, found .nan");
  EXPECT_EQ(reading_error("real: .nan"), "f.yaml:1: real: expected a finite number, found .nan");
  EXPECT_EQ(reading_error("rate: .inf"), "f.yaml:1: rate: expected a finite number, found .inf");
  EXPECT_EQ(reading_error("maybe: 1e999"), "f.yaml:1: maybe: expected a finite number, found .inf");
  EXPECT_NE(reading_error("whole: .inf"), "");
}

TEST(Reflection, UnknownKeysNameTheNearest) {
  EXPECT_EQ(
      reading_error("inner: {hihg: 3}"),
      "f.yaml:1: inner.hihg: expected a known key (low, high), found \"hihg\" (the nearest is \"high\")");
  EXPECT_EQ(reading_error("inner: {zebra: 3}"),
            "f.yaml:1: inner.zebra: expected a known key (low, high), found \"zebra\"");
  EXPECT_EQ(
      reading_error("choice: {type: pair, hi: 3}"),
      "f.yaml:1: choice.hi: expected a known key (type, low, high), found \"hi\" (the nearest is \"high\")");
}

TEST(Reflection, UnknownAndMissingTypesListTheKnown) {
  EXPECT_EQ(reading_error("choice: {type: pear}"),
            "f.yaml:1: choice.type: expected one of empty, pair, found \"pear\" (the nearest is \"pair\")");
  EXPECT_EQ(reading_error("choice: {low: 1}"),
            "f.yaml:1: choice.type: expected one of empty, pair, found no such key");
  EXPECT_EQ(reading_error("choice: {type: 3}"),
            "f.yaml:1: choice.type: expected one of empty, pair, found the number 3");
  EXPECT_EQ(reading_error("colour: bleu"),
            "f.yaml:1: colour: expected one of red, blue, found \"bleu\" (the nearest is \"blue\")");
}

TEST(Reflection, RequiredKeysAreMissed) {
  EXPECT_EQ(reading_error("inner:\n  low: 1\n"),
            "f.yaml:1: inner.high: expected a whole number, found no such key");
  EXPECT_NE(reading_error("rate: {schedule: constant}")
                .find("rate.start: expected a number of at least 0, found no such key"),
            std::string::npos);
}

TEST(Reflection, RulesBetweenFieldsNameTheirPath) {
  EXPECT_EQ(reading_error("pairs:\n  - {high: 1}\n  - low: 5\n    high: 2\n"),
            "f.yaml:3: pairs[1].low: expected no more than high");
  EXPECT_EQ(reading_error("rate: {start: 1, warmup_steps: 3, warmup_fraction: 0.5}"),
            "f.yaml:1: rate.warmup_steps: expected one of warmup_fraction and warmup_steps, found both");
  EXPECT_NE(
      reading_error("rate: {start: 1, schedule: cosine}").find("rate.final_fraction: expected a number"),
      std::string::npos);
  EXPECT_NE(reading_error("rate: {start: 1, final_fraction: 0.5}")
                .find("found 0.5 (it belongs to linear and cosine)"),
            std::string::npos);
}

TEST(Override, SetsWhatItNames) {
  EXPECT_EQ(read("whole: 3", {"whole=5"}).whole, 5);
  EXPECT_EQ(read("{}", {"whole=1e1"}).whole, 10);
  EXPECT_EQ(read("", {"flag=false"}).flag, false);
  EXPECT_EQ(read("maybe: 3", {"maybe=null"}).maybe, std::nullopt);
  EXPECT_EQ(read("maybe: 3", {"maybe="}).maybe, std::nullopt);
  EXPECT_EQ(read("{}", {"text=a=b"}).text, "a=b");
  EXPECT_EQ(read("{}", {"list=[0.5, 1]"}).list, (std::vector<double>{0.5, 1.0}));
  EXPECT_EQ(read("{}", {"map.new=[x]"}).map.at("new"), std::vector<std::string>{"x"});
  EXPECT_EQ(read("{}", {"pairs=[{high: 4}]", "pairs.0.low=2"}).pairs, (std::vector<Pair>{{2, 4}}));
  EXPECT_EQ(read("pairs: [{high: 1}, {high: 2}]", {"pairs[1].high=7"}).pairs[1].high, 7);
}

TEST(Override, StartsAbsentMapsFromTheirDefaults) {
  EXPECT_EQ(read("{}", {"inner.high=6"}).inner, (Pair{4, 6}));
  EXPECT_EQ(std::get<Pair>(read("{}", {"choice.high=6"}).choice), (Pair{2, 6}));
  EXPECT_EQ(read("{}", {"rate.start=2"}).rate, (Schedule{.start = 2.0, .warmup_fraction = 0.1}));
  EXPECT_EQ(read("rate: 3", {"rate.warmup_fraction=0.2"}).rate,
            (Schedule{.start = 3.0, .warmup_fraction = 0.2}));
  EXPECT_TRUE(std::holds_alternative<Empty>(read("{}", {"choice={type: empty}"}).choice));
}

TEST(Override, ErrorsNameTheOverride) {
  const auto error = [](const std::string& text) {
    return error_of([&] { read("pairs: [{high: 1}]", {text}); });
  };
  EXPECT_EQ(error("whole=abc"),
            "--set whole=abc: whole: expected a whole number from 1 to 10, found the text \"abc\"");
  EXPECT_EQ(error("whole"), "--set whole: expected KEY=VALUE, found no \"=\"");
  EXPECT_EQ(error("a..b=1").find("--set a..b=1: expected a path such as"), 0u);
  EXPECT_EQ(error("=1").find("--set =1: expected a path such as"), 0u);
  EXPECT_EQ(error("inner.hihg=1"),
            "--set inner.hihg=1: inner.hihg: expected a known key (low, high), found \"hihg\" (the nearest "
            "is \"high\")");
  EXPECT_EQ(error("pairs.1.high=2"),
            "--set pairs.1.high=2: pairs: expected an index below 1, the number of its entries, found \"1\"");
  EXPECT_EQ(error("pairs.x=2").find("--set pairs.x=2: pairs: expected an index below 1"), 0u);
  EXPECT_EQ(error("whole.deep=2"),
            "--set whole.deep=2: whole: expected the end of the path, since this is a whole number from 1 to "
            "10, found \".deep\"");
  EXPECT_EQ(error("list=[1").find("--set list=[1:"), 0u);
  EXPECT_EQ(error("inner.low=99"), "--set inner.low=99: inner.low: expected no more than high");
  EXPECT_EQ(error("choice.type=empty"),
            "--set choice.type=empty: choice.low: expected a known key (type), found \"low\"");
}

TEST(Schema, SaysWhatIsAccepted) {
  const Value root = schema(all_type(), "all");
  EXPECT_EQ(*root.find("$schema")->text(), "https://json-schema.org/draft/2020-12/schema");
  EXPECT_EQ(to_yaml_line(*root.find("additionalProperties")), "false");
  EXPECT_EQ(root.find("required"), nullptr);
  const Value& properties = *root.find("properties");
  EXPECT_EQ(properties.map()->size(), 16u);
  const auto line = [&](const char* key) { return to_yaml_line(*properties.find(key)); };
  EXPECT_EQ(line("flag"), "{description: \"a flag\", type: boolean, default: true}");
  EXPECT_EQ(line("whole"),
            "{description: \"a whole number\", type: integer, minimum: 1, maximum: 10, default: 3}");
  EXPECT_EQ(line("real"),
            "{description: \"a real number\", type: number, exclusiveMinimum: 0, exclusiveMaximum: 1, "
            "default: 0.5}");
  EXPECT_EQ(line("word"), "{description: \"a word\", type: string, pattern: \"^([a-c]+)$\", default: a}");
  EXPECT_EQ(line("colour"), "{description: \"a colour\", enum: [red, blue], default: red}");
  EXPECT_EQ(
      line("options"),
      "{description: \"of any type\", type: object, additionalProperties: {anyOf: [{type: boolean}, {type: "
      "number}, {type: string}]}, default: {}}");
  EXPECT_EQ(line("maybe"),
            "{description: \"a number or none\", anyOf: [{type: number, exclusiveMinimum: 0}, {type: "
            "\"null\"}], default: null}");
  EXPECT_EQ(line("list"),
            "{description: numbers, type: array, items: {type: number, minimum: 0, maximum: 1}, minItems: 1, "
            "default: [1.0]}");
  const Value::List& kinds = *properties.find("choice")->find("oneOf")->list();
  ASSERT_EQ(kinds.size(), 2u);
  EXPECT_EQ(to_yaml_line(*kinds[0].find("properties")), "{type: {const: empty}}");
  EXPECT_EQ(to_yaml_line(*kinds[1].find("required")), "[type, high]");
  EXPECT_EQ(to_yaml_line(*kinds[1].find("additionalProperties")), "false");
}

TEST(Reference, HasARowForEveryField) {
  const std::string page = reference(all_type(), "Everything");
  EXPECT_EQ(page.find("# Everything\n\nEverything. YAML, or JSON"), 0u);
  for (const Member& member : all_type().members) {
    EXPECT_NE(page.find(fmt::format("| `{}` | ", member.field.key)), std::string::npos) << member.field.key;
  }
  EXPECT_NE(page.find("| `whole` | a whole number from 1 to 10 | `3` | a whole number |"), std::string::npos);
  EXPECT_NE(page.find("### `choice`, type `pair`"), std::string::npos);
  EXPECT_NE(page.find("## `pairs[]`\n\nAs `inner`."), std::string::npos);
  EXPECT_NE(page.find("## A schedule"), std::string::npos);
  EXPECT_NE(page.find("| `high` | a whole number | required | the higher |"), std::string::npos);
}

}  // namespace
}  // namespace vpd::config
