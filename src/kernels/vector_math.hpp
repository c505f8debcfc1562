#pragma once

// Functions that GCC vectorises: glibc's libmvec has SIMD forms of them (at most 4 ulp off), which the
// compiler calls where the declaration carries the attribute and errno is not kept (-fno-math-errno). NaN and
// infinity behave as usual.

#include <cmath>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__)
extern "C" {
__attribute__((simd("notinbranch"))) float expf(float) noexcept;
__attribute__((simd("notinbranch"))) double exp(double) noexcept;
__attribute__((simd("notinbranch"))) float logf(float) noexcept;
__attribute__((simd("notinbranch"))) double log(double) noexcept;
#if __GLIBC_PREREQ(2, 35)
__attribute__((simd("notinbranch"))) float erff(float) noexcept;
__attribute__((simd("notinbranch"))) double erf(double) noexcept;
#endif
}
#endif

namespace vpd {
inline float vexp(float x) { return ::expf(x); }
inline double vexp(double x) { return ::exp(x); }
inline float vlog(float x) { return ::logf(x); }
inline double vlog(double x) { return ::log(x); }
inline float verf(float x) { return ::erff(x); }
inline double verf(double x) { return ::erf(x); }
}  // namespace vpd
