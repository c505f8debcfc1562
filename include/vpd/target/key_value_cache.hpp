#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/target/executor.hpp"
#include "vpd/target/target.hpp"

namespace vpd {

/// Keeps the keys and values of the tokens that rows have so far, so that a pass over the next ones computes
/// these alone. It is the executor of such a pass, which begins at `length()`:
///
///     KeyValueCache cache(B, longest);
///     target.forward(prompt, cache);                                      // tokens [B, P]
///     target.forward(next, cache, {.position = cache.length()});          // tokens [B, 1]
///
/// Logits are those of a pass over the whole rows, but for rounding; those of the first pass are the same to
/// the bit. For targets whose positions see those before them alone.
class KeyValueCache final : public Executor {
 public:
  /// Of B rows of at most `longest` tokens. Memory is taken at the first pass.
  KeyValueCache(std::int64_t B, std::int64_t longest) : B_(B), longest_(longest) {}

  /// Tokens of each row whose keys and values are known.
  std::int64_t length() const { return blocks_.empty() ? 0 : blocks_.back().length; }

  /// Throws UsageError for more tokens than fit, another number of rows, and attention to later positions.
  at::Tensor attention(const AttentionCall& call) override;

  /// The logits [B, V] behind the last of tokens [B, T], which follow those of all calls before. Records no
  /// graph.
  at::Tensor next_logits(const Target& target, const at::Tensor& tokens);

 private:
  struct Block {
    at::Tensor keys, values;  // [B, key heads, longest, head width], keys after their rotation
    std::int64_t length = 0;
  };

  std::int64_t B_, longest_;
  std::vector<Block> blocks_;
};

}  // namespace vpd
