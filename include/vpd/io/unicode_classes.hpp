#pragma once

// The Unicode classes that GPT-2's splitting pattern speaks of.

namespace vpd {

bool is_letter(char32_t code_point);  // \p{L}
bool is_number(char32_t code_point);  // \p{N}
bool is_space(char32_t code_point);   // \s

}  // namespace vpd
