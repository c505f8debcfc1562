// Attention of short sequences on the CPU.
//
//   S = q kᵀ / sqrt(d),  P = softmax(S) (row t over columns <= t where causal),  out = P v
//   dP = dout vᵀ,  dS = P ⊙ (dP - Σ_row dP ⊙ P) / sqrt(d),  dq = dS k,  dk = dSᵀ q,  dv = Pᵀ dout
// The exponential is computed in float64: the 4 ulp of the float32 vector form show in the gradients of q and
// k, which are small differences. dk and dv of heads that share a key head are added up in the order of the
// heads. Sequences run side by side on threads.

#include <cmath>
#include <vector>

#include "attention_kernel.hpp"
#include "parallel.hpp"
#include "sgemm.hpp"
#include "vector_math.hpp"

namespace vpd {
namespace {

struct Head {
  std::int64_t q, k;  // offsets of the head's first element in the query-shaped and the key-shaped matrices
  std::int64_t probabilities;
  bool first_of_group;
};

Head head_of(const AttentionParams& p, std::int64_t b, std::int64_t h) {
  const std::int64_t group = p.heads / p.key_heads;
  return {b * p.T * p.heads * p.d + h * p.d, b * p.T * p.key_heads * p.d + (h / group) * p.d,
          (b * p.heads + h) * p.T * p.T, h % group == 0};
}

void softmax_row(float* __restrict row, std::int64_t used, std::int64_t length) {
  float largest = row[0];
  for (std::int64_t j = 0; j < used; ++j) largest = row[j] > largest ? row[j] : largest;
  float sum = 0.0f;
  for (std::int64_t j = 0; j < used; ++j) {
    row[j] = static_cast<float>(vexp(static_cast<double>(row[j] - largest)));
    sum += row[j];
  }
  const float scale = 1.0f / sum;
  for (std::int64_t j = 0; j < used; ++j) row[j] *= scale;
  for (std::int64_t j = used; j < length; ++j) row[j] = 0.0f;
}

}  // namespace

void attention_forward_cpu(const AttentionParams& p) {
  const Sgemm sgemm = onednn_sgemm();
  const std::int64_t q_stride = p.heads * p.d, k_stride = p.key_heads * p.d;
  const float scale = 1.0f / std::sqrt(static_cast<float>(p.d));
  parallel_rows(p.B, p.heads * p.T * p.T * p.d, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      for (std::int64_t h = 0; h < p.heads; ++h) {
        const Head head = head_of(p, b, h);
        float* P = p.probabilities + head.probabilities;
        sgemm('N', 'T', p.T, p.T, p.d, scale, p.q + head.q, q_stride, p.k + head.k, k_stride, 0.0f, P, p.T);
        for (std::int64_t t = 0; t < p.T; ++t) softmax_row(P + t * p.T, p.causal ? t + 1 : p.T, p.T);
        sgemm('N', 'N', p.T, p.d, p.T, 1.0f, P, p.T, p.v + head.k, k_stride, 0.0f, p.out + head.q, q_stride);
      }
    }
  });
}

void attention_backward_cpu(const AttentionParams& p) {
  const Sgemm sgemm = onednn_sgemm();
  const std::int64_t q_stride = p.heads * p.d, k_stride = p.key_heads * p.d;
  const float scale = 1.0f / std::sqrt(static_cast<float>(p.d));
  parallel_rows(p.B, p.heads * p.T * p.T * p.d, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> buffer(static_cast<std::size_t>(p.T * p.T));
    float* dS = buffer.data();
    for (std::int64_t b = begin; b < end; ++b) {
      for (std::int64_t h = 0; h < p.heads; ++h) {
        const Head head = head_of(p, b, h);
        const float* P = p.probabilities + head.probabilities;
        const float beta = head.first_of_group ? 0.0f : 1.0f;
        sgemm('T', 'N', p.T, p.d, p.T, 1.0f, P, p.T, p.gradient + head.q, q_stride, beta,
              p.v_gradient + head.k, k_stride);
        sgemm('N', 'T', p.T, p.T, p.d, 1.0f, p.gradient + head.q, q_stride, p.v + head.k, k_stride, 0.0f, dS,
              p.T);
        for (std::int64_t t = 0; t < p.T; ++t) {
          float* __restrict row = dS + t * p.T;
          const float* __restrict probability = P + t * p.T;
          float dot = 0.0f;
          for (std::int64_t j = 0; j < p.T; ++j) dot += row[j] * probability[j];
#pragma GCC ivdep
          for (std::int64_t j = 0; j < p.T; ++j) row[j] = probability[j] * (row[j] - dot) * scale;
        }
        sgemm('N', 'N', p.T, p.d, p.T, 1.0f, dS, p.T, p.k + head.k, k_stride, 0.0f, p.q_gradient + head.q,
              q_stride);
        sgemm('T', 'N', p.T, p.d, p.T, 1.0f, dS, p.T, p.q + head.q, q_stride, beta, p.k_gradient + head.k,
              k_stride);
      }
    }
  });
}

}  // namespace vpd
