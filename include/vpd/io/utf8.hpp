#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace vpd {

struct DecodedCharacter {
  char32_t code_point;
  std::size_t length;  // in bytes, at least 1
};

// The first character of `text`, which is not empty. Bytes that begin no character give U+FFFD, and the
// length of the longest beginning of a character among them, as Unicode recommends ("substitution of maximal
// subparts").
DecodedCharacter decode_utf8(std::string_view text);

// `bytes` with U+FFFD for what is no UTF-8.
std::string to_valid_utf8(std::string_view bytes);

}  // namespace vpd
