#include "vpd/interpretation/mechanism.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/interpretation/harvest.hpp"

namespace vpd {
namespace {

constexpr std::uint64_t stream_of_mechanisms = 9;

/// Watches what chosen subcomponents write, and the stream that it is added to.
class StreamWatch final : public ForwardingExecutor {
 public:
  StreamWatch(const Decomposition& d, const std::vector<std::vector<std::int64_t>>& sets,
              const std::vector<StreamRole>& roles, Executor& below)
      : ForwardingExecutor(&below), found(sets.size()), d_(d), sets_(sets), roles_(roles) {}

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

  /// Of a set, for each of its sites that write.
  struct Found {
    at::Tensor cosine, gain;  // float64 [N]
  };
  std::vector<std::vector<Found>> found;

 private:
  void look(std::size_t i, const at::Tensor& x) {
    const Site& site = d_.sites[i];
    at::Tensor squared;
    for (std::size_t k = 0; k < sets_.size(); ++k) {
      at::Tensor written;
      for (const std::int64_t column : sets_[k]) {
        const std::int64_t c = column - site.offset;
        if (c < 0 || c >= site.C) continue;
        const at::Tensor own = at::outer(x.matmul(d_.components.V(i).select(1, c).to(at::kDouble)),
                                         d_.components.U(i)[c].to(at::kDouble));
        written = written.defined() ? written + own : own;
      }
      if (!written.defined()) continue;
      if (!squared.defined()) squared = stream_.square().sum(1);
      const at::Tensor along = (written * stream_).sum(1);
      found[k].push_back(
          {along / (written.norm(2, {1}) * squared.sqrt()).clamp_min(1e-300), along / squared});
    }
  }

  const Decomposition& d_;
  const std::vector<std::vector<std::int64_t>>& sets_;
  const std::vector<StreamRole>& roles_;
  at::Tensor stream_;
};

/// Adds up, over blocks, the attention of each query to the keys that `behind` [B, T, T] marks, mean over
/// heads.
class AttentionWatch final : public ForwardingExecutor {
 public:
  /// `marked` undefined: it looks at nothing.
  AttentionWatch(const at::Tensor& marked, Executor* below) : ForwardingExecutor(below), marked_(marked) {}

  at::Tensor attention(const AttentionCall& call) override {
    if (!marked_.defined()) return inner().attention(call);
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

MechanismMeasure::MechanismMeasure(const Decomposition& d, std::vector<std::vector<RankOneEdit>> sets,
                                   MechanismSettings settings)
    : sets_(std::move(sets)), settings_(std::move(settings)), roles_(matrix_roles(d)), rows_(sets_.size()) {
  for (const std::vector<RankOneEdit>& set : sets_) columns_.push_back(edited_columns(set));
  if (!settings_.along_stream) return;
  const bool writes = std::any_of(sets_.front().begin(), sets_.front().end(), [&](const RankOneEdit& edit) {
    return roles_[d.sites[edit.site].matrix] == StreamRole::writes && !d.sites[edit.site].embedding;
  });
  VPD_CHECK(
      writes, UsageError,
      "--along-stream: expected an edited subcomponent of a matrix that writes the residual stream, such "
      "as an attention output or a down-projection, found {} alone",
      d.sites[sets_.front().front().site].name);
}

std::vector<MechanismMeasure::Rows> MechanismMeasure::rows_of(const Decomposition& d,
                                                              const LaneBatch& lane) const {
  const at::NoGradGuard no_grad;
  const std::int64_t B = lane.clean.B(), T = lane.clean.T();
  const at::Tensor& tokens = lane.clean.input;
  std::vector<Rows> found(sets_.size(), Rows(static_cast<std::size_t>(B), RowFigures(figures)));
  at::Tensor marked, counted;
  if (!settings_.boundary.empty()) {
    std::tie(marked, counted) = keys_across(tokens, settings_.boundary);
    marked = marked.to(at::kFloat);
  }
  AttentionWatch before(marked, nullptr);
  const std::vector<std::vector<std::int64_t>> none;
  StreamWatch stream(d, settings_.along_stream ? columns_ : none, roles_, before);
  d.target->forward(tokens, stream);
  for (std::size_t k = 0; k < sets_.size(); ++k) {
    if (settings_.along_stream && !stream.found[k].empty()) {
      const at::Tensor important =
          importance_of(lane, columns_[k]).gt(settings_.threshold).any(1).view({B, T});
      // Of several sites: the mean cosine, and what they add together.
      at::Tensor cosines = at::zeros({B * T}, stream.found[k][0].cosine.options()), gains = cosines;
      for (const StreamWatch::Found& one : stream.found[k]) {
        cosines = cosines + one.cosine / static_cast<double>(stream.found[k].size());
        gains = gains + one.gain;
      }
      put_figure(found[k], cosine, cosines.view({B, T}), important);
      put_figure(found[k], gain, gains.view({B, T}), important);
    }
    if (!settings_.boundary.empty()) {
      EditedExecutor edited(
          d, sets_[k],
          edit_factors(sets_[k], lane.clean.N(), T, lane.importance.lower, d.numerics.options()));
      AttentionWatch after(marked, &edited);
      d.target->forward(tokens, after);
      put_figure(found[k], attended_before, before.mass(), counted);
      put_figure(found[k], attended_after, after.mass(), counted);
      put_figure(found[k], attended_change, after.mass() - before.mass(), counted);
    }
  }
  return found;
}

void MechanismMeasure::add(const Batch& batch) {
  std::vector<std::vector<Rows>> found(batch.lanes.size());
  batch.pool.run([&](int number) {
    const auto l = static_cast<std::size_t>(number);
    if (l < batch.lanes.size()) found[l] = rows_of(batch.decomposition, batch.lanes[l]);
  });
  for (const std::vector<Rows>& lane : found)
    for (std::size_t k = 0; k < lane.size(); ++k)
      rows_[k].insert(rows_[k].end(), lane[k].begin(), lane[k].end());
}

Interval MechanismMeasure::interval(std::size_t set, Figure figure, bool intervals) const {
  return interval_of(rows_[set], figure, intervals ? settings_.resamples : 0,
                     make_key(settings_.seed, RandomPurpose::control, stream_of_mechanisms));
}

std::optional<StreamFigures> MechanismMeasure::stream(std::size_t set, bool intervals) const {
  if (!settings_.along_stream) return std::nullopt;
  return StreamFigures{.cosine = interval(set, cosine, intervals), .gain = interval(set, gain, intervals)};
}

std::optional<AcrossFigures> MechanismMeasure::across(std::size_t set, bool intervals) const {
  if (settings_.boundary.empty()) return std::nullopt;
  return AcrossFigures{.before = interval(set, attended_before, intervals),
                       .after = interval(set, attended_after, intervals),
                       .change = interval(set, attended_change, intervals)};
}

}  // namespace vpd
