#include "import/pickle.hpp"

#include <cmath>
#include <map>

#include <gtest/gtest.h>

#include "io/support.hpp"
#include "pickled.hpp"
#include "zip_files.hpp"

// Pickles are written here opcode by opcode, in the letters of Lib/pickletools.py.

namespace vpd {
namespace {

using testing::bytes_of;
using testing::little_endian;
using testing::pickled_text;
using namespace std::string_literals;

struct Made final : PickleObject {
  explicit Made(std::string what) : text(std::move(what)) {}
  std::string text;
};

// Knows the names demo.f and demo.g.
class DemoWorld final : public PickleWorld {
 public:
  bool knows(std::string_view name) const override { return name == "demo.f" || name == "demo.g"; }
  std::unique_ptr<PickleObject> persistent(const PickleValue& id) const override {
    return std::make_unique<Made>("persistent " + describe(id));
  }
  std::unique_ptr<PickleObject> call(const PickleName& name, const PickleTuple& arguments) const override {
    if (name.text == "demo.g" && arguments.items.size() == 3) throw NotMade{"a demo of three"};
    return std::make_unique<Made>(name.text + " of " + std::to_string(arguments.items.size()));
  }
};

Pickle read(const std::string& pickle) {
  return read_pickle(bytes_of(pickle), "x.pt: data.pkl", DemoWorld());
}

// A pickle of protocol 2 around what makes its value.
std::string whole(const std::string& body) { return "\x80\x02" + body + "."; }

// The value in the notation of Python, with shared things written out.
std::string spell(const PickleValue& value) {
  if (std::holds_alternative<std::monostate>(value)) return "None";
  if (const bool* x = std::get_if<bool>(&value)) return *x ? "True" : "False";
  if (const auto* x = std::get_if<std::int64_t>(&value)) return std::to_string(*x);
  if (const double* x = std::get_if<double>(&value)) return fmt::format("{}f", *x);
  if (const auto* const* x = std::get_if<const std::string*>(&value)) return "'" + **x + "'";
  if (const auto* const* x = std::get_if<const PickleName*>(&value)) return "<" + (*x)->text + ">";
  if (const auto* const* x = std::get_if<const PickleObject*>(&value)) {
    return "<" + dynamic_cast<const Made*>(*x)->text + ">";
  }
  if (const auto* const* x = std::get_if<PicklePlaceholder*>(&value); x && (*x)->items.empty())
    return "?" + std::string((*x)->what) + "?";
  std::string text;
  const auto add = [&](const std::string& item) { text += (text.empty() ? "" : ", ") + item; };
  if (const auto* const* x = std::get_if<PicklePlaceholder*>(&value)) {
    for (const auto& [key, item] : (*x)->items) add(spell(key) + ": " + spell(item));
    return "?" + std::string((*x)->what) + "{" + text + "}?";
  }
  if (const auto* const* x = std::get_if<PickleDictionary*>(&value)) {
    for (const auto& [key, item] : (*x)->items) add(spell(key) + ": " + spell(item));
    return "{" + text + "}";
  }
  if (const auto* const* x = std::get_if<PickleList*>(&value)) {
    for (const PickleValue& item : (*x)->items) add(spell(item));
    return "[" + text + "]";
  }
  for (const PickleValue& item : std::get<const PickleTuple*>(value)->items) add(spell(item));
  return "(" + text + ")";
}

std::string spelled(const std::string& body) { return spell(read(whole(body)).root); }

void expect_rejected(const std::string& pickle, const std::string& part) {
  EXPECT_DATA_ERROR(part, read(pickle));
  EXPECT_DATA_ERROR("x.pt: data.pkl: expected ", read(pickle));
}

void expect_body_rejected(const std::string& body, const std::string& part) {
  expect_rejected(whole(body), part);
}

TEST(Pickle, Constants) {
  EXPECT_EQ(spelled("N"), "None");
  EXPECT_EQ(spelled("\x88"), "True");
  EXPECT_EQ(spelled("\x89"), "False");
}

TEST(Pickle, WholeNumbers) {
  EXPECT_EQ(spelled("J" + little_endian(std::int32_t{-5})), "-5");
  EXPECT_EQ(spelled("K\xff"), "255");
  EXPECT_EQ(spelled("M\xff\xff"), "65535");
  EXPECT_EQ(spelled("\x8a"s + '\0'), "0");
  EXPECT_EQ(spelled("\x8a\x01\x80"), "-128");
  EXPECT_EQ(spelled("\x8a\x02\xff\x00"s), "255");
  EXPECT_EQ(spelled("\x8a\x08" + little_endian(std::int64_t{1} << 62)), "4611686018427387904");
  EXPECT_EQ(spelled("\x8a\x08" + little_endian(std::numeric_limits<std::int64_t>::min())),
            "-9223372036854775808");
  EXPECT_EQ(spelled("\x8b" + little_endian(std::int32_t{3}) + "\x01\x02\x03"), "197121");
  EXPECT_EQ(spelled("\x8a\x09" + std::string(9, '\x01')), "?a whole number of more than 64 bits?");
  expect_body_rejected("\x8a\x09\x01", "expected 9 more bytes");
  expect_body_rejected("\x8b" + little_endian(std::int32_t{-1}), "a length of at least 0");
  expect_body_rejected("\x8b" + little_endian(std::int32_t{0x7fffffff}), "expected 2147483647 more bytes");
}

TEST(Pickle, FloatingPointNumbers) {
  EXPECT_EQ(spelled("G\x3f\xf8\0\0\0\0\0\0"s), "1.5f");
  EXPECT_EQ(spelled("G\xc0\x00\0\0\0\0\0\0"s), "-2f");
  const Pickle infinite = read(whole("G\x7f\xf0\0\0\0\0\0\0"s));
  EXPECT_TRUE(std::isinf(std::get<double>(infinite.root)));
}

TEST(Pickle, Texts) {
  EXPECT_EQ(spelled(pickled_text("")), "''");
  EXPECT_EQ(spelled(pickled_text("h.0 ü")), "'h.0 ü'");
  EXPECT_EQ(spelled("\x8c\x02hi"), "'hi'");
  EXPECT_EQ(spelled("\x8d" + little_endian(std::uint64_t{3}) + "abc"), "'abc'");
  EXPECT_EQ(spelled(pickled_text("\xff")), "?a text that is not UTF-8?");
  EXPECT_EQ(spelled(pickled_text("\xed\xa0\x80")), "?a text that is not UTF-8?");  // half of a surrogate pair
  expect_body_rejected("X" + little_endian(std::uint32_t{0xffffffff}), "expected 4294967295 more bytes");
  expect_body_rejected("\x8d" + little_endian(~std::uint64_t{0}), "expected 18446744073709551615 more bytes");
}

TEST(Pickle, Collections) {
  EXPECT_EQ(spelled("]"), "[]");
  EXPECT_EQ(spelled("]K\x01"s + "a"), "[1]");
  EXPECT_EQ(spelled("](K\x01K\x02"s + "e"), "[1, 2]");
  EXPECT_EQ(spelled(")"), "()");
  EXPECT_EQ(spelled("N\x85"), "(None)");
  EXPECT_EQ(spelled("NK\x01\x86"), "(None, 1)");
  EXPECT_EQ(spelled("NK\x01\x88\x87"), "(None, 1, True)");
  EXPECT_EQ(spelled("(K\x01K\x02K\x03K\x04t"), "(1, 2, 3, 4)");
  EXPECT_EQ(spelled("}"), "{}");
  EXPECT_EQ(spelled("}" + pickled_text("a") + "K\x01s"), "{'a': 1}");
  EXPECT_EQ(spelled("}(" + pickled_text("a") + "K\x01" + pickled_text("a") + "]u"), "{'a': 1, 'a': []}");
  EXPECT_EQ(spelled("}(K\x05)N\x85NN\x88u"), "{5: (), (None): None, None: True}");
}

TEST(Pickle, Memory) {
  EXPECT_EQ(spelled("(]q\x05h\x05" + pickled_text("a") + "r" + little_endian(std::uint32_t{1000}) + "j" +
                    little_endian(std::uint32_t{1000}) + "t"),
            "([], [], 'a', 'a')");
  EXPECT_EQ(spelled("(N\x94]\x94h\x00h\x01t"s), "(None, [], None, [])");
  // What is put aside is the thing itself, not a copy.
  const Pickle shared = read(whole("(]q\x01h\x01K\x07"s + "at"));
  EXPECT_EQ(spell(shared.root), "([7], [7])");
  const auto& items = std::get<const PickleTuple*>(shared.root)->items;
  EXPECT_EQ(std::get<PickleList*>(items[0]), std::get<PickleList*>(items[1]));
  EXPECT_EQ(spelled("Nq\x01]q\x01h\x01\x87"), "(None, [], [])");  // a place may be used again
  EXPECT_EQ(spelled("Nr" + little_endian(std::uint32_t{0xffffffff})), "None");
  expect_body_rejected("h\x01", "expected a value that was put aside before");
  expect_body_rejected("j" + little_endian(std::uint32_t{0xffffffff}), "put aside before");
  expect_body_rejected("q\x01", "expected a value on the stack");
  expect_body_rejected("\x94", "expected a value on the stack");
}

TEST(Pickle, NamesThatAreKnown) {
  EXPECT_EQ(spelled("cdemo\nf\n"), "<demo.f>");
  EXPECT_EQ(spelled("\x8c\x04"
                    "demo\x8c\x01g\x93"),
            "<demo.g>");
  EXPECT_EQ(spelled("cdemo\nf\n(K\x01Nt"
                    "R"),
            "<demo.f of 2>");
  EXPECT_EQ(spelled("ccollections\nOrderedDict\n)R"), "{}");
  EXPECT_EQ(spelled("ccollections\nOrderedDict\n)R(" + pickled_text("a") + "Nu"), "{'a': None}");
  EXPECT_EQ(spelled(pickled_text("id") + "\x85Q"), "<persistent a tuple of 1 value>");
}

// A module's state dict has an attribute, which says nothing about tensors.
TEST(Pickle, AttributesOfADictionary) {
  EXPECT_EQ(spelled("ccollections\nOrderedDict\n)R}" + pickled_text("_metadata") + "}sb"), "{}");
  EXPECT_EQ(spelled("ccollections\nOrderedDict\n)RNb"), "{}");
  expect_body_rejected("]}b", "expected an object that has attributes");
  expect_body_rejected("cdemo\nf\n)R}b", "expected an object that has attributes");
}

// Nobody imports or calls them, so that they do no more harm than any other text.
TEST(Pickle, NamesThatNobodyKnows) {
  for (const auto& [module, name] :
       std::vector<std::pair<std::string, std::string>>{{"posix", "system"},
                                                        {"os", "system"},
                                                        {"builtins", "eval"},
                                                        {"__builtin__", "exec"},
                                                        {"subprocess", "Popen"},
                                                        {"torch.hub", "load"},
                                                        {"numpy.core.multiarray", "_reconstruct"},
                                                        {"collections", "Counter"},
                                                        {"demo", "h"},
                                                        {"demo.f", "x"},
                                                        {"", ""}}) {
    const std::string quoted = "'" + module + "." + name + "'", made = "?what " + quoted + " would make?";
    const std::string global = "c" + module + "\n" + name + "\n";
    EXPECT_EQ(spelled(global), "?the name " + quoted + "?");
    EXPECT_EQ(spelled(pickled_text(module) + pickled_text(name) + "\x93"), "?the name " + quoted + "?");
    EXPECT_EQ(spelled(global + pickled_text("touch pwned") + "\x85R"), made);
    EXPECT_EQ(spelled(global + "NR"), made);
    EXPECT_EQ(spelled(global + ")\x81"), made);
    EXPECT_EQ(spelled(global + ")}\x92"), made);
    EXPECT_EQ(spelled("(K\x01i" + module + "\n" + name + "\n"), made);
    EXPECT_EQ(spelled("(" + global + "K\x01o"), made);
    // Its state is passed over, with what is in it.
    EXPECT_EQ(spelled(global + ")\x81}" + pickled_text("a") + "K\x01sb"), made);
    EXPECT_EQ(spelled(global + ")R](K\x01K\x02" + "eb"), made);
    // What is called once more, or appended to, as well.
    EXPECT_EQ(spelled(global + ")R)R"), made);
    EXPECT_EQ(spelled(global + ")R(K\x01K\x02" + "e"), made);
  }
  EXPECT_EQ(spelled("cdemo\x1b[2J\nf\n"), "?the name 'demo\\x1b[2J.f'?");
  expect_body_rejected("c" + std::string(300, 'a') + "\nf\n", "a name of at most 256 bytes");
  expect_body_rejected("cdemo\nf", "a name of at most 256 bytes");
  expect_body_rejected("c\xff\nf\n", "text in UTF-8");
  expect_body_rejected("K\x01" + pickled_text("f") + "\x93", "expected a module's and a name's text");
}

// A class may be a dictionary with a name of its own.
TEST(Pickle, WhatIsPutIntoAnUnknownObject) {
  EXPECT_EQ(spelled("ccollections\ndefaultdict\ncbuiltins\nlist\n\x85R(" + pickled_text("a") + "K\x01" +
                    pickled_text("b") + "Nu"),
            "?what 'collections.defaultdict' would make{'a': 1, 'b': None}?");
  EXPECT_EQ(spelled("ccollections\nOrderedDict\nN\x85R" + pickled_text("a") + "K\x01s"),
            "?what collections.OrderedDict would make{'a': 1}?");
  // Each object has its own.
  EXPECT_EQ(spelled("cx\ny\n)R" + pickled_text("a") + "Nscx\ny\n)R\x86"),
            "(?what 'x.y' would make{'a': None}?, ?what 'x.y' would make?)");
}

TEST(Pickle, WhatDependsOnAPlaceholderIsOne) {
  const std::string expected = "?something that depends on the name 'x.y'?";
  EXPECT_EQ(spelled("cdemo\nf\ncx\ny\n\x85R"), expected);
  EXPECT_EQ(spelled("cdemo\nf\nNcx\ny\n\x85\x86R"), expected);
  EXPECT_EQ(spelled("cdemo\nf\ncdemo\ng\ncx\ny\n\x85R\x85R"), expected);
  EXPECT_EQ(spelled("cx\ny\n\x85Q"), expected);
}

TEST(Pickle, WhatAWorldDoesNotMake) { EXPECT_EQ(spelled("cdemo\ng\nNNN\x87R"), "?a demo of three?"); }

TEST(Pickle, NamesThatRunPrograms) {
  const auto harmful = [](const std::string& body) { return read(whole(body)).harmful_names; };
  EXPECT_EQ(harmful("(cposix\nsystem\ncbuiltins\neval\ncbuiltins\nset\ncdemo\nf\nt"),
            (std::set<std::string>{"posix.system", "builtins.eval"}));
  EXPECT_TRUE(
      harmful("(cargparse\nNamespace\ncnumpy\ndtype\ncpathlib\nPosixPath\ncbuiltins\ngetattr\nt").empty());
}

TEST(Pickle, CallsThatAreNone) {
  expect_body_rejected("cdemo\nf\nNR", "expected a name and a tuple of arguments");
  expect_body_rejected("N)\x81", "expected a name and a tuple of arguments");
  expect_body_rejected("(o", "expected a class to make an object of");
  expect_body_rejected("N)R", "expected a name and a tuple of arguments");
  expect_body_rejected(pickled_text("demo.f") + ")R", "expected a name and a tuple of arguments");
}

TEST(Pickle, ValuesThatAreNotMade) {
  EXPECT_EQ(spelled("C\x02\xff\x80"), "?bytes?");
  EXPECT_EQ(spelled("B" + little_endian(std::uint32_t{3}) + "abc"), "?bytes?");
  EXPECT_EQ(spelled("\x8e" + little_endian(std::uint64_t{1}) + "a"), "?bytes?");
  EXPECT_EQ(spelled("\x96" + little_endian(std::uint64_t{1}) + "a"), "?bytes?");
  EXPECT_EQ(spelled("U\x02hi"), "?a byte string of Python 2?");
  EXPECT_EQ(spelled("T" + little_endian(std::int32_t{2}) + "hi"), "?a byte string of Python 2?");
  EXPECT_EQ(spelled("\x8f(K\x01K\x02\x90"), "?a set?");
  EXPECT_EQ(spelled("(K\x01K\x02\x91"), "?a set?");
  const std::string number = "?a name by its number in Python's extension registry?";
  EXPECT_EQ(spelled("\x82\x01"), number);
  EXPECT_EQ(spelled("\x83\x01\x01"), number);
  EXPECT_EQ(spelled("\x84\x01\x01\x01\x01"), number);
  expect_body_rejected("\x8e" + little_endian(~std::uint64_t{0}) + "a",
                       "expected 18446744073709551615 more bytes");
  expect_body_rejected("T" + little_endian(std::int32_t{-1}), "a length of at least 0");
  expect_body_rejected("](K\x01\x90", "expected a set to put values into");
}

// Pickles of tuples that hold themselves take values off the stack again.
TEST(Pickle, ValuesThatAreTakenOff) {
  EXPECT_EQ(spelled("K\x01N0"), "1");
  EXPECT_EQ(spelled("K\x01(0"), "1");
  EXPECT_EQ(spelled("K\x01(NN1"), "1");
  EXPECT_EQ(spelled("K\x01"
                    "2\x86"),
            "(1, 1)");
  expect_body_rejected("0", "expected a value on the stack");
  expect_body_rejected("K\x01(2", "expected a value on the stack");
  expect_body_rejected("1", "expected a mark on the stack");
}

// Every opcode is either one of those above or refused in words that say what it is.
TEST(Pickle, OpcodesThatAreRefused) {
  const std::map<std::string, std::string> words = {{"\x97", "a buffer outside the file"},
                                                    {"\x98", "a buffer outside the file"},
                                                    {"P", "the opcode 'P'"},
                                                    {"S", "the opcode 'S'"},
                                                    {"F", "the opcode 'F'"},
                                                    {"I", "the opcode 'I'"},
                                                    {"L", "the opcode 'L'"},
                                                    {"V", "the opcode 'V'"},
                                                    {"g", "the opcode 'g'"},
                                                    {"p", "the opcode 'p'"},
                                                    {"d", "the opcode 'd'"},
                                                    {"l", "the opcode 'l'"}};
  const std::string accepted =
      "(.012BCJKMNQRTUXabc}eh]jqrstou)Gi\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f"
      "\x90\x91\x92\x93\x94\x95\x96";
  std::size_t refused = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string opcode(1, static_cast<char>(byte));
    if (accepted.find(opcode) != std::string::npos) continue;
    ++refused;
    const auto found = words.find(opcode);
    const std::string expected =
        found != words.end() ? found->second : fmt::format("the byte 0x{:02x}, which is no", byte);
    expect_body_rejected("NN" + opcode + "\x01\x01\n", "opcodes of torch.save, found " + expected);
  }
  EXPECT_EQ(refused, 256 - accepted.size());
}

TEST(Pickle, Protocols) {
  for (const char protocol : {'\x02', '\x03', '\x04', '\x05'}) {
    EXPECT_EQ(spell(read("\x80"s + protocol + "N.").root), "None");
  }
  expect_rejected("\x80\x01N.", "found protocol 1");
  expect_rejected("\x80\x06N.", "found protocol 6");
  expect_rejected("N.", "a protocol number at its begin");
  expect_rejected("", "expected 1 more bytes at byte 0, found 0");
  expect_rejected("\x80\x02\x80\x02N.", "a protocol number at the begin alone");
  EXPECT_EQ(spell(read("\x80\x04\x95" + little_endian(std::uint64_t{2}) + "N.").root), "None");
  expect_rejected("\x80\x04\x95" + little_endian(std::uint64_t{3}) + "N.",
                  "a frame that ends inside the pickle");
  expect_rejected("\x80\x04\x95" + little_endian(~std::uint64_t{0}) + "N.",
                  "a frame that ends inside the pickle");
}

TEST(Pickle, StacksThatDoNotFit) {
  expect_body_rejected("", "expected one value at the end");
  expect_body_rejected("NN", "expected one value at the end");
  expect_body_rejected("N(", "expected one value at the end");
  expect_rejected("\x80\x02N.N", "expected nothing after the end");
  expect_body_rejected("t", "expected a mark on the stack");
  expect_body_rejected("]e", "expected a mark on the stack");
  expect_body_rejected("}u", "expected a mark on the stack");
  expect_body_rejected("N(\x85", "expected a value on the stack");  // a mark hides what is below it
  expect_body_rejected("N(q\x01", "expected a value on the stack");
  expect_body_rejected(
      "(N"
      "e",
      "expected a value on the stack");
  expect_body_rejected("NNa", "expected a list to append to");
  expect_body_rejected("NNNs", "expected a dictionary to put values into");
  expect_body_rejected("}(Nu", "expected a value for each key");
  expect_body_rejected("}]Ns", "expected keys that are no lists");
  expect_body_rejected("}}Ns", "expected keys that are no lists");
  expect_body_rejected("R", "expected a value on the stack");
  expect_body_rejected("b", "expected a value on the stack");
  expect_body_rejected("Q", "expected a value on the stack");
}

// Whoever walks through a pickle has to see to it that the walk ends.
TEST(Pickle, ValuesThatHoldThemselves) {
  const Pickle itself =
      read(whole("]q\x01h\x01"
                 "a"));
  const auto* const* list = std::get_if<PickleList*>(&itself.root);
  ASSERT_NE(list, nullptr);
  ASSERT_EQ((*list)->items.size(), 1u);
  EXPECT_EQ(std::get<PickleList*>((*list)->items[0]), *list);
  read(whole("}q\x01Nh\x01s"));
}

TEST(Pickle, DeepValues) {
  const auto nested = [](std::size_t levels) {
    return std::string(levels, ']') + std::string(levels - 1, 'a');
  };
  EXPECT_EQ(spelled(nested(3)), "[[[]]]");
  read(whole(nested(1'000'000)));
}

TEST(Pickle, TooManyValues) {
  expect_rejected("\x80\x02(" + std::string(4'000'001, 'N') + "t.", "at most 4000000 values");
  expect_rejected("\x80\x02" + std::string(4'000'001, '('), "at most 4000000 values");
  std::string puts = "\x80\x02N";
  for (std::uint32_t i = 0; i < 4'000'000; ++i) {
    puts += 'r';
    puts += little_endian(i * 1000U);
  }
  expect_rejected(puts + ".", "at most 4000000 values");
  expect_rejected("\x80\x02" + std::string((64 << 20) + 1, 'N'), "a pickle of at most 67108864 bytes");
}

// A pickle with every accepted opcode, for what follows.
std::string every_opcode() {
  return "\x80\x02\x95" + little_endian(std::uint64_t{10}) + "(N\x88\x89J" + little_endian(std::int32_t{7}) +
         "K\x01M\x01\x02\x8a\x01\x01\x8b" + little_endian(std::int32_t{1}) +
         "\x02G\x3f\xf8\0\0\0\0\0\0\x8c\x01"s + "a" + pickled_text("b") + "\x8d" +
         little_endian(std::uint64_t{1}) + "c]Na(NNe)N\x85NN\x86NNN\x87}NNs(NNuq\x01r" +
         little_endian(std::uint32_t{2}) + "\x94h\x01j" + little_endian(std::uint32_t{2}) +
         "cdemo\nf\n)R\x8c\x04"
         "demo\x8c\x01g\x93)RNQC\x01" +
         "aB" + little_endian(std::uint32_t{1}) + "a\x8e" + little_endian(std::uint64_t{1}) + "a\x96" +
         little_endian(std::uint64_t{1}) + "aU\x01" + "aT" + little_endian(std::int32_t{1}) +
         "a\x82\x01\x83\x01\x01\x84\x01\x01\x01\x01\x8f(N\x90(N\x91N0(N12cx\ny\n)\x81"
         "cx\ny\n)}\x92(ix\ny\n(cx\ny\n"
         "occollections\nOrderedDict\n)R}bt.";
}

TEST(Pickle, EveryTruncationIsRejected) {
  const std::string pickle = every_opcode();
  read(pickle);
  for (std::size_t size = 0; size < pickle.size(); ++size) {
    EXPECT_THROW(read(pickle.substr(0, size)), DataError) << size;
  }
}

TEST(Pickle, EveryChangedByteIsSurvived) {
  const std::string pickle = every_opcode();
  for (std::size_t i = 0; i < pickle.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = pickle;
      changed[i] = static_cast<char>(value);
      try {
        read(changed);
      } catch (const DataError&) {
      }
    }
  }
}

TEST(Pickle, Descriptions) {
  const auto described = [](const std::string& body) { return describe(read(whole(body)).root); };
  EXPECT_EQ(described("N"), "None");
  EXPECT_EQ(described("\x88"), "True");
  EXPECT_EQ(described("K\x07"), "the number 7");
  EXPECT_EQ(described("G\x3f\xf8\0\0\0\0\0\0"s), "the number 1.5");
  EXPECT_EQ(described(pickled_text("a\n")), "the text 'a\\n'");
  EXPECT_EQ(described("]Na"), "a list of 1 value");
  EXPECT_EQ(described(")"), "a tuple of 0 values");
  EXPECT_EQ(described("}"), "a dictionary of 0 values");
  EXPECT_EQ(described("cdemo\nf\n"), "the name demo.f");
  EXPECT_EQ(described("NQ"), "a tensor or a storage");
}

}  // namespace
}  // namespace vpd
