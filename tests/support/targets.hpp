#pragma once

#include <array>
#include <memory>
#include <string>

#include "vpd/target/target.hpp"

namespace vpd::testing {

/// A small target of every kind that has blocks.
inline constexpr std::array targets_with_blocks = {"plain", "grouped", "gpt2",      "gpt2_untied", "llama",
                                                   "qwen2", "qwen3",   "induction", "residual_mlp"};
std::unique_ptr<Target> target_with_blocks(const std::string& name, const Numerics& numerics);

/// An input of it: tokens [2, 7], or float32 features [4, n].
at::Tensor input_of(const Target& target);

}  // namespace vpd::testing
