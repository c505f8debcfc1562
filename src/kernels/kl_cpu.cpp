// KL(softmax(a) ‖ softmax(b)) per row of logits and its gradient on the CPU, and the specification of kl.cu.
//
//   with p = softmax(a), q = softmax(b):  loss = Σ p (a - b) - lse(a) + lse(b),  dloss/db = q - p
// Logits are shifted by their row's maximum first, which leaves exponentials in (0, 1] and differences small.
// Rows are independent; the sums of a row are exact to a few float32 ulp, the loss is float64.

#include <cstddef>
#include <vector>

#include <c10/util/BFloat16.h>

#include "kl_kernel.hpp"
#include "parallel.hpp"
#include "vector_math.hpp"

namespace vpd {
namespace {

template <class From, class T>
T load_shifted(const From* from, std::int64_t columns, T* __restrict out) {
  T largest = static_cast<T>(from[0]);
  for (std::int64_t c = 0; c < columns; ++c) {
    out[c] = static_cast<T>(from[c]);
    largest = out[c] > largest ? out[c] : largest;
  }
  for (std::int64_t c = 0; c < columns; ++c) out[c] -= largest;
  return largest;
}

template <class Target, class Prediction, class T>
void rows(const KlParams& p, std::int64_t begin, std::int64_t end) {
  const auto width = static_cast<std::size_t>(p.columns);
  std::vector<T> shifted_a(width), shifted_b(width), exp_a(width), exp_b(width);
  T* __restrict a = shifted_a.data();
  T* __restrict b = shifted_b.data();
  T* __restrict ea = exp_a.data();
  T* __restrict eb = exp_b.data();
  for (std::int64_t n = begin; n < end; ++n) {
    load_shifted(static_cast<const Target*>(p.target) + n * p.target_stride, p.columns, a);
    load_shifted(static_cast<const Prediction*>(p.prediction) + n * p.prediction_stride, p.columns, b);
    T sum_a = 0, sum_b = 0, weighted = 0;
    for (std::int64_t c = 0; c < p.columns; ++c) {
      ea[c] = vexp(a[c]);
      eb[c] = vexp(b[c]);
      sum_a += ea[c];
      sum_b += eb[c];
      weighted += ea[c] * (a[c] - b[c]);
    }
    p.row_losses[n] = static_cast<double>(weighted) / static_cast<double>(sum_a) -
                      std::log(static_cast<double>(sum_a)) + std::log(static_cast<double>(sum_b));
    if (!p.gradient) continue;
    const T scale_p = static_cast<T>(p.scale) / sum_a, scale_q = static_cast<T>(p.scale) / sum_b;
    Prediction* gradient = static_cast<Prediction*>(p.gradient) + n * p.gradient_stride;
#pragma GCC ivdep
    for (std::int64_t c = 0; c < p.columns; ++c)
      gradient[c] = static_cast<Prediction>(eb[c] * scale_q - ea[c] * scale_p);
  }
}

}  // namespace

void kl_cpu(const KlParams& p) {
  parallel_rows(p.rows, 8 * p.columns, [&](std::int64_t begin, std::int64_t end) {
    using ElementType::bfloat16, ElementType::float32, ElementType::float64;
    if (p.type == float64) return rows<double, double, double>(p, begin, end);
    if (p.type == float32 && p.target_type == float32) return rows<float, float, float>(p, begin, end);
    if (p.type == float32) return rows<c10::BFloat16, float, float>(p, begin, end);
    if (p.target_type == float32) return rows<float, c10::BFloat16, float>(p, begin, end);
    return rows<c10::BFloat16, c10::BFloat16, float>(p, begin, end);
  });
}

}  // namespace vpd
