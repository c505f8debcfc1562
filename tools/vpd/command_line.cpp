#include "command_line.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string_view>

namespace vpd {
namespace {

void append_quoted(std::string& text, std::string_view word) {
  constexpr std::string_view plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  if (!word.empty() && word.find_first_not_of(plain) == std::string_view::npos) {
    text.append(word);
    return;
  }
  text.push_back('\'');
  for (const char c : word) {
    if (c == '\'') text.append("'\\'");
    text.push_back(c);
  }
  text.push_back('\'');
}

}  // namespace

std::string command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string words{std::istreambuf_iterator<char>(file), {}};
  std::string text;
  for (std::size_t begin = 0; begin < words.size();) {
    const std::size_t end = std::min(words.find('\0', begin), words.size());
    if (!text.empty()) text.push_back(' ');
    append_quoted(text, std::string_view(words).substr(begin, end - begin));
    begin = end + 1;
  }
  return text;
}

}  // namespace vpd
