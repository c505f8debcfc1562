#pragma once

#include "vpd/machine/lanes.hpp"
#include "vpd/machine/numerics.hpp"

namespace vpd {

/// The most operations a second (two for a multiplication with its addition) that matrix products reach on
/// the run's device, of several sizes: whole products on all threads, and one product on each lane's thread.
/// Takes a second or two; `quick`, of smaller ones, some tenths of that on a CPU.
double measure_product_peak(const Numerics& numerics, Lanes& lanes, int threads, bool quick = false);

}  // namespace vpd
