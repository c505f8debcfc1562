#pragma once

#include <string_view>

namespace vpd {

/// First of all in a program: gives the descriptors 0 to 2 that were closed to /dev/null, so that no file of
/// ours gets one of these numbers and is written into by mistake.
void open_standard_streams();

/// Writes all of `text`; the error that stopped it, or 0.
int write_all(int descriptor, std::string_view text) noexcept;

/// Writes all of `text` to standard output. The first failure is remembered and ends the writing.
void print(std::string_view text) noexcept;

/// The error of print() that means lost results, such as ENOSPC; 0 where there was none, or where the reader
/// went away (a pipe into head, a terminal that closed).
int print_error() noexcept;

}  // namespace vpd
