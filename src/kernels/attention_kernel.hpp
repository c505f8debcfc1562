#pragma once

#include <cstdint>

namespace vpd {

/// Softmax attention of float32 rows on the CPU, one head at a time with its probabilities kept: for short
/// sequences, where LibTorch's blocked form spends its time on blocks. Row n = b T + t; head k reads columns
/// k d to (k + 1) d; each key head serves heads / key_heads heads.
struct AttentionParams {
  std::int64_t B = 0;
  std::int64_t T = 0;
  std::int64_t d = 0;  // width of a head
  std::int64_t heads = 0;
  std::int64_t key_heads = 0;
  bool causal = false;
  const float* q = nullptr;  // [N, heads d], contiguous like all of these
  const float* k = nullptr;  // [N, key_heads d]
  const float* v = nullptr;
  float* probabilities = nullptr;  // [B, heads, T, T]
  float* out = nullptr;            // [N, heads d]

  const float* gradient = nullptr;  // dL/dout
  float* q_gradient = nullptr;
  float* k_gradient = nullptr;
  float* v_gradient = nullptr;
};

/// Both need onednn_sgemm().
void attention_forward_cpu(const AttentionParams& params);
void attention_backward_cpu(const AttentionParams& params);

}  // namespace vpd
