#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// Words and numbers for people.

namespace vpd {

// With a to z in place of A to Z; other letters stay, whatever the locale.
std::string lower_case(std::string_view text);

// The candidate that `name` was most probably meant to be: the one with the fewest edits (insertions,
// deletions, substitutions, swaps of neighbours; case counts for nothing) when these are at most a third of
// the name, else one that begins with `name`, else nothing.
std::optional<std::string> nearest(std::string_view name, const std::vector<std::string>& candidates);

// " (the nearest is \"name\")", or nothing where none is near.
std::string nearest_hint(std::string_view name, const std::vector<std::string>& candidates);

// "512 B", "3.2 GiB": powers of 1024, three significant digits at most.
std::string human_bytes(double bytes);

// "999", "1.39 M", "28 k": powers of 1000 (k, M, G, T, P), three significant digits.
std::string human_count(double count);

// "850 ms", "12.3 s", "4 min 12 s", "2 h 5 min", "3 d 4 h".
std::string human_duration(double seconds);

// "a, b, c".
std::string join_words(const std::vector<std::string>& words, std::string_view separator = ", ");

}  // namespace vpd
