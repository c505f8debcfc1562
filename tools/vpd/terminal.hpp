#pragma once

#include <string>
#include <string_view>

namespace vpd {

/// Standard output, or standard error, as a person or a file sees it: lines, and on a terminal below them one
/// line that is written over. Where it goes away, or cannot be written to, the rest is silence: a run has its
/// log.txt.
class Terminal {
 public:
  explicit Terminal(int descriptor);
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  bool is_terminal() const { return is_terminal_; }
  void say(const std::string& line);
  /// Nothing unless is_terminal(). Cut to the terminal's width.
  void status(const std::string& line);
  void clear_status();

 private:
  void write(std::string_view text) noexcept;

  int descriptor_;
  bool is_terminal_;
  bool has_status_ = false;
  bool gone_ = false;
};

}  // namespace vpd
