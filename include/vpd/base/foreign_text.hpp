#pragma once

#include <cstddef>
#include <string>
#include <string_view>

// Text that somebody else wrote (names of files, tokens, what a file holds, words of a command line), made
// fit for each place where it goes out. It may be no UTF-8, and it may hold what steers a terminal.

namespace vpd {

struct DecodedCharacter {
  char32_t code_point;
  std::size_t length;  // in bytes, at least 1
};

// The first character of `text`, which is not empty. Bytes that begin no character give U+FFFD, and the
// length of the longest beginning of a character among them, as Unicode recommends ("substitution of maximal
// subparts").
DecodedCharacter decode_utf8(std::string_view text);

// For JSON and other files of UTF-8: `bytes` with U+FFFD for what is no UTF-8. Two texts are compared after
// both went through here.
std::string to_valid_utf8(std::string_view bytes);

// For one line of a table or a message: control characters (C0, DEL, C1), line and paragraph separators and
// what turns the direction of text around as \n, \t, \r, \xNN or \u{NNNN}; bytes that are no UTF-8 as \xNN.
std::string printable(std::string_view text);

// The same for a table: line feeds stay.
std::string printable_lines(std::string_view text);

// A piece of a file for a message: printable, in quotes, at most 120 bytes of it.
std::string quote_foreign(std::string_view text);

// One word of a command that people paste into a shell: quoted where the shell would read it otherwise, with
// $'…' where it cannot be printed.
std::string shell_quoted(std::string_view word);

}  // namespace vpd
