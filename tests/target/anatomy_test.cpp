// What a target says of its parts is what its forward pass does.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/expect_close.hpp"
#include "support/targets.hpp"

namespace vpd::testing {
namespace {

const Numerics wide{.device = at::kCPU, .compute = at::kDouble, .wide = at::kDouble};

at::Tensor product(const Target& target, std::size_t matrix, const at::Tensor& x) {
  const Matrix& m = target.matrices()[matrix];
  const at::Tensor y = x.matmul(m.master.t());
  return m.bias.value.defined() ? y + m.bias.value : y;
}

at::Tensor normed(const NormParts& norm, const at::Tensor& x) {
  if (!norm) return x;
  const at::Tensor centred = norm.bias ? x - x.mean(1, true) : x;
  const at::Tensor y =
      centred / (centred.square().mean(1, true) + norm.eps).sqrt() * norm.weight->value.to(at::kDouble);
  return norm.bias ? y + norm.bias->value : y;
}

at::Tensor activated(Activation kind, const at::Tensor& x) {
  switch (kind) {
    case Activation::gelu:
      return at::gelu(x, "none");
    case Activation::gelu_tanh:
      return at::gelu(x, "tanh");
    case Activation::relu:
      return at::clamp_min(x, 0);
    case Activation::silu:
      return x * at::sigmoid(x);
  }
  return x;
}

/// Of one row [T, width]: heads normalised, turned, and placed.
at::Tensor placed(const AttentionParts& parts, const NormParts& norm, const at::Tensor& x,
                  std::int64_t heads) {
  const std::int64_t T = x.size(0), w = parts.shape.head_width;
  at::Tensor y = normed(norm, x.reshape({T * heads, w})).view({T, heads, w});
  if (parts.rotary) {
    const RotaryTable table = parts.rotary(T);
    const at::Tensor c = table.cosine.unsqueeze(1), s = table.sine.unsqueeze(1);
    const auto half = [&](std::int64_t i) {
      return table.adjacent ? y.slice(2, i, w, 2) : y.narrow(2, i * (w / 2), w / 2);
    };
    const at::Tensor a = half(0) * c - half(1) * s, b = half(0) * s + half(1) * c;
    y = table.adjacent ? at::stack({a, b}, 3).reshape({T, heads, w}) : at::cat({a, b}, 2);
  }
  y = y.reshape({T, heads * w});
  return parts.added_positions.defined() ? y + parts.added_positions.narrow(0, 0, T) : y;
}

/// The forward pass of one row, from the parts alone.
at::Tensor from_parts(const Target& target, const at::Tensor& input) {
  const Anatomy anatomy = *target.anatomy();
  const std::int64_t T = length_of(input);
  const at::Tensor& table = target.matrices()[anatomy.embedding].master;
  at::Tensor x = input.is_floating_point() ? product(target, anatomy.embedding, input)
                                           : at::embedding(table.t(), input.reshape({T}));
  if (anatomy.positions.defined()) x = x + anatomy.positions.narrow(0, 0, T);
  for (const BlockParts& block : anatomy.blocks) {
    if (const auto& a = block.attention) {
      const at::Tensor read = normed(a->norm, x);
      const std::int64_t w = a->shape.head_width, share = a->shape.heads / a->shape.key_heads;
      const at::Tensor q = placed(*a, a->q_norm, product(target, a->q, read), a->shape.heads),
                       k = placed(*a, a->k_norm, product(target, a->k, read), a->shape.key_heads),
                       v = product(target, a->v, read);
      std::vector<at::Tensor> mixed;
      for (std::int64_t h = 0; h < a->shape.heads; ++h) {
        const auto of = [&](const at::Tensor& all, std::int64_t head) { return all.narrow(1, head * w, w); };
        at::Tensor z = of(q, h).matmul(of(k, h / share).t()) / std::sqrt(static_cast<double>(w));
        z = z.masked_fill(at::ones({T, T}, at::kBool).triu(1), -std::numeric_limits<double>::infinity());
        mixed.push_back(z.softmax(1).matmul(of(v, h / share)));
      }
      x = x + product(target, a->o, at::cat(mixed, 1));
    }
    if (const auto& m = block.mlp) {
      const at::Tensor read = normed(m->norm, x);
      const at::Tensor in = product(target, m->in, read);
      const at::Tensor between = m->gate ? activated(m->activation, product(target, *m->gate, read)) * in
                                         : activated(m->activation, in);
      x = x + product(target, m->out, between);
    }
  }
  return product(target, anatomy.head, normed(anatomy.last, x));
}

class Anatomies : public ::testing::TestWithParam<const char*> {};

TEST_P(Anatomies, MakeTheForwardPass) {
  const at::NoGradGuard no_grad;
  const std::unique_ptr<Target> target = target_with_blocks(GetParam(), wide);
  const at::Tensor rows = input_of(*target).narrow(0, 0, 1);
  const at::Tensor row = target->features() > 0 ? rows.to(at::kDouble) : rows;
  PlainExecutor plain;
  expect_close(target->forward(row, plain), from_parts(*target, row), {.relative = 1e-12, .absolute = 1e-12},
               GetParam());
}

INSTANTIATE_TEST_SUITE_P(Targets, Anatomies, ::testing::ValuesIn(targets_with_blocks),
                         [](const auto& each) { return std::string(each.param); });

}  // namespace
}  // namespace vpd::testing
