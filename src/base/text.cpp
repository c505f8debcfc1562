#include "vpd/base/text.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include <spdlog/fmt/fmt.h>

namespace vpd {
namespace {

// Optimal string alignment distance: edits and swaps of neighbours, none of them overlapping.
std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

// Three significant digits, without the zeros that say nothing.
std::string three_digits(double value) {
  const double size = std::abs(value);
  const int decimals = size < 10 ? 2 : size < 100 ? 1 : 0;
  std::string text = fmt::format("{:.{}f}", value, decimals);
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text;
}

template <std::size_t N>
std::string with_unit(double value, double base, const std::array<std::string_view, N>& units) {
  std::size_t unit = 0;
  // 999.5 would round to four digits.
  while (unit + 1 < N && std::abs(value) >= (base == 1000.0 ? 999.5 : 1023.5)) {
    value /= base;
    ++unit;
  }
  const std::string number = three_digits(value);
  return units[unit].empty() ? number : fmt::format("{} {}", number, units[unit]);
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return result;
}

std::optional<std::string> nearest(std::string_view name, const std::vector<std::string>& candidates) {
  const std::string wanted = lower_case(name);
  std::size_t best = (wanted.size() + 2) / 3 + 1;
  std::optional<std::string> found;
  for (const std::string& candidate : candidates) {
    const std::size_t edits = distance(wanted, lower_case(candidate));
    if (edits < best) {
      best = edits;
      found = candidate;
    }
  }
  if (found || wanted.size() < 2) return found;
  for (const std::string& candidate : candidates) {
    if (lower_case(candidate).starts_with(wanted)) return candidate;
  }
  return std::nullopt;
}

std::string nearest_hint(std::string_view name, const std::vector<std::string>& candidates) {
  const std::optional<std::string> likely = nearest(name, candidates);
  return likely ? fmt::format(" (the nearest is \"{}\")", *likely) : "";
}

std::string human_bytes(double bytes) {
  return with_unit(bytes, 1024.0, std::array<std::string_view, 6>{"B", "KiB", "MiB", "GiB", "TiB", "PiB"});
}

std::string human_count(double count) {
  return with_unit(count, 1000.0, std::array<std::string_view, 6>{"", "k", "M", "G", "T", "P"});
}

std::string human_duration(double seconds) {
  if (seconds < 0.9995) return fmt::format("{} ms", three_digits(seconds * 1e3));
  if (seconds < 59.95) return fmt::format("{} s", three_digits(seconds));
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  const std::int64_t minutes = whole / 60, hours = minutes / 60, days = hours / 24;
  if (minutes < 60) return fmt::format("{} min {} s", minutes, whole % 60);
  if (hours < 24) return fmt::format("{} h {} min", hours, minutes % 60);
  return fmt::format("{} d {} h", days, hours % 24);
}

std::string join_words(const std::vector<std::string>& words, std::string_view separator) {
  return fmt::format("{}", fmt::join(words, separator));
}

}  // namespace vpd
