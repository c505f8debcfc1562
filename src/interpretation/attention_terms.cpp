#include "vpd/interpretation/attention_terms.hpp"

#include <cmath>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"

namespace vpd {
namespace {

std::optional<std::size_t> site_of(const Decomposition& d, std::size_t matrix) {
  const int site = d.sites.of_matrix()[matrix];
  return site < 0 ? std::nullopt : std::optional(static_cast<std::size_t>(site));
}

}  // namespace

AttentionBlock attention_of(const Decomposition& d, std::int64_t block) {
  const std::optional<Anatomy> anatomy = d.target->anatomy();
  VPD_CHECK(anatomy && !anatomy->blocks.empty() && anatomy->blocks.front().attention, UsageError,
            "expected a target with attention, found one without");
  const auto count = static_cast<std::int64_t>(anatomy->blocks.size());
  VPD_CHECK(block >= 0 && block < count, UsageError, "--layer: expected a block from 0 to {}, found {}",
            count - 1, block);
  AttentionBlock found{.number = static_cast<std::size_t>(block),
                       .parts = *anatomy->blocks[static_cast<std::size_t>(block)].attention};
  found.q = site_of(d, found.parts.q);
  found.k = site_of(d, found.parts.k);
  found.v = site_of(d, found.parts.v);
  found.o = site_of(d, found.parts.o);
  const auto& matrices = d.target->matrices();
  VPD_CHECK(found.q || found.k, UsageError,
            "--layer {}: expected {} or {} among the decomposed matrices, found neither; choose a block in "
            "which one of them is decomposed",
            block, matrices[found.parts.q].name, matrices[found.parts.k].name);
  return found;
}

Rotation::Rotation(const AttentionParts& parts, std::int64_t T, const at::TensorOptions& options) {
  if (!parts.rotary) return;
  const RotaryTable table = parts.rotary(T);
  cosine_ = table.cosine.to(options);
  sine_ = table.sine.to(options);
  adjacent_ = table.adjacent;
}

at::Tensor Rotation::by(const at::Tensor& x, std::int64_t t) const {
  return cosine_.defined() ? turned(x, cosine_[t], sine_[t]) : x;
}

at::Tensor Rotation::turned(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) const {
  if (!cosine_.defined()) return x;
  const std::int64_t w = x.size(-1);
  const auto half = [&](const at::Tensor& of, std::int64_t i) {
    return adjacent_ ? of.slice(-1, i, w, 2) : of.narrow(-1, i * (w / 2), w / 2);
  };
  const at::Tensor a = half(x, 0), b = half(x, 1), out = at::empty_like(x);
  half(out, 0).copy_(a * cosine - b * sine);
  half(out, 1).copy_(a * sine + b * cosine);
  return out;
}

AttentionSide::AttentionSide(const Decomposition& d, const AttentionBlock& block, Kind kind,
                             std::vector<std::int64_t> columns)
    : type_(d.numerics.wide), terms_(std::move(columns)), C_(static_cast<std::int64_t>(terms_.size())) {
  const bool query = kind == Kind::query;
  const AttentionParts& parts = block.parts;
  heads_ = query ? parts.shape.heads : parts.shape.key_heads;
  w_ = parts.shape.head_width;
  norm_ = query ? parts.q_norm : parts.k_norm;
  const std::optional<std::size_t> site = query ? block.q : block.k;
  const Matrix& matrix = d.target->matrices()[query ? parts.q : parts.k];
  matrix_ = matrix.master.to(type_);
  const at::TensorOptions options = matrix_.options();
  at::Tensor U = at::zeros({C_, heads_ * w_}, options), left = matrix_, rest;
  V_ = at::zeros({matrix_.size(1), C_}, options);
  if (site) {
    const at::Tensor all_V = d.components.V(*site).to(type_), all_U = d.components.U(*site).to(type_);
    left = matrix_ - all_V.matmul(all_U).t();
    std::vector<std::int64_t> numbers;
    for (const std::int64_t column : terms_) numbers.push_back(column - d.sites[*site].offset);
    const at::Tensor kept = at::tensor(numbers, at::kLong).to(options.device());
    V_ = all_V.index_select(1, kept);
    U = all_U.index_select(0, kept);
    if (C_ < d.sites[*site].C) {
      const at::Tensor apart = at::ones({d.sites[*site].C, 1}, options).index_fill(0, kept, 0.0);
      rest = all_V.matmul(all_U * apart).t();
    }
  }
  reading_ = V_.norm(2, {0});
  vectors_ = by_head(U).transpose(0, 1).contiguous();
  if (norm_) vectors_ = vectors_ * norm_.weight->value.to(type_);
  const auto add = [&](OtherTerm term) { terms_.push_back(static_cast<std::int64_t>(term)); };
  matrices_.push_back(left);
  add(OtherTerm::delta);
  if (rest.defined()) {
    matrices_.push_back(rest);
    add(OtherTerm::rest);
  }
  if (matrix.bias.value.defined()) {
    bias_ = matrix.bias.value.to(type_);
    add(OtherTerm::bias);
  }
  if (parts.added_positions.defined()) {
    positions_ = parts.added_positions.to(type_);
    add(OtherTerm::position);
  }
}

/// [..., heads w] -> [..., heads, w].
at::Tensor AttentionSide::by_head(const at::Tensor& x) const {
  return x.unflatten(-1, at::IntArrayRef{heads_, w_});
}

AttentionSide::Values AttentionSide::values(const at::Tensor& x, std::int64_t T) const {
  const at::Tensor read = x.to(type_);
  const std::int64_t N = read.size(0);
  at::Tensor factor = read.matmul(V_).unsqueeze(1);
  std::vector<at::Tensor> others;
  for (const at::Tensor& matrix : matrices_) others.push_back(by_head(read.matmul(matrix.t())));
  if (bias_.defined()) others.push_back(by_head(bias_.expand({N, heads_ * w_})));
  if (norm_) {
    at::Tensor y = read.matmul(matrix_.t());
    if (bias_.defined()) y = y + bias_;
    const at::Tensor inverse = at::rsqrt(by_head(y).square().mean(-1, true) + norm_.eps);  // [N, heads, 1]
    factor = factor * inverse;
    for (at::Tensor& one : others) one = one * inverse * norm_.weight->value.to(type_);
  }
  // No target has both a rotation and positions that it adds behind it.
  if (positions_.defined()) others.push_back(by_head(positions_.narrow(0, 0, T).repeat({N / T, 1})));
  return {factor, at::stack(others)};
}

at::Tensor AttentionSide::expanded(const Values& values, std::int64_t head) const {
  const at::Tensor apart = values.factor_of(head).t().unsqueeze(2) * vectors_[head].unsqueeze(1);
  return at::cat({apart, values.others.select(2, head)});
}

AttentionTerms::AttentionTerms(const Decomposition& d, AttentionBlock of,
                               const std::vector<std::int64_t>& query_columns,
                               const std::vector<std::int64_t>& key_columns)
    : block(std::move(of)),
      query(d, block, AttentionSide::Kind::query, query_columns),
      key(d, block, AttentionSide::Kind::key, key_columns),
      options(d.numerics.options()) {}

double AttentionTerms::scale() const {
  return 1.0 / std::sqrt(static_cast<double>(block.parts.shape.head_width));
}

std::vector<std::int64_t> columns_of(const Sites& sites, std::optional<std::size_t> site) {
  std::vector<std::int64_t> columns;
  if (!site) return columns;
  for (std::int64_t c = 0; c < sites[*site].C; ++c) columns.push_back(sites[*site].offset + c);
  return columns;
}

}  // namespace vpd
