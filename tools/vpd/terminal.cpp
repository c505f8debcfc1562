#include "terminal.hpp"

#include <cstdio>

#include <sys/ioctl.h>
#include <unistd.h>

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

std::size_t width() {
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

}  // namespace

Terminal::Terminal() : is_terminal_(::isatty(STDOUT_FILENO) == 1) {}

Terminal::~Terminal() {
  clear_status();
  std::fflush(stdout);
}

void Terminal::clear_status() {
  if (has_status_) std::fputs("\r\033[K", stdout);
  has_status_ = false;
}

void Terminal::say(const std::string& line) {
  clear_status();
  std::fprintf(stdout, "%s\n", line.c_str());
  std::fflush(stdout);
}

void Terminal::status(const std::string& line) {
  if (!is_terminal_) return;
  const std::string_view visible = cut(line, width() - 1);  // a full last column would wrap
  std::fprintf(stdout, "\r\033[K%.*s", static_cast<int>(visible.size()), visible.data());
  std::fflush(stdout);
  has_status_ = true;
}

}  // namespace vpd
