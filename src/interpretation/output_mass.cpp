#include "output_mass.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include <ATen/ATen.h>

namespace vpd {
namespace {

constexpr std::int64_t width = ProbabilityBlocks::width;

/// A row of a block. Of vectors, since GCC's unroll-and-jam leaves plain loops over rows scalar.
struct BlockRow {
  static constexpr std::size_t parts = 4;
  using Part [[gnu::vector_size(sizeof(float) * width / parts)]] = float;

  std::array<Part, parts> sum{};

  void add(const float* row) {
    for (std::size_t k = 0; k < parts; ++k) {
      Part part;
      std::memcpy(&part, row + k * width / parts, sizeof part);
      sum[k] += part;
    }
  }
  void add(const BlockRow& other) {
    for (std::size_t k = 0; k < parts; ++k) sum[k] += other.sum[k];
  }
  std::array<float, width> values() const {
    std::array<float, width> values;
    std::memcpy(values.data(), &sum, sizeof values);
    return values;
  }
};

}  // namespace

ProbabilityBlocks::ProbabilityBlocks(std::int64_t positions, std::int64_t V)
    : blocks_(at::empty({(V + width - 1) / width, positions, width})) {
  if (V % width != 0) blocks_[blocks_.size(0) - 1].zero_();
}

void ProbabilityBlocks::put(std::int64_t first, const at::Tensor& probability) const {
  const at::Tensor rows = probability.contiguous();
  const std::int64_t n = rows.size(0), V = rows.size(1);
  for (std::int64_t k = 0; k < n; ++k) {
    const float* from = rows.const_data_ptr<float>() + k * V;
    float* to = blocks_.mutable_data_ptr<float>() + (first + k) * width;
    for (std::int64_t v = 0; v < V; v += width, to += positions() * width)
      std::copy_n(from + v, std::min(width, V - v), to);
  }
}

MassPlan::MassPlan(std::int64_t positions)
    : chunks_(static_cast<std::size_t>((positions + chunk - 1) / chunk)) {}

void MassPlan::add(std::int32_t column, std::span<const std::int32_t> positions,
                   std::span<const std::uint8_t> groups) {
  std::array<std::int32_t, firing_groups> cell;
  cell.fill(-1);
  for (std::size_t begin = 0, end = 0; begin < positions.size(); begin = end) {
    const std::int64_t number = positions[begin] / chunk;
    std::array<std::size_t, firing_groups> next{};  // place of each group's next one
    for (; end < positions.size() && positions[end] < (number + 1) * chunk; ++end) ++next[groups[end]];
    Chunk& to = chunks_[static_cast<std::size_t>(number)];
    std::size_t place = to.places.size();
    for (std::size_t group = 0; group < firing_groups; ++group) {
      const auto count = static_cast<std::int32_t>(next[group]);
      next[group] = place;
      if (count == 0) continue;
      place += static_cast<std::size_t>(count);
      if (cell[group] < 0) {
        cell[group] = static_cast<std::int32_t>(cells_.size());
        cells_.push_back({column, static_cast<std::uint8_t>(group)});
      }
      to.runs.push_back({cell[group], count});
    }
    to.places.resize(place);
    for (std::size_t k = begin; k < end; ++k)
      to.places[next[groups[k]]++] = static_cast<std::uint8_t>(positions[k] - number * chunk);
  }
}

void MassPlan::prepare(std::vector<HarvestColumn>& columns, std::int64_t V) const {
  for (const Cell& cell : cells_)
    columns[static_cast<std::size_t>(cell.column)].mass[cell.group].resize(static_cast<std::size_t>(V));
}

void add_masses(const ProbabilityBlocks& blocks, std::int64_t b, std::span<const MassPlan> plans,
                std::vector<HarvestColumn>& columns, std::vector<std::int64_t>& marginal) {
  // In float32: of a chunk first and then of all chunks, which leaves a relative error of 1e-6.
  BlockRow everywhere;
  std::vector<std::vector<BlockRow>> sums;
  for (const MassPlan& plan : plans) sums.emplace_back(plan.cells().size());
  for (std::int64_t first = 0, number = 0; first < blocks.positions(); first += MassPlan::chunk, ++number) {
    const float* tile = blocks.block(b) + first * width;
    BlockRow all;
    for (std::int64_t n = 0; n < std::min(MassPlan::chunk, blocks.positions() - first); ++n)
      all.add(tile + n * width);
    everywhere.add(all);
    for (std::size_t k = 0; k < plans.size(); ++k) {
      const MassPlan::Chunk& chunk = plans[k].chunk_at(number);
      const std::uint8_t* place = chunk.places.data();
      for (const MassPlan::Run& run : chunk.runs) {
        BlockRow sum;
        for (const std::uint8_t* end = place + run.count; place < end; ++place)
          sum.add(tile + *place * width);
        sums[k][static_cast<std::size_t>(run.cell)].add(sum);
      }
    }
  }
  const auto put = [&](const BlockRow& sum, std::vector<std::int64_t>& mass) {
    const std::array<float, width> values = sum.values();
    const std::size_t first = static_cast<std::size_t>(b * width),
                      known = std::min<std::size_t>(width, mass.size() - first);
    for (std::size_t v = 0; v < known; ++v) mass[first + v] += mass_units(values[v]);
  };
  put(everywhere, marginal);
  for (std::size_t k = 0; k < plans.size(); ++k) {
    const std::span<const MassPlan::Cell> cells = plans[k].cells();
    for (std::size_t i = 0; i < cells.size(); ++i)
      put(sums[k][i], columns[static_cast<std::size_t>(cells[i].column)].mass[cells[i].group]);
  }
}

}  // namespace vpd
