#pragma once

#include <cstdint>

#include "vpd/target/architecture.hpp"

namespace vpd {

/// What it takes to draw rows of tokens from a language model, with keys and values kept.
struct SamplingShape {
  std::int64_t rows = 1;    ///< in all
  std::int64_t length = 1;  ///< tokens of a row
  std::int64_t batch = 1;   ///< rows at once
};

struct SamplingCost {
  double operations = 0.0;  ///< in matrix products and attention, two for a multiplication with its addition
  std::int64_t weight_bytes = 0;
  std::int64_t cache_bytes = 0;   ///< keys and values of a batch of whole rows
  std::int64_t batch_bytes = 0;   ///< logits, and the float64 probabilities made of them
  std::int64_t tokens_bytes = 0;  ///< of all rows in memory, and of what is written of them
  std::int64_t file_bytes = 0;

  std::int64_t memory_bytes() const { return weight_bytes + cache_bytes + batch_bytes + tokens_bytes; }
};

/// Of weights and activations in float32. Every token but a row's last is computed with.
SamplingCost predict_sampling(const Architecture& target, const SamplingShape& shape);

/// Operations of one token that sees `seen` tokens, itself among them.
double operations_of_token(const Architecture& target, std::int64_t seen);

}  // namespace vpd
