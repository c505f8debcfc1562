#include "foreign_text.hpp"

#include <spdlog/fmt/fmt.h>

#include "vpd/io/utf8.hpp"

namespace vpd {

std::string quote_foreign(std::string_view text) {
  constexpr std::size_t longest = 120;
  const std::string shown = to_valid_utf8(text.substr(0, longest));
  std::string quoted = "'";
  for (std::size_t i = 0; i < shown.size();) {
    const DecodedCharacter character = decode_utf8(std::string_view(shown).substr(i));
    const char32_t c = character.code_point;
    if (c < 0x20 || (c >= 0x7f && c < 0xa0)) {
      quoted += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else {
      quoted += shown.substr(i, character.length);
    }
    i += character.length;
  }
  return quoted + (text.size() > longest ? "...'" : "'");
}

}  // namespace vpd
