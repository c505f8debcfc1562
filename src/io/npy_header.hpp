#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vpd {

// The part of Python's literal syntax that NumPy writes into the headers of .npy files:
// {'descr': '<i4', 'fortran_order': False, 'shape': (16, 64), }
class NpyHeader {
 public:
  // Throws DataError naming `path` unless all three keys are there.
  NpyHeader(std::string path, std::string_view text);

  std::optional<std::string> descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<std::int64_t>> shape;

 private:
  [[noreturn]] void fail(const std::string& found) const;
  void skip_space();
  bool take(char c);
  void expect(char c);
  std::string string();
  bool boolean();
  std::vector<std::int64_t> tuple();

  std::string path_;
  std::string_view rest_;
};

// How integers of another dtype become tokens: "save it again with .astype('<i4')". Empty where nothing
// helps.
std::string cure_of_descr(std::string_view descr);

}  // namespace vpd
