#pragma once

#include <cstdint>
#include <vector>

#include "vpd/base/philox.hpp"
#include "vpd/config/synthetic.hpp"
#include "vpd/io/dataset.hpp"

namespace vpd {

/// Which of a run's sources: rows to train on, to evaluate on and of the background never come from the same
/// stream.
enum class DataRole : std::uint32_t { train = 0, eval = 1, background = 2 };

/// Rows of sparse features (method, section 8). Row i is a function of (seed, role, i).
class SparseFeatures final : public Dataset {
 public:
  /// Throws UsageError where rows would need more features than there are.
  SparseFeatures(const SparseFeaturesData& config, std::int64_t features, std::uint64_t seed, DataRole role);

  InputKind kind() const override { return InputKind::features; }
  std::int64_t length() const override { return 1; }
  std::optional<std::int64_t> rows() const override { return std::nullopt; }
  at::Tensor batch(std::int64_t position, std::int64_t count) const override;
  std::string describe() const override;

 private:
  void fill(std::int64_t position, float* row) const;
  float value(std::uint32_t word) const { return low_ + (high_ - low_) * to_uniform(word); }

  SparseFeaturesData config_;
  std::int64_t features_;           // of a row
  std::vector<std::int64_t> only_;  // those that may be active
  float low_, high_;
  RandomKey key_;
};

/// Rows [BOS] t … S m t … S of the induction-head toy (method, section 8), int64 [count, T]: BOS is token 0,
/// S is vocabulary - 1, the others are uniform in between; the first S is uniform over 1 … T - 3. Row i is a
/// function of (seed, role, i).
class InductionRows final : public Dataset {
 public:
  InductionRows(const InductionData& config, std::int64_t vocabulary, std::uint64_t seed, DataRole role);

  InputKind kind() const override { return InputKind::tokens; }
  std::int64_t length() const override { return T_; }
  std::optional<std::int64_t> rows() const override { return std::nullopt; }
  at::Tensor batch(std::int64_t position, std::int64_t count) const override;
  std::string describe() const override;

 private:
  std::int64_t T_;
  std::int64_t vocabulary_;
  RandomKey key_;
};

}  // namespace vpd
