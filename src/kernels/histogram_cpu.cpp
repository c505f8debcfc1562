// Histograms of columns on the CPU, and the specification of histogram.cu.
//
//   bin(x) = 0 for x <= 0, else min(bins, ceil(x · bins)), the product in x's type
// Adds to `counts`; whole numbers, so any order of additions gives the same.

#include <algorithm>
#include <vector>

#include "histogram_kernel.hpp"
#include "parallel.hpp"

namespace vpd {
namespace {

template <class T>
void histogram(const HistogramParams& p) {
  const auto bins = static_cast<T>(p.bins), threshold = static_cast<T>(p.threshold);
  // Threads take columns, so that no two of them add to one count.
  parallel_rows(p.columns, 4 * p.rows, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int32_t> bin(static_cast<std::size_t>(end - begin));
    for (std::int64_t n = 0; n < p.rows; ++n) {
      const T* __restrict x = static_cast<const T*>(p.x) + n * p.stride + begin;
      std::int32_t* __restrict to = bin.data();
      for (std::int64_t c = 0; c < end - begin; ++c) to[c] = histogram_bin(x[c], bins);
      for (std::int64_t c = begin; c < end; ++c) ++p.counts[to[c - begin] * p.columns + c];
      std::int64_t* __restrict above = p.counts + (p.bins + 1) * p.columns + begin;
      for (std::int64_t c = 0; c < end - begin; ++c) above[c] += x[c] > threshold ? 1 : 0;
    }
  });
}

}  // namespace

void histogram_cpu(const HistogramParams& params) {
  params.type == ElementType::float64 ? histogram<double>(params) : histogram<float>(params);
}

}  // namespace vpd
