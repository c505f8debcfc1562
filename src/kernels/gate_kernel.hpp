#pragma once

// What the two implementations of gate.hpp share: plain parameters, and the order of the random counters.

#include <cstdint>

#include "element_type.hpp"
#include "vpd/kernels/ascent_rule.hpp"
#include "vpd/kernels/late_value.hpp"

namespace vpd {

/// Word i of random_words(key, column / 4, row, site) is column 4 (column / 4) + i. δ has a block of its own.
inline constexpr std::uint32_t delta_block = 0xffffffffu;

/// Where sources r and the Δ-mask δ come from: the alternatives of GateSources.
enum class SourceKind : std::int32_t {
  constant,  // r = value, δ = delta_value
  uniform,   // r ~ U(0,1) per element, δ ~ U(0,1) per position
  binomial,  // r in {0, 1} with equal chances, δ likewise
  read,      // from a matrix whose last column is δ
  mixed,     // at some positions read, at the others uniform
};

/// Pointers are to element type `real` or `wide` of gate.hpp; strides count elements between rows.
struct GateParams {
  std::int64_t rows = 0;  // N, or M of listed positions
  std::int64_t columns = 0;
  ElementType type = ElementType::float32;  // of real; wide is float64 beside float64, else float32

  const void* h = nullptr;  // real [rows, C]
  std::int64_t h_stride = 0;
  const void* importance = nullptr;  // wide or real [N, C]
  bool narrow_importance = false;    // real, where that is another type than wide
  std::int64_t importance_stride = 0;
  const std::uint8_t* routing = nullptr;    // [N] or null
  const std::int32_t* positions = nullptr;  // [M] or null: row i is of position i
  const std::int32_t* places = nullptr;     // [N] or null: the row of position n, -1: none
  std::int64_t all_rows = 0;                // N

  SourceKind kind = SourceKind::constant;
  double value = 0.0;
  double delta_value = 0.0;
  bool delta = true;  // false: δ = delta_value, whatever the sources say
  LateKey key;
  std::uint32_t site = 0;
  std::int64_t first_row = 0;
  const std::uint8_t* from_matrix = nullptr;  // [N]: of mixed sources
  const void* sources = nullptr;              // wide [R, C + 1], or compact
  bool compact =
      false;  // sources are int16 multiples of 1 / source_levels, moments bfloat16; wide is float32
  std::int64_t sources_stride = 0;
  void* climbing = nullptr;  // the sources again, where the backward pass lets them climb; else null
  AscentRule ascent;
  void* source_m = nullptr;  // with the sources' shape and stride; null for sign steps
  void* source_v = nullptr;
  void* source_gradient = nullptr;  // wide [R, C + 1] or null
  std::int64_t source_gradient_stride = 0;
  double source_gradient_scale = 1.0;  // of what is stored or climbed along
  bool source_gradient_overwrite = false;
  bool source_rows_shared = false;            // several positions of this pass read one row
  bool source_gradient_per_position = false;  // source_gradient is [N, C + 1]: row n belongs to position n
  std::int64_t time_length = 1;
  std::int64_t first_batch = 0;
  std::int64_t batch_rows = 1;
  std::int64_t time_rows = 1;
  std::int64_t first_source = -1;  // row that position 0 reads where those of the others follow it, else -1

  void* gated = nullptr;  // real [rows, C], contiguous; null in the backward pass where it is not wanted
  void* scale = nullptr;  // wide [rows] or null

  const void* gradient = nullptr;        // real [rows, C], contiguous: dL/d(gated)
  const void* scale_gradient = nullptr;  // wide [rows] or null
  void* h_gradient = nullptr;            // real [rows, C], contiguous
  void* importance_gradient = nullptr;   // wide [N, C] or null, added to
  std::int64_t importance_gradient_stride = 0;
};

/// Position of row i; -1: it belongs to none.
VPD_HOST_DEVICE std::int64_t position_of(const GateParams& p, std::int64_t i) {
  return p.positions ? p.positions[i] : i;
}

/// Whether the site is masked at position n.
VPD_HOST_DEVICE bool is_masked(const GateParams& p, std::int64_t n) {
  return n >= 0 && (!p.routing || p.routing[n]);
}

/// Whether the backward pass has something to do for sources of positions that are not listed.
inline bool reaches_unlisted(const GateParams& p) {
  return p.places && (p.climbing || (p.source_gradient && p.source_gradient_overwrite));
}

/// Row of the source matrix that position n of this pass reads.
VPD_HOST_DEVICE std::int64_t source_row(const GateParams& p, std::int64_t n) {
  if (p.first_source >= 0) return p.first_source + n;  // no divisions, which a GPU makes of many instructions
  const std::int64_t b = n / p.time_length + p.first_batch;
  const std::int64_t t = n % p.time_length;
  return (b % p.batch_rows) * p.time_rows + t % p.time_rows;
}

/// Whether position n reads the source matrix.
VPD_HOST_DEVICE bool reads_matrix(const GateParams& p, std::int64_t n) {
  return p.kind == SourceKind::read || (p.kind == SourceKind::mixed && p.from_matrix[n]);
}

void gate_forward_cpu(const GateParams& params);
void gate_backward_cpu(const GateParams& params);

// Where positions share a source row, the CPU adds their gradients in order; CUDA wants
// source_gradient_per_position, and the caller adds up. `stream` is a cudaStream_t.
void gate_forward_cuda(const GateParams& params, void* stream);
void gate_backward_cuda(const GateParams& params, void* stream);

}  // namespace vpd
