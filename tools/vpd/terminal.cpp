#include "terminal.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include "output.hpp"
#include "vpd/base/foreign_text.hpp"

namespace vpd {
namespace {

// The beginning of UTF-8 `text` that is at most `columns` characters long.
std::string_view cut(std::string_view text, std::size_t columns) {
  std::size_t characters = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool begins_character = (static_cast<unsigned char>(text[i]) & 0xC0U) != 0x80U;
    if (begins_character && characters++ == columns) return text.substr(0, i);
  }
  return text;
}

std::size_t width(int descriptor) {
  winsize size{};
  return ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

}  // namespace

Terminal::Terminal(int descriptor) : descriptor_(descriptor), is_terminal_(::isatty(descriptor) == 1) {}

Terminal::~Terminal() { clear_status(); }

void Terminal::write(std::string_view text) noexcept {
  if (!gone_) gone_ = write_all(descriptor_, text) != 0;
}

void Terminal::clear_status() {
  if (has_status_) write("\r\033[K");
  has_status_ = false;
}

void Terminal::say(const std::string& line) {
  clear_status();
  write(printable(line) + "\n");
}

void Terminal::status(const std::string& line) {
  if (!is_terminal_) return;
  const std::string shown = printable(line);
  write("\r\033[K" + std::string(cut(shown, width(descriptor_) - 1)));  // a full last column would wrap
  has_status_ = true;
}

}  // namespace vpd
