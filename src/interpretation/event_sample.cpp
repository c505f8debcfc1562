#include "vpd/interpretation/event_sample.hpp"

#include <algorithm>

#include <ATen/ATen.h>

#include "vpd/interpretation/clustering.hpp"

namespace vpd {

std::vector<std::int64_t> sampled_positions(const EventSettings& settings, std::int64_t row, std::int64_t T) {
  const RandomKey key = make_key(settings.seed, clustering_draws, 0);
  std::vector<std::pair<std::uint64_t, std::int64_t>> drawn;
  for (std::int64_t t = 0; t < T; ++t) {
    std::uint32_t words[4];
    random_words(key, static_cast<std::uint32_t>(t), static_cast<std::uint64_t>(row), 0, words);
    drawn.emplace_back(std::uint64_t{words[1]} << 32 | words[0], t);
  }
  std::sort(drawn.begin(), drawn.end());
  std::vector<std::int64_t> positions;
  for (std::int64_t i = 0; i < std::min(settings.per_row, T); ++i)
    positions.push_back(drawn[static_cast<std::size_t>(i)].second);
  std::sort(positions.begin(), positions.end());
  return positions;
}

EventSample::EventSample(const Sites& sites, const std::vector<bool>& chosen, std::int64_t rows,
                         std::int64_t T, const EventSettings& settings)
    : settings_(settings),
      place_(static_cast<std::size_t>(sites.total_C()), -1),
      gathered_(rows * std::min(settings.per_row, T)) {
  settings_.per_row = std::min(settings.per_row, T);
  for (std::size_t i = 0; i < sites.size(); ++i)
    wanted_.insert(wanted_.end(), static_cast<std::size_t>(sites[i].C), chosen[i]);
}

void EventSample::add(const Batch& batch) {
  for (const LaneBatch& lane : batch.lanes) {
    const at::Tensor& g = lane.importance.lower;
    std::vector<std::int64_t> rows_of_g;
    const std::int64_t first = batch.first + lane.first_batch;
    for (std::int64_t row = 0; row < g.size(0) / batch.T; ++row)
      for (const std::int64_t t : sampled_positions(settings_, first + row, batch.T))
        rows_of_g.push_back(row * batch.T + t);
    const at::Tensor at = at::tensor(rows_of_g, at::kLong).to(g.device());
    const at::Tensor found = g.index_select(0, at).gt(settings_.threshold).nonzero().cpu().contiguous();
    const auto* event = found.const_data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < found.size(0); ++i, event += 2) {
      const auto column = static_cast<std::size_t>(event[1]);
      if (!wanted_[column]) continue;
      if (place_[column] < 0) {
        place_[column] = static_cast<std::int32_t>(gathered_.columns());
        gathered_.add_column();
      }
      gathered_.set(place_[column], first * settings_.per_row + event[0]);
    }
  }
}

Events EventSample::take() {
  Events events{.bits = BitColumns(gathered_.positions())};
  for (std::size_t c = 0; c < place_.size(); ++c) {
    if (place_[c] < 0) continue;
    events.subcomponents.push_back(static_cast<std::int32_t>(c));
    events.bits.add_column();
    for_each_bit(gathered_.bits(place_[c]),
                 [&](std::int64_t n) { events.bits.set(events.bits.columns() - 1, n); });
    gathered_.drop(place_[c]);
  }
  return events;
}

}  // namespace vpd
