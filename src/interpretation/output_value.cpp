#include "vpd/interpretation/output_value.hpp"

#include <ATen/ATen.h>

#include "uniform_draws.hpp"
#include "vpd/base/error.hpp"
#include "vpd/interpretation/row_sums.hpp"
#include "vpd/kernels/random_fill.hpp"

namespace vpd {
namespace {

constexpr std::int64_t random_heads = 21;  // 210 pairs

/// Heads' W_O [H, d, w] and W_V [H, w, d].
struct Factors {
  at::Tensor out, value;
};

/// <A, B> / (‖A‖ ‖B‖) of all pairs, from their inner products [H, H].
at::Tensor cosines(const at::Tensor& inner) {
  const at::Tensor norm = inner.diagonal().sqrt();
  return inner / at::outer(norm, norm).clamp_min(1e-300);
}

/// Cosines of WᵀW and of W Wᵀ between heads, W = W_O W_V S with S S = `covariance` (undefined: W = W_O W_V),
/// from products of the heads' width alone: ⟨WᵀW, W'ᵀW'⟩ = ‖W W'ᵀ‖².
std::pair<at::Tensor, at::Tensor> pair_cosines(const Factors& heads, const at::Tensor& covariance) {
  const std::int64_t H = heads.out.size(0);
  const at::Tensor seen = covariance.defined() ? heads.value.matmul(covariance) : heads.value;
  const at::Tensor values = at::einsum("iad,jbd->ijab", {seen, heads.value}),  // W_V S S W_V'ᵀ
      outs = at::einsum("ida,jdb->ijab", {heads.out, heads.out});              // W_Oᵀ W_O'
  const auto own = [](const at::Tensor& all) { return all.diagonal(0, 0, 1).permute({2, 0, 1}); };
  const at::Tensor own_values = own(values), own_outs = own(outs);  // [H, w, w]
  // tr(Xᵀ A X B) of X [i, j] and A, B of i and of j.
  const auto inner = [&](const at::Tensor& X, const at::Tensor& A) {
    const at::Tensor left = A.unsqueeze(1).matmul(X), right = X.matmul(A.unsqueeze(0));
    return (left * right).sum({2, 3}).view({H, H});
  };
  return {cosines(inner(values, own_outs)), cosines(inner(outs, own_values))};
}

Factors factors_of(const Decomposition& d, const AttentionBlock& block) {
  const AttentionShape& shape = block.parts.shape;
  const auto weight = [&](std::size_t matrix) {
    return d.target->matrices()[matrix].master.to(at::kCPU, at::kDouble);
  };
  const at::Tensor v = weight(block.parts.v), o = weight(block.parts.o);
  return {.out = o.view({o.size(0), shape.heads, shape.head_width}).transpose(0, 1),
          .value = v.view({shape.key_heads, shape.head_width, v.size(1)})
                       .repeat_interleave(shape.heads / shape.key_heads, 0)};
}

at::Tensor root_of(const at::Tensor& covariance) {
  const auto [values, vectors] = at::linalg_eigh(covariance);
  return (vectors * values.clamp_min(0.0).sqrt()).matmul(vectors.t());
}

}  // namespace

ReadCovariance::ReadCovariance(const AttentionBlock& block, std::int64_t width,
                               std::optional<std::int64_t> given_column, double threshold)
    : reader_(block.reader()),
      width_(width),
      given_(given_column),
      threshold_(threshold),
      sums_(at::zeros({width * width + width + 1}, at::kDouble)) {}

void ReadCovariance::add(const Batch& batch) {
  const at::Tensor sums = batch.sum_tensors([&](const LaneBatch& lane) {
    at::Tensor x = lane.clean.inputs[reader_].to(at::kDouble);
    if (given_) {
      const at::Tensor important = importance_of(lane, {*given_}).select(1, 0).gt(threshold_);
      x = x.index_select(0, important.nonzero().flatten());
    }
    return at::cat(
        {x.t().matmul(x).flatten(), x.sum(0), at::full({1}, static_cast<double>(x.size(0)), x.options())});
  });
  sums_.add_(sums.cpu());
}

at::Tensor ReadCovariance::covariance() const {
  const double count = positions();
  VPD_CHECK(count > 0.0, UsageError,
            "--given: expected a subcomponent that is important somewhere in the data, found one that never "
            "is; give another, or read more with --positions");
  const at::Tensor mean = sums_.narrow(0, width_ * width_, width_) / count;
  return sums_.narrow(0, 0, width_ * width_).view({width_, width_}) / count - at::outer(mean, mean);
}

OutputValue output_value(const Decomposition& d, const AttentionBlock& block, const at::Tensor& covariance) {
  const Factors heads = factors_of(d, block);
  const auto [plain_read, plain_write] = pair_cosines(heads, {});
  const auto [read, write] = pair_cosines(heads, covariance);
  OutputValue found{.read_cosine = at::stack({plain_read, read}),
                    .write_cosine = at::stack({plain_write, write}),
                    .value_alignment = {},
                    .output_alignment = {}};
  const at::Tensor root = root_of(covariance);
  const auto part = [](const at::Tensor& x) { return x.to(at::kCPU, at::kDouble); };
  if (block.v) {
    const at::Tensor V = part(d.components.V(*block.v)),
                     written = part(d.components.U(*block.v)).norm(2, {1});
    const auto moved = [&](const at::Tensor& x) {
      return heads.out.matmul(heads.value.matmul(x)).norm(2, {1}) * written;
    };
    found.value_alignment = at::stack({moved(V), moved(root.matmul(V))});
  }
  if (block.o) {
    const at::Tensor U = part(d.components.U(*block.o)).t(),
                     read_by = part(d.components.V(*block.o)).norm(2, {0});
    const at::Tensor back = heads.value.transpose(1, 2).matmul(heads.out.transpose(1, 2).matmul(U));
    found.output_alignment =
        at::stack({back.norm(2, {1}) * read_by, root.matmul(back).norm(2, {1}) * read_by});
  }
  return found;
}

RandomCosines random_cosines(std::int64_t head_width, const at::Tensor& covariance, std::uint64_t seed) {
  const std::int64_t d = covariance.size(0);
  const auto drawn = [&](std::uint64_t number, std::vector<std::int64_t> shape) {
    const at::Tensor x = at::empty(shape, at::kDouble);
    fill_normal(x, 1.0, make_key(seed, RandomPurpose::control, stream_of_random_heads, number));
    return x;
  };
  const Factors heads{.out = drawn(0, {random_heads, d, head_width}),
                      .value = drawn(1, {random_heads, head_width, d})};
  const auto pairs = [](const at::Tensor& cosine) {
    const at::Tensor above = at::triu_indices(random_heads, random_heads, 1);
    return cosine.index({above[0], above[1]});
  };
  std::vector<at::Tensor> read, write;
  for (const at::Tensor& one : {at::Tensor(), covariance}) {
    const auto [read_cosine, write_cosine] = pair_cosines(heads, one);
    read.push_back(pairs(read_cosine));
    write.push_back(pairs(write_cosine));
  }
  const at::Tensor reads = at::stack(read), writes = at::stack(write);
  return {.read_mean = reads.mean({1}),
          .read_deviation = reads.std({1}, /*unbiased=*/true),
          .write_mean = writes.mean({1}),
          .write_deviation = writes.std({1}, /*unbiased=*/true),
          .pairs = reads.size(1)};
}

}  // namespace vpd
