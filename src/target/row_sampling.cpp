#include "vpd/target/row_sampling.hpp"

#include <algorithm>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/target/key_value_cache.hpp"

namespace vpd {

void check_sampling(const Target& target, const RowSampling& sampling) {
  const std::int64_t V = target.vocabulary_size(), longest = target.longest_sequence();
  VPD_CHECK(V > 0, UsageError, "expected a target that reads tokens, found one that reads features");
  VPD_CHECK(sampling.length >= 1 && sampling.length <= longest, UsageError,
            "expected rows of 1 to {} tokens, which the target takes, found {}", longest, sampling.length);
  const auto begun = static_cast<std::int64_t>(sampling.beginning.size());
  VPD_CHECK(begun < sampling.length, UsageError,
            "expected rows that are longer than their beginning, which is {} token{}, found rows of {}",
            begun, begun == 1 ? "" : "s", sampling.length);
  for (const std::int64_t token : sampling.beginning)
    VPD_CHECK(token >= 0 && token < V, UsageError,
              "expected tokens below {}, which the target knows, at the beginning of rows, found {}", V,
              token);
}

at::Tensor sample_rows(const Target& target, const RowSampling& sampling, std::int64_t first,
                       std::int64_t count, const std::function<void(std::int64_t t)>& before) {
  check_sampling(target, sampling);
  const std::int64_t T = sampling.length, V = target.vocabulary_size();
  const at::Tensor tokens = at::empty({count, T}, at::kLong);
  std::vector<DrawPlace> places(static_cast<std::size_t>(count));
  const auto draw = [&](std::int64_t t) {
    if (before) before(t);
    for (std::int64_t b = 0; b < count; ++b)
      places[static_cast<std::size_t>(b)] = {sampling.seed, static_cast<std::uint64_t>(first + b),
                                             static_cast<std::uint64_t>(t)};
  };
  const auto put = [&](std::int64_t t, const std::vector<std::int64_t>& column) {
    tokens.select(1, t).copy_(at::tensor(column, at::kLong));
  };
  auto made = static_cast<std::int64_t>(sampling.beginning.size());
  if (made > 0) {
    tokens.narrow(1, 0, made).copy_(at::tensor(sampling.beginning, at::kLong).expand({count, made}));
  } else {
    draw(0);
    put(made++, choose_tokens(at::zeros({count, V}), {}, places));
  }
  KeyValueCache cache(count, std::max<std::int64_t>(1, T - 1));  // nobody reads behind the last token
  for (; made < T; ++made) {
    draw(made);
    const std::int64_t known = cache.length();
    const at::Tensor next = tokens.narrow(1, known, made - known).to(target.numerics().device);
    put(made, choose_tokens(cache.next_logits(target, next), sampling.choice, places));
  }
  return tokens;
}

}  // namespace vpd
