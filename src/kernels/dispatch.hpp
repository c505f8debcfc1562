#pragma once

// Checks and conversions that every kernel's glue makes before it hands out raw pointers.

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "element_type.hpp"
#include "vpd/base/error.hpp"

namespace vpd {

inline ElementType element_type(const at::Tensor& x, const char* what) {
  switch (x.scalar_type()) {
    case at::kFloat:
      return ElementType::float32;
    case at::kDouble:
      return ElementType::float64;
    case at::kBFloat16:
      return ElementType::bfloat16;
    default:
      throw UsageError(fmt::format("{}: expected float32, float64 or bfloat16, found {}", what,
                                   at::toString(x.scalar_type())));
  }
}

/// The type that importances, sources and statistics have beside activations of type x.
inline at::ScalarType wide_type(at::ScalarType x) { return x == at::kDouble ? at::kDouble : at::kFloat; }

/// x is [rows, columns] of `type`, and each of its rows is contiguous.
inline void check_matrix(const at::Tensor& x, std::int64_t rows, std::int64_t columns, at::ScalarType type,
                         const char* what) {
  VPD_CHECK(x.dim() == 2 && x.size(0) == rows && x.size(1) == columns && x.scalar_type() == type &&
                (columns <= 1 || x.stride(1) == 1),
            UsageError,
            "{}: expected {} [{}, {}] with contiguous rows, found {} of {} dimensions and {} elements", what,
            at::toString(type), rows, columns, at::toString(x.scalar_type()), x.dim(), x.numel());
}

}  // namespace vpd
