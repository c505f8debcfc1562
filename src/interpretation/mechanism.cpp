#include "vpd/interpretation/mechanism.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/interpretation/harvest.hpp"

namespace vpd {
namespace {

constexpr std::uint64_t stream_of_mechanisms = 9;

/// Watches what chosen subcomponents write in the target's own pass, and the stream that it is added to.
class StreamWatch final : public ForwardingExecutor {
 public:
  StreamWatch(const Decomposition& d, const std::vector<std::int64_t>& columns,
              const std::vector<StreamRole>& roles)
      : d_(d), columns_(columns), roles_(roles) {}

  at::Tensor residual(std::size_t block, const at::Tensor& x) override {
    at::Tensor stream = inner().residual(block, x);
    stream_ = stream.to(at::kDouble);
    return stream;
  }
  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    at::Tensor y = inner().linear(matrix, x);
    if (roles_[matrix.index] != StreamRole::writes) return y;
    if (const int site = d_.sites.of_matrix()[matrix.index]; site >= 0)
      look(static_cast<std::size_t>(site), x.to(at::kDouble));
    stream_ = stream_ + y.to(at::kDouble);
    return y;
  }

  /// Per subcomponents of one site: what they write, and the stream in front of it, float64 [N, d].
  std::vector<std::pair<at::Tensor, at::Tensor>> found;

 private:
  void look(std::size_t i, const at::Tensor& x) {
    const Site& site = d_.sites[i];
    at::Tensor written;
    for (const std::int64_t column : columns_) {
      const std::int64_t c = column - site.offset;
      if (c < 0 || c >= site.C) continue;
      const at::Tensor own = at::outer(x.matmul(d_.components.V(i).select(1, c).to(at::kDouble)),
                                       d_.components.U(i)[c].to(at::kDouble));
      written = written.defined() ? written + own : own;
    }
    if (written.defined()) found.emplace_back(written, stream_);
  }

  const Decomposition& d_;
  const std::vector<std::int64_t>& columns_;
  const std::vector<StreamRole>& roles_;
  at::Tensor stream_;
};

/// Adds up, over blocks, the attention of each query to the keys that `behind` [B, T, T] marks, mean over
/// heads.
class AttentionWatch final : public ForwardingExecutor {
 public:
  AttentionWatch(const at::Tensor& marked, Executor* below) : ForwardingExecutor(below), marked_(marked) {}

  at::Tensor attention(const AttentionCall& call) override {
    const std::int64_t B = call.B, T = call.q.size(0) / B, width = call.q.size(1) / call.heads;
    const auto by_head = [&](const at::Tensor& x, std::int64_t heads) {
      return x.to(at::kFloat).view({B, T, heads, width}).transpose(1, 2);
    };
    const at::Tensor k = by_head(call.k, call.key_heads).repeat_interleave(call.heads / call.key_heads, 1);
    at::Tensor score = by_head(call.q, call.heads).matmul(k.transpose(2, 3)) / std::sqrt(width);
    if (call.causal) {
      const at::Tensor later = at::ones({T, T}, at::dtype(at::kBool).device(score.device())).triu(1);
      score = score.masked_fill(later, -std::numeric_limits<double>::infinity());
    }
    const at::Tensor mass = (score.softmax(3) * marked_.unsqueeze(1)).sum(3).mean(1).to(at::kDouble);
    sum_ = sum_.defined() ? sum_ + mass : mass;
    ++blocks_;
    return inner().attention(call);
  }

  /// [B, T], mean over blocks too.
  at::Tensor mass() const { return sum_ / static_cast<double>(blocks_); }

 private:
  const at::Tensor& marked_;
  at::Tensor sum_;
  std::int64_t blocks_ = 0;
};

/// [B, T, T]: key u lies before the last boundary token in front of query t. And [B, T]: there is such a u.
std::pair<at::Tensor, at::Tensor> keys_across(const at::Tensor& tokens,
                                              const std::vector<std::int64_t>& boundary) {
  const std::int64_t T = tokens.size(1);
  const at::TensorOptions longs = at::dtype(at::kLong).device(tokens.device());
  const at::Tensor position = at::arange(T, longs);
  const at::Tensor is_boundary = at::isin(tokens, at::tensor(boundary, at::kLong).to(tokens.device()));
  const at::Tensor own = at::where(is_boundary, position, at::full({}, -1, longs));
  at::Tensor last = at::full_like(own, -1);  // of those in front of each query
  if (T > 1) last.narrow(1, 1, T - 1).copy_(std::get<0>(own.narrow(1, 0, T - 1).cummax(1)));
  return {position.view({1, 1, T}).lt(last.unsqueeze(2)), last.gt(0)};
}

}  // namespace

MechanismMeasure::MechanismMeasure(const Decomposition& d, std::vector<RankOneEdit> edits,
                                   MechanismSettings settings)
    : edits_(std::move(edits)),
      columns_(edited_columns(edits_)),
      settings_(std::move(settings)),
      roles_(matrix_roles(d)) {
  if (!settings_.along_stream) return;
  const bool writes = std::any_of(edits_.begin(), edits_.end(), [&](const RankOneEdit& edit) {
    return roles_[d.sites[edit.site].matrix] == StreamRole::writes && !d.sites[edit.site].embedding;
  });
  VPD_CHECK(
      writes, UsageError,
      "--along-stream: expected an edited subcomponent of a matrix that writes the residual stream, such "
      "as an attention output or a down-projection, found {} alone",
      d.sites[edits_.front().site].name);
}

void MechanismMeasure::add(const Batch& batch) {
  std::vector<std::vector<RowFigures>> found(batch.lanes.size());
  const Decomposition& d = batch.decomposition;
  batch.pool.run([&](int number) {
    const auto l = static_cast<std::size_t>(number);
    if (l >= batch.lanes.size()) return;
    const at::NoGradGuard no_grad;
    const LaneBatch& lane = batch.lanes[l];
    const std::int64_t B = lane.clean.B(), T = lane.clean.T();
    found[l].assign(static_cast<std::size_t>(B), RowFigures(figures));
    if (settings_.along_stream) {
      StreamWatch watch(d, columns_, roles_);
      d.target->forward(lane.clean.input, watch);
      const at::Tensor g = importance_of(lane, columns_);
      const at::Tensor important = g.gt(settings_.threshold).any(1).view({B, T});
      at::Tensor cosines, gains;
      for (const auto& [y, s] : watch.found) {
        const at::Tensor along = (y * s).sum(1), squared = s.square().sum(1);
        const at::Tensor cosine_here = along / (y.norm(2, {1}) * squared.sqrt()).clamp_min(1e-300),
                         gain_here = along / squared;
        cosines = cosines.defined() ? cosines + cosine_here : cosine_here;
        gains = gains.defined() ? gains + gain_here : gain_here;
      }
      // Of several sites: the mean cosine, and what they add together.
      put_figure(found[l], cosine, (cosines / static_cast<double>(watch.found.size())).view({B, T}),
                 important);
      put_figure(found[l], gain, gains.view({B, T}), important);
    }
    if (!settings_.boundary.empty()) {
      const auto [marked, counted] = keys_across(lane.clean.input, settings_.boundary);
      const at::Tensor weight = marked.to(at::kFloat);
      AttentionWatch before(weight, nullptr);
      d.target->forward(lane.clean.input, before);
      EditedExecutor edited(
          d, edits_, edit_factors(edits_, lane.clean.N(), T, lane.importance.lower, d.numerics.options()));
      AttentionWatch after(weight, &edited);
      d.target->forward(lane.clean.input, after);
      put_figure(found[l], attended_before, before.mass(), counted);
      put_figure(found[l], attended_after, after.mass(), counted);
      put_figure(found[l], attended_change, after.mass() - before.mass(), counted);
    }
  });
  for (const auto& rows : found) rows_.insert(rows_.end(), rows.begin(), rows.end());
}

Interval MechanismMeasure::interval(Figure figure, bool intervals) const {
  return interval_of(rows_, figure, intervals ? settings_.resamples : 0,
                     make_key(settings_.seed, RandomPurpose::control, stream_of_mechanisms));
}

std::optional<StreamFigures> MechanismMeasure::stream(bool intervals) const {
  if (!settings_.along_stream) return std::nullopt;
  return StreamFigures{.cosine = interval(cosine, intervals), .gain = interval(gain, intervals)};
}

std::optional<AcrossFigures> MechanismMeasure::across(bool intervals) const {
  if (settings_.boundary.empty()) return std::nullopt;
  return AcrossFigures{.before = interval(attended_before, intervals),
                       .after = interval(attended_after, intervals),
                       .change = interval(attended_change, intervals)};
}

}  // namespace vpd
