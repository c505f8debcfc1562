#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace vpd {

/// How a token is chosen by a language model's logits.
struct TokenChoice {
  double temperature = 1.0;  ///< logits are divided by it; 0: the most probable token
  double top_p = 1.0;        ///< drawn among the most probable tokens alone, as few as have that probability
                             ///< together
};

/// A number in [0, 1), a multiple of 2^-53: a function of the three, so that a token that is drawn with it
/// hangs neither on what is drawn beside it nor on how much is drawn.
double generation_draw(std::uint64_t seed, std::uint64_t row, std::uint64_t position);

/// A token for each row of logits [B, V], where draws[b], in [0, 1), falls in the row's distribution.
/// Probabilities are float64. Of equally probable tokens the one with the lower number counts as more
/// probable. Throws NumericalError for logits that are not numbers.
std::vector<std::int64_t> choose_tokens(const at::Tensor& logits, const TokenChoice& choice,
                                        const std::vector<double>& draws);

}  // namespace vpd
