#include "vpd/base/foreign_text.hpp"

#include <gtest/gtest.h>

namespace vpd {
namespace {

TEST(ToValidUtf8, ReplacesWhatIsNone) {
  EXPECT_EQ(to_valid_utf8("caf\xc3\xa9"), "caf\xc3\xa9");
  EXPECT_EQ(to_valid_utf8("caf\xe9"), "caf\xef\xbf\xbd");
  EXPECT_EQ(to_valid_utf8("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // a surrogate
  EXPECT_EQ(to_valid_utf8(""), "");
}

TEST(Printable, ShowsWhatWouldSteerATerminal) {
  EXPECT_EQ(printable("plain, caf\xc3\xa9"), "plain, caf\xc3\xa9");
  EXPECT_EQ(printable("\x1b[2J"), "\\x1b[2J");
  EXPECT_EQ(printable("a\nb\tc\rd"), "a\\nb\\tc\\rd");
  EXPECT_EQ(printable("\x7f\xc2\x9b"), "\\x7f\\x9b");  // DEL, and CSI as one C1 character
  EXPECT_EQ(printable("\xe2\x80\xae"
                      "abc"),
            "\\u{202e}abc");  // right-to-left override
  EXPECT_EQ(printable("\xe2\x81\xa6x\xe2\x80\xa8"), "\\u{2066}x\\u{2028}");
  EXPECT_EQ(printable("caf\xe9!"), "caf\\xe9!");
  EXPECT_EQ(printable("\xef\xbf\xbd"), "\xef\xbf\xbd");
  EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a\\x00b");
}

TEST(Printable, KeepsTheLinesOfATable) {
  EXPECT_EQ(printable_lines("one\ntwo\x1b[0m\n"), "one\ntwo\\x1b[0m\n");
  EXPECT_EQ(printable_lines("\n\nx"), "\n\nx");
}

TEST(QuoteForeign, CutsLongTexts) {
  EXPECT_EQ(quote_foreign("a\x1b"), "'a\\x1b'");
  const std::string quoted = quote_foreign(std::string(1000, 'x'));
  EXPECT_EQ(quoted, "'" + std::string(120, 'x') + "...'");
}

TEST(ShellQuoted, IsReadBackByAShell) {
  EXPECT_EQ(shell_quoted("runs/demo-1"), "runs/demo-1");
  EXPECT_EQ(shell_quoted(""), "''");
  EXPECT_EQ(shell_quoted("my runs/a"), "'my runs/a'");
  EXPECT_EQ(shell_quoted("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_quoted("$HOME"), "'$HOME'");
  EXPECT_EQ(shell_quoted("caf\xc3\xa9"), "'caf\xc3\xa9'");
  EXPECT_EQ(shell_quoted("caf\xe9"
                         "1'"),
            "$'caf\\3511\\''");
  EXPECT_EQ(shell_quoted("a\nb"), "$'a\\012b'");
}

}  // namespace
}  // namespace vpd
