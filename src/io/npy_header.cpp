#include "npy_header.hpp"

#include <charconv>

#include "vpd/base/error.hpp"

namespace vpd {

NpyHeader::NpyHeader(std::string path, std::string_view text) : path_(std::move(path)), rest_(text) {
  expect('{');
  while (!take('}')) {
    const std::string key = string();
    expect(':');
    if (key == "descr") {
      if (take('[')) fail("a structured array, with columns of its own");
      descr = string();
    } else if (key == "fortran_order") {
      fortran_order = boolean();
    } else if (key == "shape") {
      shape = tuple();
    } else {
      fail(fmt::format("the key '{}'", key));
    }
    if (!take(',')) {
      expect('}');
      break;
    }
  }
  if (!descr || !fortran_order || !shape) fail("a header without one of them");
}

void NpyHeader::fail(const std::string& found) const {
  throw DataError(
      fmt::format("{}: expected an .npy header with descr (a plain integer type), fortran_order and shape, "
                  "found {}; save an array of integers with numpy.save",
                  path_, found));
}

void NpyHeader::skip_space() {
  while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\n')) rest_.remove_prefix(1);
}

bool NpyHeader::take(char c) {
  skip_space();
  if (rest_.empty() || rest_.front() != c) return false;
  rest_.remove_prefix(1);
  return true;
}

void NpyHeader::expect(char c) {
  if (!take(c)) fail(rest_.empty() ? "its end too early" : fmt::format("'{}'", rest_.substr(0, 20)));
}

std::string NpyHeader::string() {
  expect('\'');
  const std::size_t end = rest_.find('\'');
  if (end == std::string_view::npos) fail("an open quotation mark");
  std::string value(rest_.substr(0, end));
  rest_.remove_prefix(end + 1);
  return value;
}

bool NpyHeader::boolean() {
  skip_space();
  for (const auto& [word, value] : {std::pair<std::string_view, bool>{"True", true}, {"False", false}}) {
    if (rest_.starts_with(word)) {
      rest_.remove_prefix(word.size());
      return value;
    }
  }
  fail(fmt::format("'{}'", rest_.substr(0, 20)));
}

std::vector<std::int64_t> NpyHeader::tuple() {
  std::vector<std::int64_t> values;
  expect('(');
  while (!take(')')) {
    skip_space();
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error != std::errc{} || value < 0) fail(fmt::format("'{}' in the shape", rest_.substr(0, 20)));
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    values.push_back(value);
    if (!take(',')) {
      expect(')');
      break;
    }
  }
  return values;
}

std::string cure_of_descr(std::string_view descr) {
  const std::string_view type = descr.substr(std::min<std::size_t>(descr.size(), 1));  // after the byte order
  if (type.starts_with("O")) {
    return "; its elements are Python objects, lists of unequal length perhaps: save "
           "numpy.concatenate(list(array)).astype('<i4'), which is one stream";
  }
  if (type.starts_with("U") || type.starts_with("S"))
    return "; its elements are text: save the tokenizer's ids of it";
  if (type.starts_with("c") || type.starts_with("M") || type.starts_with("m") || type.starts_with("V"))
    return "; save the array of ids";
  return "; convert the array with .astype('<i4')";
}

}  // namespace vpd
