#include "vpd/kernels/histogram.hpp"

#include <ATen/ATen.h>

#include "dispatch.hpp"
#include "histogram_kernel.hpp"
#include "on_device.hpp"

namespace vpd {

void add_column_histogram(const at::Tensor& x, const HistogramBins& bins, const at::Tensor& counts) {
  VPD_CHECK(x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble, UsageError,
            "histogram: expected float32 or float64 values, found {}", at::toString(x.scalar_type()));
  check_matrix(x, x.size(0), x.size(1), x.scalar_type(), "histogram: values");
  VPD_CHECK(bins.bins >= 1 && bins.bins <= most_histogram_bins, UsageError,
            "histogram: expected 1 to {} bins, found {}", most_histogram_bins, bins.bins);
  VPD_CHECK(counts.dim() == 2 && counts.size(0) == bins.rows() && counts.size(1) == x.size(1) &&
                counts.is_contiguous() && counts.scalar_type() == at::kLong,
            UsageError, "histogram: expected contiguous int64 counts [{}, {}] beside the values", bins.rows(),
            x.size(1));
  const HistogramParams params{.rows = x.size(0),
                               .columns = x.size(1),
                               .type = element_type(x, "histogram"),
                               .x = x.const_data_ptr(),
                               .stride = x.stride(0),
                               .bins = bins.bins,
                               .threshold = bins.threshold,
                               .counts = counts.mutable_data_ptr<std::int64_t>()};
  on_device(
      {x, counts}, [&] { histogram_cpu(params); }, [&](void* stream) { histogram_cuda(params, stream); });
}

}  // namespace vpd
