#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/config/run.hpp"
#include "vpd/machine/numerics.hpp"
#include "vpd/target/anatomy.hpp"
#include "vpd/target/architecture.hpp"
#include "vpd/target/executor.hpp"

namespace vpd {

/// Where a forward pass begins: at its input, or at a block (or behind the last one) with the residual stream
/// that Executor::residual() saw there.
struct PassStart {
  std::size_t block = 0;
  at::Tensor residual;  ///< [N, d], wide; undefined: at the input, whatever the block
  /// Of each row's first token: above 0 where the executor knows keys and values of tokens before it.
  std::int64_t position = 0;

  std::size_t first_block() const { return residual.defined() ? block : 0; }
};

/// A model whose weights are decomposed. It is immutable and may be used by several threads at once.
/// Shapes: B batch, T positions, N = B T (position t of row b is b T + t). An input is tokens [B, T] (int64),
/// or features [B, n] (floating point), for which T is 1.
class Target {
 public:
  virtual ~Target() = default;

  /// Every weight matrix that can be a site, in the order in which a forward pass meets them: an embedding
  /// first, the head last.
  virtual const std::vector<Matrix>& matrices() const = 0;

  /// input -> output [N, V] (logits, for a language model) in the type of matrix products.
  at::Tensor forward(const at::Tensor& input, Executor& executor, const PassStart& start = {}) const {
    return output(hidden(input, executor, start), executor);
  }

  /// The two halves of forward(): all of it up to what the head reads, [N, d], and the head. A model without
  /// a head does everything in the first. hidden() throws UsageError for rows longer than longest_sequence().
  /// With a residual stream in `start` nothing before its block is computed, to the same bits.
  virtual at::Tensor hidden(const at::Tensor& input, Executor& executor,
                            const PassStart& start = {}) const = 0;
  virtual at::Tensor output(const at::Tensor& hidden, Executor& executor) const;

  /// Blocks that read one residual stream and add to it, at each of which a pass can begin; 0: it begins at
  /// its input alone.
  virtual std::size_t blocks() const { return 0; }
  /// The block that a matrix belongs to; blocks() for the head, and 0 where a pass over it begins at the
  /// input.
  virtual std::size_t block_of(const Matrix& /*matrix*/) const { return 0; }

  /// Which matrices and vectors play which part, for what reads the weights themselves; none where the model
  /// is no residual stream with blocks that read it and add to it.
  virtual std::optional<Anatomy> anatomy() const { return std::nullopt; }

  /// The matrix that is all there is to output(), so that logits need not exist all at once; null where there
  /// is more to it, or nothing.
  virtual const Matrix* head() const { return nullptr; }

  virtual Divergence divergence() const { return Divergence::kl; }

  /// Whether logits at a position are of the token that comes next, so that cross-entropy means something.
  virtual bool predicts_next_token() const { return divergence() == Divergence::kl; }

  virtual std::int64_t vocabulary_size() const = 0;  ///< 0 for a target of features
  virtual std::int64_t longest_sequence() const = 0;
  virtual std::int64_t features() const { return 0; }  ///< entries of a row, where it reads features
  InputShape input() const { return {vocabulary_size(), features(), longest_sequence()}; }

  const Numerics& numerics() const { return numerics_; }

 protected:
  explicit Target(Numerics numerics) : numerics_(numerics) {}

  /// Throws UsageError where rows of T positions are too long.
  void check_length(std::int64_t T) const;

 private:
  Numerics numerics_;
};

/// Rows B and positions T of an input.
inline std::int64_t rows_of(const at::Tensor& input) { return input.size(0); }
inline std::int64_t length_of(const at::Tensor& input) {
  return input.is_floating_point() ? 1 : input.size(1);
}

/// Reads the target that a run's configuration names. `warnings` receives a sentence for each thing in the
/// files that was passed over (buffers, unknown configuration keys). Throws DataError on a file that is not
/// what it has to be.
std::unique_ptr<Target> load_target(const TargetConfig& config, const Numerics& numerics,
                                    std::vector<std::string>& warnings);

/// The same target's shapes, from its configuration and the headers of its weight files alone.
Architecture describe_target(const TargetConfig& config, std::vector<std::string>& warnings);
/// The same where the weights may not be there: of `transformers` models from config.json alone.
Architecture describe_planned_target(const TargetConfig& config, std::vector<std::string>& warnings);

}  // namespace vpd
