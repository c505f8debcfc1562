#include "vpd/io/utf8.hpp"

#include <cstdint>

namespace vpd {

namespace {

constexpr DecodedCharacter replacement(std::size_t length) { return {0xfffd, length}; }

}  // namespace

DecodedCharacter decode_utf8(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xc2 || lead > 0xf4) return replacement(1);
  const std::size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // The second byte's range shuts out overlong forms, surrogates and what lies beyond U+10FFFF.
  const std::uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const std::uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  char32_t code_point = lead & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    const std::uint8_t from = i == 1 ? low : 0x80;
    const std::uint8_t to = i == 1 ? high : 0xbf;
    if (i >= text.size() || byte(i) < from || byte(i) > to) return replacement(i);
    code_point = code_point << 6 | (byte(i) & 0x3fu);
  }
  return {code_point, length};
}

std::string to_valid_utf8(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    const auto [code_point, length] = decode_utf8(bytes);
    if (code_point == 0xfffd) {
      text += "\xef\xbf\xbd";
    } else {
      text += bytes.substr(0, length);
    }
    bytes.remove_prefix(length);
  }
  return text;
}

}  // namespace vpd
