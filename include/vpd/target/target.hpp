#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/config/run.hpp"
#include "vpd/target/executor.hpp"
#include "vpd/target/numerics.hpp"

namespace vpd {

/// A model whose weights are decomposed. It is immutable and may be used by several threads at once.
/// Shapes: B batch, T positions, N = B T (position t of row b is b T + t).
class Target {
 public:
  virtual ~Target() = default;

  /// Every weight matrix that can be a site, in the order in which a forward pass meets them; the head last.
  virtual const std::vector<Matrix>& matrices() const = 0;

  /// tokens [B, T] int64 -> logits [N, V] in the type of matrix products.
  virtual at::Tensor forward(const at::Tensor& tokens, Executor& executor) const = 0;

  virtual std::int64_t vocabulary_size() const = 0;
  virtual std::int64_t longest_sequence() const = 0;

  const Numerics& numerics() const { return numerics_; }

 protected:
  explicit Target(Numerics numerics) : numerics_(numerics) {}

 private:
  Numerics numerics_;
};

/// Reads the target that a run's configuration names. `warnings` receives a sentence for each thing in the
/// files that was passed over (buffers, unknown configuration keys). Throws DataError on a file that is not
/// what it has to be.
std::unique_ptr<Target> load_target(const TargetConfig& config, const Numerics& numerics,
                                    std::vector<std::string>& warnings);

}  // namespace vpd
