#pragma once

#include <string>

namespace vpd {

/// Standard output as a person or a file sees it: lines, and on a terminal below them one line that is
/// written over.
class Terminal {
 public:
  Terminal();
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  bool is_terminal() const { return is_terminal_; }
  void say(const std::string& line);
  /// Nothing unless is_terminal(). Cut to the terminal's width.
  void status(const std::string& line);

 private:
  void clear_status();

  bool is_terminal_;
  bool has_status_ = false;
};

}  // namespace vpd
