#include "uniform_draws.hpp"

#include <algorithm>

#include <ATen/ATen.h>

#include "vpd/base/philox.hpp"

namespace vpd {

at::Tensor uniform_draws(std::uint64_t seed, std::uint64_t stream, std::uint64_t number,
                         const std::vector<std::int64_t>& shape, const at::TensorOptions& options) {
  at::Tensor drawn = at::empty(shape, at::kFloat);
  auto* value = drawn.data_ptr<float>();
  const RandomKey key = make_key(seed, RandomPurpose::control, stream, number);
  for (std::int64_t i = 0; i < drawn.numel(); i += 4) {
    std::uint32_t words[4];
    random_words(key, 0, static_cast<std::uint64_t>(i), 0, words);
    for (std::int64_t k = 0; k < std::min<std::int64_t>(4, drawn.numel() - i); ++k)
      value[i + k] = static_cast<float>(words[k] >> 8) * 0x1p-24f;
  }
  return drawn.to(options);
}

}  // namespace vpd
