#include "examples.hpp"

#include <algorithm>
#include <bit>
#include <tuple>

namespace vpd {
namespace {

auto order(std::uint64_t rank, std::int64_t row, std::int32_t centre) {
  return std::tuple(rank, row, centre);
}
auto order(const KeptExample& example) { return order(example.rank, example.row, example.centre); }

}  // namespace

std::uint64_t rank_of_strength(float strength) {
  return ~std::uint64_t{std::bit_cast<std::uint32_t>(strength)};  // numbers from 0 on sort as their bits do
}

std::int64_t key_of(ExampleKind kind, std::uint64_t rank) {
  return static_cast<std::int64_t>(kind == ExampleKind::strongest ? ~rank : rank);
}
std::uint64_t rank_of(ExampleKind kind, std::int64_t key) {
  const auto bits = static_cast<std::uint64_t>(key);
  return kind == ExampleKind::strongest ? ~bits : bits;
}

bool BottomK::takes(std::uint64_t rank, std::int64_t row, std::int32_t centre, std::size_t most) const {
  return kept_.size() < most || (most > 0 && order(rank, row, centre) < order(kept_.back()));
}

void BottomK::keep(KeptExample example, std::size_t most) {
  const auto place =
      std::upper_bound(kept_.begin(), kept_.end(), example,
                       [](const KeptExample& a, const KeptExample& b) { return order(a) < order(b); });
  kept_.insert(place, std::move(example));
  if (kept_.size() > most) kept_.pop_back();
}

void BottomK::merge(const BottomK& other, std::size_t most) {
  for (const KeptExample& example : other.kept_) {
    if (takes(example.rank, example.row, example.centre, most)) keep(example, most);
  }
}

}  // namespace vpd
