#pragma once

#include "vpd/base/philox.hpp"

namespace vpd {

/// A number that a kernel gets with its launch, or, where `address` is not null, reads there when it runs. A
/// step that was captured as a CUDA graph is launched again and again with the parameters of its first time;
/// what changes from step to step has to be read late. The address is of the memory of the kernel's device.
template <class T>
struct Late {
  T value{};
  const T* address = nullptr;

  VPD_HOST_DEVICE Late() {}
  VPD_HOST_DEVICE Late(T now) : value(now) {}
  VPD_HOST_DEVICE Late(T now, const T* later) : value(now), address(later) {}

  VPD_HOST_DEVICE T get() const { return address ? *address : value; }
};

using LateKey = Late<RandomKey>;
using LateNumber = Late<double>;

}  // namespace vpd
