#include "vpd/base/foreign_text.hpp"

#include <algorithm>
#include <cstdint>

#include <spdlog/fmt/fmt.h>

namespace vpd {
namespace {

constexpr DecodedCharacter replacement(std::size_t length) { return {0xfffd, length}; }

/// Characters that a terminal obeys rather than shows: controls, separators of lines, and the marks,
/// embeddings, overrides and isolates of Unicode's bidirectional algorithm.
bool steers(char32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c || c == 0x200e || c == 0x200f ||
         (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

std::string escaped(char32_t c) {
  switch (c) {
    case '\n':
      return "\\n";
    case '\t':
      return "\\t";
    case '\r':
      return "\\r";
    default:
      return c < 0x100 ? fmt::format("\\x{:02x}", static_cast<unsigned>(c))
                       : fmt::format("\\u{{{:x}}}", static_cast<unsigned>(c));
  }
}

bool is_broken(const DecodedCharacter& character, std::string_view text) {
  return character.code_point == 0xfffd && !text.starts_with("\xef\xbf\xbd");
}

}  // namespace

std::string printable(std::string_view text) {
  std::string shown;
  while (!text.empty()) {
    const DecodedCharacter character = decode_utf8(text);
    if (is_broken(character, text)) {
      for (std::size_t i = 0; i < character.length; ++i)
        shown += fmt::format("\\x{:02x}", static_cast<std::uint8_t>(text[i]));
    } else if (steers(character.code_point)) {
      shown += escaped(character.code_point);
    } else {
      shown += text.substr(0, character.length);
    }
    text.remove_prefix(character.length);
  }
  return shown;
}

std::string printable_lines(std::string_view text) {
  std::string shown;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    shown += printable(text.substr(0, end));
    if (end < text.size()) shown += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return shown;
}

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

std::string quote_foreign(std::string_view text) {
  constexpr std::size_t longest = 120;
  return "'" + printable(text.substr(0, longest)) + (text.size() > longest ? "...'" : "'");
}

std::string shell_quoted(std::string_view word) {
  constexpr std::string_view plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  if (!word.empty() && word.find_first_not_of(plain) == std::string_view::npos) return std::string(word);
  bool shown_as_it_is = true;
  for (std::string_view rest = word; !rest.empty();) {
    const DecodedCharacter character = decode_utf8(rest);
    if (is_broken(character, rest) || steers(character.code_point)) shown_as_it_is = false;
    rest.remove_prefix(character.length);
  }
  std::string text;
  if (shown_as_it_is) {
    for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return "'" + text + "'";
  }
  for (const char c : word) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (c == '\'' || c == '\\') {
      text += {'\\', c};
    } else if (byte < 0x20 || byte >= 0x7f) {
      text += fmt::format("\\{:03o}", byte);  // at most three digits, so that what follows is no part of it
    } else {
      text += c;
    }
  }
  return "$'" + text + "'";
}

}  // namespace vpd
