#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/decomposition/sites.hpp"
#include "vpd/kernels/gate.hpp"
#include "vpd/machine/lanes.hpp"
#include "vpd/machine/numerics.hpp"
#include "vpd/passes/reconstruction.hpp"

namespace vpd {

/// Adversarial sources of all sites side by side: [R, columns], each site's C + 1 channels (the Δ-mask's
/// last) from a multiple of source_alignment on, and what lies between them without a meaning. R is
/// batch_rows × time_rows: one row per (b, t) that has sources of its own.
struct SourceLayout {
  std::int64_t batch_rows = 1;  ///< the batch's rows, a number that repeats over them, or 1
  std::int64_t time_rows = 1;   ///< T, or 1
  std::int64_t columns = 0;
  std::vector<Range> sites;  ///< columns of each

  std::int64_t rows() const { return batch_rows * time_rows; }
  std::int64_t channels() const;  ///< Σ (C + 1)
};

/// Columns: whole vector accesses of sources and moments in any type.
inline constexpr std::int64_t source_alignment = 8;

SourceLayout make_layout(const Sites& sites, std::int64_t batch_rows, std::int64_t time_rows);

/// Columns of site i in a matrix of that layout.
at::Tensor site_columns(const at::Tensor& sources, const SourceLayout& layout, std::size_t i);

/// Whether sources are compact: int16 multiples of 1/32767 (kernels/gate.hpp).
bool is_compact(const at::Tensor& sources);

/// Sources, float32 and clamped to [0, 1], as the nearest compact ones; and compact ones as float32.
at::Tensor compacted(const at::Tensor& sources);
at::Tensor widened(const at::Tensor& compact);

/// From channels [rows, Σ (C + 1)] without gaps to `sources` [rows, columns], which may be compact.
void copy_channels(const at::Tensor& sources, const SourceLayout& layout, const at::Tensor& channels);

/// Fills `sources`, wide or compact, with U(0,1) draws, one for each channel of rows first_row, first_row +
/// 1, ...; the gaps do not change them.
void draw_sources(const at::Tensor& sources, const SourceLayout& layout, const LateKey& key,
                  std::int64_t first_row);

/// Sources [R, columns] of all sites in a pass over batch rows first_batch, first_batch + 1, ... of length T.
/// The tensors of `destination` have their shape, too: each site's gradient or ascent is in its columns.
SourceOf read_sources(const SourceLayout& layout, const at::Tensor& values, std::int64_t T,
                      std::int64_t first_batch = 0, const SourceDestination& destination = {});

/// Which (site, position) of a pass a merged term leaves to the adversary: uint8 [L, N], each 1 with chance
/// `fraction`, drawn from counters per position, per row of the batch or once for all of it.
at::Tensor draw_merged(const MergedMasksConfig& config, const LateNumber& fraction, const LateKey& key,
                       const PassContext& context);

/// Those sources where `adversarial` is 1, and U(0,1) of `key` elsewhere.
SourceOf merged_sources(SourceOf sources, const at::Tensor& adversarial, const LateKey& key,
                        const PassContext& context);

}  // namespace vpd
