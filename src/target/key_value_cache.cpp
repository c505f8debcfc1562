#include "vpd/target/key_value_cache.hpp"

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"

namespace vpd {

at::Tensor KeyValueCache::attention(const AttentionCall& call) {
  const std::int64_t T = call.q.size(0) / call.B, width = call.q.size(1) / call.heads,
                     key_heads = call.key_heads, group = call.heads / call.key_heads;
  VPD_CHECK(call.causal, UsageError,
            "keys and values are kept: expected attention to earlier positions, found one to all");
  if (call.block >= blocks_.size()) blocks_.resize(call.block + 1);
  Block& block = blocks_[call.block];
  VPD_CHECK(call.B == B_ && block.length + T <= longest_, UsageError,
            "keys and values are kept: expected {} rows of at most {} tokens, found {} of {}", B_, longest_,
            call.B, block.length + T);
  if (!block.keys.defined()) {
    block.keys = at::empty({B_, key_heads, longest_, width}, call.k.options());
    block.values = at::empty_like(block.keys);
  }
  const std::int64_t before = block.length;
  const auto keep = [&](const at::Tensor& all, const at::Tensor& x) {
    all.narrow(2, before, T).copy_(x.view({B_, T, key_heads, width}).transpose(1, 2));
  };
  keep(block.keys, call.k);
  keep(block.values, call.v);
  block.length += T;
  if (before == 0) return Executor::attention(call);

  // Heads that share a key head are rows of one set of queries, so that nothing is repeated.
  const at::Tensor queries = call.q.view({B_, T, key_heads, group, width})
                                 .permute({0, 2, 3, 1, 4})
                                 .reshape({B_, key_heads, group * T, width});
  std::optional<at::Tensor> seen;
  if (T > 1) {
    seen = at::ones({T, block.length}, call.q.options().dtype(at::kBool)).tril(before).repeat({group, 1});
  }
  const at::Tensor mixed =
      at::scaled_dot_product_attention(queries, block.keys.narrow(2, 0, block.length),
                                       block.values.narrow(2, 0, block.length), seen, 0.0, false);
  return mixed.reshape({B_, key_heads, group, T, width})
      .permute({0, 3, 1, 2, 4})
      .reshape({B_ * T, call.heads * width});
}

at::Tensor KeyValueCache::next_logits(const Target& target, const at::Tensor& tokens) {
  const at::NoGradGuard no_grad;
  const at::Tensor hidden = target.hidden(tokens, *this, {.position = length()});
  const std::int64_t T = tokens.size(1);
  return target.output(hidden.view({B_, T, -1}).select(1, T - 1).contiguous(), *this);
}

}  // namespace vpd
