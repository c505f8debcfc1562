#pragma once

// What the heads of one block move: W_OV = W_O W_V of each, from what is read to what is written.

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

#include "vpd/interpretation/attention_terms.hpp"
#include "vpd/passes/batch.hpp"

namespace vpd {

/// The covariance of what a block's q, k and v read, over all positions or over those where one subcomponent
/// is important.
class ReadCovariance {
 public:
  ReadCovariance(const AttentionBlock& block, std::int64_t width, std::optional<std::int64_t> given_column,
                 double threshold);
  void add(const Batch& batch);

  double positions() const { return sums_[width_ * (width_ + 1)].item<double>(); }  ///< that were counted
  /// Float64 [d, d], on the CPU. Throws UsageError where no position was counted.
  at::Tensor covariance() const;

 private:
  std::size_t reader_;
  std::int64_t width_;
  std::optional<std::int64_t> given_;
  double threshold_;
  at::Tensor sums_;  // float64 [d² + d + 1]: Σ x xᵀ, Σ x, the number of positions
};

/// Heads in pairs, and subcomponents beside heads; first axis: plain, and weighted by the data (W_OV times
/// the root of the covariance). All float64.
struct OutputValue {
  /// [2, H, H]: cosine of WᵀW between heads (what they read), and of W Wᵀ (where they write).
  at::Tensor read_cosine, write_cosine;
  /// [2, H, C]: ‖W V_c‖ ‖U_c‖ of the subcomponents of v, ‖Wᵀ U_c‖ ‖V_c‖ of those of o; undefined where that
  /// is no site.
  at::Tensor value_alignment, output_alignment;
};
OutputValue output_value(const Decomposition& decomposition, const AttentionBlock& block,
                         const at::Tensor& covariance);

/// The cosines that heads of the same shape have by chance: of pairs of heads with Gaussian W_O and W_V.
struct RandomCosines {
  at::Tensor read_mean, read_deviation, write_mean, write_deviation;  ///< float64 [2]: plain, weighted
  std::int64_t pairs = 0;
};
RandomCosines random_cosines(std::int64_t head_width, const at::Tensor& covariance, std::uint64_t seed);

}  // namespace vpd
