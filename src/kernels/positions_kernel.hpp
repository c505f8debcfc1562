#pragma once

#include <cstdint>

#include "element_type.hpp"

namespace vpd {

struct MaskedPositionsParams {
  std::int64_t sites = 0;
  std::int64_t rows = 0;                  // N
  std::int64_t most = 0;                  // M of every site
  const std::uint8_t* routing = nullptr;  // [L, N]
  std::int32_t* positions = nullptr;      // [L, M]
  std::int32_t* places = nullptr;         // [L, N]
  std::int32_t* counts = nullptr;         // [L]: positions listed, at most M
};

/// Pointers are to element type `real` or `wide` of positions.hpp; strides count elements between rows.
struct RowsParams {
  ElementType type = ElementType::float32;
  std::int64_t columns = 0;
  std::int64_t rows = 0;    // of what is written: M selected or dotted ones, or N combined ones
  const void* x = nullptr;  // select: [N, d]; combine: the part [M, d]
  std::int64_t x_stride = 0;
  const void* other = nullptr;  // dot: [N, d], as x is
  std::int64_t other_stride = 0;
  const std::int32_t* row_of = nullptr;  // [rows]: the row of x that belongs there, -1: none
  const void* scale = nullptr;           // combine: wide [M]
  void* y =
      nullptr;  // select: overwritten; dot: wide [M], overwritten; combine: changed where row_of is not -1
  std::int64_t y_stride = 0;
};

void masked_positions_cpu(const MaskedPositionsParams& params);
void select_rows_cpu(const RowsParams& params);
void dot_rows_cpu(const RowsParams& params);
void combine_rows_cpu(const RowsParams& params);

// `stream` is a cudaStream_t.
void masked_positions_cuda(const MaskedPositionsParams& params, void* stream);
void select_rows_cuda(const RowsParams& params, void* stream);
void dot_rows_cuda(const RowsParams& params, void* stream);
void combine_rows_cuda(const RowsParams& params, void* stream);

}  // namespace vpd
