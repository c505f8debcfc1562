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

/// Whose random numbers a token is drawn with: functions of these three, so that a token hangs neither on
/// what is drawn beside it nor on how much is drawn.
struct DrawPlace {
  std::uint64_t seed = 0, row = 0, position = 0;
};

/// A token for each row of logits [B, V]. Probabilities are float64. Of equally probable tokens the one with
/// the lower number counts as more probable. Throws NumericalError for logits that are not numbers.
///
/// Every token v has an exponentially distributed number E_v of its own, and the one with the least E_v / p_v
/// is drawn, as it is with probability p_v. Logits that are rounded otherwise then lead to the same token
/// unless the two least are that close. (One number that falls somewhere in the sum of all p_v would not do:
/// among tokens that are rarer than the sum's rounding it would hit another one each time.)
std::vector<std::int64_t> choose_tokens(const at::Tensor& logits, const TokenChoice& choice,
                                        const std::vector<DrawPlace>& places);

}  // namespace vpd
