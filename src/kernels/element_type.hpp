#pragma once

#include <cstdint>
#include <type_traits>

namespace vpd {

enum class ElementType : std::int32_t { float32, float64, bfloat16 };

/// Type of the arithmetic beside storage type T.
template <class T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// body(x) with an x of the C++ type that `type` names; BFloat16 is the host's or the device's.
template <class BFloat16, class Body>
void for_element(ElementType type, const Body& body) {
  switch (type) {
    case ElementType::float32:
      return body(float{});
    case ElementType::float64:
      return body(double{});
    case ElementType::bfloat16:
      return body(BFloat16{});
  }
}

}  // namespace vpd
