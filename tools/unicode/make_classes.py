#!/usr/bin/env python3
"""Make src/io/unicode_classes.cpp: the code points that GPT-2's splitting pattern calls letters and numbers.

    python3 tools/unicode/make_classes.py > src/io/unicode_classes.cpp

The tables are those of the Unicode version that Python brings (14.0 in Python 3.11).
"""

import sys
import unicodedata

HEAD = """\
// Made by tools/unicode/make_classes.py from Unicode {version}; change that script, not this file.

#include "vpd/io/unicode_classes.hpp"

#include <algorithm>
#include <iterator>

namespace vpd {{

namespace {{

struct Range {{
  char32_t first;
  char32_t last;
}};

// clang-format off
"""

TAIL = """\
// clang-format on

template <std::size_t N>
bool contains(const Range (&ranges)[N], char32_t code_point) {
  const Range* after =
      std::upper_bound(std::begin(ranges), std::end(ranges), code_point,
                       [](char32_t value, const Range& range) { return value < range.first; });
  return after != std::begin(ranges) && code_point <= std::prev(after)->last;
}

}  // namespace

bool is_letter(char32_t code_point) { return contains(kLetters, code_point); }
bool is_number(char32_t code_point) { return contains(kNumbers, code_point); }
bool is_space(char32_t code_point) { return contains(kSpaces, code_point); }

}  // namespace vpd
"""

# The property White_Space, which unicodedata does not offer.
SPACES = [(0x9, 0xD), (0x20, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A),
          (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000)]


def ranges_of(category: str) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for code_point in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code_point)).startswith(category):
            if ranges and ranges[-1][1] == code_point - 1:
                ranges[-1] = (ranges[-1][0], code_point)
            else:
                ranges.append((code_point, code_point))
    return ranges


def table(name: str, ranges: list[tuple[int, int]]) -> str:
    lines = [f"constexpr Range {name}[] = {{"]
    for i in range(0, len(ranges), 5):
        lines.append("    " + " ".join(f"{{{a:#x}, {b:#x}}}," for a, b in ranges[i : i + 5]))
    return "\n".join(lines) + "\n};\n"


print(HEAD.format(version=unicodedata.unidata_version), end="")
print(table("kLetters", ranges_of("L")) + "\n" + table("kNumbers", ranges_of("N")) + "\n" + table("kSpaces", SPACES), end="")
print(TAIL, end="")
