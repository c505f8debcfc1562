#include "firing_pairs.hpp"

#include <vector>

#include <ATen/ATen.h>

namespace vpd {
namespace {

/// Of several partial sums, which the compiler keeps in one vector.
template <class Number>
Number dot(const Number* __restrict a, const Number* __restrict b, std::int64_t K) {
  constexpr std::int64_t wide = 16;
  Number part[wide] = {};
  std::int64_t k = 0;
  for (; k + wide <= K; k += wide)
    for (std::int64_t j = 0; j < wide; ++j) part[j] += a[k + j] * b[k + j];
  for (; k < K; ++k) part[0] += a[k] * b[k];
  Number total = 0;
  for (const Number one : part) total += one;
  return total;
}

template <class Number>
void add_pairs(double* sum, const Number* left, const Number* right, const Number* m, const Number* A,
               const Number* B, std::int64_t N, std::int64_t I, std::int64_t J, std::int64_t K) {
  std::vector<Number> weighed(static_cast<std::size_t>(K));
  std::vector<std::int64_t> firing;
  for (std::int64_t n = 0; n < N; ++n, left += I, right += J, m += K) {
    firing.clear();
    for (std::int64_t j = 0; j < J; ++j)
      if (right[j] != 0) firing.push_back(j);
    if (firing.empty()) continue;
    for (std::int64_t i = 0; i < I; ++i) {
      if (left[i] == 0) continue;
      for (std::int64_t k = 0; k < K; ++k) weighed[static_cast<std::size_t>(k)] = A[i * K + k] * m[k];
      for (const std::int64_t j : firing)
        sum[i * J + j] += static_cast<double>(left[i]) * static_cast<double>(right[j]) *
                          static_cast<double>(dot(weighed.data(), B + j * K, K));
    }
  }
}

}  // namespace

void add_firing_pairs(const at::Tensor& sum, const at::Tensor& left, const at::Tensor& right,
                      const at::Tensor& m, const at::Tensor& A, const at::Tensor& B) {
  const at::Tensor l = left.contiguous(), r = right.contiguous(), w = m.contiguous(), a = A.contiguous(),
                   b = B.contiguous();
  const auto add = [&]<class Number>(Number) {
    add_pairs(sum.data_ptr<double>(), l.const_data_ptr<Number>(), r.const_data_ptr<Number>(),
              w.const_data_ptr<Number>(), a.const_data_ptr<Number>(), b.const_data_ptr<Number>(), l.size(0),
              l.size(1), r.size(1), w.size(1));
  };
  if (l.scalar_type() == at::kDouble) {
    add(double{});
  } else {
    add(float{});
  }
}

}  // namespace vpd
