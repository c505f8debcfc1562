#include "vpd/cost/product_peak.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

#include <ATen/ATen.h>

#include "machine/scoped_thread_count.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/kernels/matrix_product.hpp"

namespace vpd {

double measure_product_peak(const Numerics& numerics, Lanes& lanes, int threads, bool quick) {
  using Clock = std::chrono::steady_clock;
  std::vector<std::int64_t> sizes = numerics.device.is_cpu() ? std::vector<std::int64_t>{512, 1024, 2048}
                                                             : std::vector<std::int64_t>{4096, 8192};
  if (quick) sizes.pop_back();
  const int repeats = quick ? 5 : 8, unmeasured = 2;
  const auto options = numerics.options().dtype(numerics.compute);
  const ScopedThreadCount whole_products_take(threads);
  double best = 0.0;
  for (const std::int64_t n : sizes) {
    const auto factor = [&] { return at::rand({n, n}, numerics.options()).to(options.dtype()); };
    const at::Tensor a = factor(), b = factor();
    std::vector<at::Tensor> out;
    for (int i = 0; i < lanes.count(); ++i) out.push_back(at::empty({n, n}, options));
    const double operations = 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
    const auto measure = [&](double count, const auto& product) {
      for (int repeat = 0; repeat < repeats; ++repeat) {
        synchronize(numerics.device);
        const Clock::time_point start = Clock::now();
        product();
        synchronize(numerics.device);
        const double seconds = seconds_since(start);
        if (repeat >= unmeasured) best = std::max(best, count * operations / seconds);
      }
    };
    measure(1.0, [&] { matrix_product_into(out[0], a, b, /*accumulate=*/false); });
    if (lanes.count() == 1) continue;
    measure(lanes.count(), [&] {
      lanes.run([&](int lane) {
        matrix_product_into(out[static_cast<std::size_t>(lane)], a, b, /*accumulate=*/false);
      });
    });
  }
  return best;
}

}  // namespace vpd
