#include "vpd/interpretation/edit_effect.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>

#include <ATen/ATen.h>

#include "statistics.hpp"
#include "vpd/base/error.hpp"
#include "vpd/interpretation/intervention.hpp"

namespace vpd {
namespace {

constexpr std::uint64_t stream_of_resamples = 1, stream_of_controls = 2;

/// Where something important is within `near` positions of a row, itself not counted.
at::Tensor close_to(const at::Tensor& important, std::int64_t near) {
  const std::int64_t T = important.size(1);
  at::Tensor close = at::zeros_like(important);
  for (std::int64_t shift = 1; shift <= std::min(near, T - 1); ++shift) {
    close.narrow(1, shift, T - shift).logical_or_(important.narrow(1, 0, T - shift));
    close.narrow(1, 0, T - shift).logical_or_(important.narrow(1, shift, T - shift));
  }
  return close.logical_and(important.logical_not());
}

}  // namespace

EffectMeasure::EffectMeasure(std::vector<RankOneEdit> edits, EffectSettings settings)
    : edits_(std::move(edits)), columns_(edited_columns(edits_)), settings_(std::move(settings)) {}

void EffectMeasure::add(const Batch& batch) {
  struct LaneRows {
    std::vector<RowFigures> rows;
    std::vector<float> kl, far_kl;
  };
  std::vector<LaneRows> found(batch.lanes.size());
  const Decomposition& d = batch.decomposition;
  batch.pool.run([&](int number) {
    const auto l = static_cast<std::size_t>(number);
    if (l >= batch.lanes.size()) return;
    const at::NoGradGuard no_grad;
    const LaneBatch& lane = batch.lanes[l];
    const std::int64_t B = lane.clean.B(), T = lane.clean.T();
    EditedExecutor executor(
        d, edits_, edit_factors(edits_, lane.clean.N(), T, lane.importance.lower, d.numerics.options()));
    const at::Tensor edited = d.target->forward(lane.clean.input, executor);
    const at::Tensor before = lane.clean.output.to(at::kFloat).log_softmax(1),
                     after = edited.to(at::kFloat).log_softmax(1);
    const at::Tensor kl = (before.exp() * (before - after)).sum(1, false, at::kDouble).view({B, T});
    const at::Tensor g = importance_of(lane, columns_);
    const at::Tensor important = g.gt(settings_.threshold).any(1).view({B, T});
    const at::Tensor far = g.eq(0.0).all(1).view({B, T}), near = close_to(important, settings_.near);

    found[l].rows.assign(static_cast<std::size_t>(B), RowFigures(figures));
    const auto put = [&](Figure figure, const at::Tensor& value, const at::Tensor& where) {
      put_figure(found[l].rows, figure, value, where);
    };
    const at::Tensor everywhere = at::ones_like(important);
    put(near_kl, kl, near);
    put(far_kl, kl, far);
    put(all_kl, kl, everywhere);
    put(important_kl, kl, important);
    if (d.target->predicts_next_token() && T > 1) {
      const at::Tensor next = lane.clean.input.narrow(1, 1, T - 1).reshape({-1, 1});
      const auto ce_of = [&](const at::Tensor& log_p) {
        return -log_p.view({B, T, -1})
                    .narrow(1, 0, T - 1)
                    .reshape({B * (T - 1), -1})
                    .gather(1, next)
                    .view({B, T - 1})
                    .to(at::kDouble);
      };
      put(ce, ce_of(after) - ce_of(before), everywhere.narrow(1, 0, T - 1));
    }
    if (!settings_.wanted.empty()) {
      const at::Tensor wanted = at::tensor(settings_.wanted, at::kLong).to(before.device());
      const auto mass = [&](const at::Tensor& log_p) {
        return log_p.index_select(1, wanted).to(at::kDouble).logsumexp(1).view({B, T});
      };
      const auto hit = [&](const at::Tensor& log_p) {
        return at::isin(log_p.argmax(1), wanted).to(at::kDouble).view({B, T});
      };
      const at::Tensor first = mass(before), second = mass(after);
      put(p0, first.exp(), important);
      put(p1, second.exp(), important);
      put(p_less, first.exp() - second.exp(), important);
      put(ln0, first, important);
      put(ln1, second, important);
      put(ln_less, first - second, important);
      const at::Tensor hit_first = hit(before), hit_second = hit(after);
      put(arg0, hit_first, important);
      put(arg1, hit_second, important);
      put(arg_less, hit_first - hit_second, important);
    }
    const at::Tensor narrow = kl.to(at::kFloat).cpu().contiguous();
    found[l].kl.assign(narrow.const_data_ptr<float>(), narrow.const_data_ptr<float>() + narrow.numel());
    const at::Tensor distant = narrow.masked_select(far.cpu());
    found[l].far_kl.assign(distant.const_data_ptr<float>(),
                           distant.const_data_ptr<float>() + distant.numel());
  });
  for (const LaneRows& lane : found) {
    rows_.insert(rows_.end(), lane.rows.begin(), lane.rows.end());
    kl_.insert(kl_.end(), lane.kl.begin(), lane.kl.end());
    far_kl_.insert(far_kl_.end(), lane.far_kl.begin(), lane.far_kl.end());
  }
}

Interval EffectMeasure::interval(Figure figure, std::int64_t resamples) const {
  return interval_of(rows_, figure, resamples,
                     make_key(settings_.seed, RandomPurpose::control, stream_of_resamples));
}

EditEffect EffectMeasure::result(bool intervals) const {
  const auto of = [&](Figure figure) { return interval(figure, intervals ? settings_.resamples : 0); };
  return {.near = of(near_kl),
          .far = of(far_kl),
          .all = of(all_kl),
          .important = of(important_kl),
          .far_99 = quantile_of(far_kl_, 0.99),
          .ce_change = of(ce),
          .p_before = of(p0),
          .p_after = of(p1),
          .p_lost = of(p_less),
          .ln_p_before = of(ln0),
          .ln_p_after = of(ln1),
          .ln_p_lost = of(ln_less),
          .argmax_before = of(arg0),
          .argmax_after = of(arg1),
          .argmax_lost = of(arg_less)};
}

ControlSets control_sets(const Evidence& evidence, const std::vector<std::int64_t>& columns,
                         std::int64_t count, std::uint64_t seed) {
  constexpr double band = 0.25;
  struct Candidate {
    double distance;  // of densities, relative
    std::int64_t column;
    bool operator<(const Candidate& other) const {
      return std::tie(distance, column) < std::tie(other.distance, other.column);
    }
  };
  std::vector<std::vector<Candidate>> candidates;  // nearest first
  double possible = 1.0;
  for (const std::int64_t column : columns) {
    const double density = std::max(evidence.facts(column).density, 1e-12);
    std::vector<Candidate> others;
    for (const Site& site : evidence.sites()) {
      if (column < site.offset || column >= site.offset + site.C) continue;
      for (std::int64_t c = site.offset; c < site.offset + site.C; ++c) {
        if (!evidence.is_alive(c) || std::find(columns.begin(), columns.end(), c) != columns.end()) continue;
        others.push_back({std::abs(evidence.facts(c).density - density) / density, c});
      }
    }
    std::sort(others.begin(), others.end());
    const auto within = static_cast<std::size_t>(
        std::count_if(others.begin(), others.end(), [&](const Candidate& c) { return c.distance <= band; }));
    // One edited subcomponent needs as many others as there are to be sets; several combine.
    const auto least =
        static_cast<std::size_t>(columns.size() == 1 ? count : std::min<std::int64_t>(count, 8));
    others.resize(std::min(others.size(), std::max(within, least)));
    possible *= static_cast<double>(others.size());
    candidates.push_back(std::move(others));
  }
  ControlSets controls;
  if (possible == 0.0) return controls;
  const RandomKey key = make_key(seed, RandomPurpose::control, stream_of_controls);
  for (std::uint64_t attempt = 0; attempt < static_cast<std::uint64_t>(200 * count) &&
                                  static_cast<std::int64_t>(controls.sets.size()) < count;
       ++attempt) {
    std::vector<std::int64_t> set;
    bool beyond = false;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      std::uint32_t words[4];
      random_words(key, static_cast<std::uint32_t>(i), attempt, 0, words);
      const Candidate& chosen =
          candidates[i][static_cast<std::size_t>(std::uint64_t{words[0]} * candidates[i].size() >> 32)];
      set.push_back(chosen.column);
      beyond = beyond || chosen.distance > band;
    }
    std::vector<std::int64_t> sorted = set;
    std::sort(sorted.begin(), sorted.end());
    const bool twice = std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end();
    if (twice || std::find(controls.sets.begin(), controls.sets.end(), set) != controls.sets.end()) continue;
    controls.sets.push_back(std::move(set));
    controls.beyond += beyond;
  }
  return controls;
}

}  // namespace vpd
