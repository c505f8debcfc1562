#include "vpd/target/token_choice.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "vpd/base/error.hpp"
#include "vpd/base/philox.hpp"

namespace vpd {
namespace {

/// The numbers E_v of one place: -ln(1 - u) of u in (0, 1), an odd multiple of 2^-54, so that even the rarest
/// tokens can be drawn. A block of philox has those of two tokens.
class Race {
 public:
  explicit Race(const DrawPlace& place)
      : key_(make_key(place.seed, RandomPurpose::generate, place.row)), position_(place.position) {}

  /// Which of `tokens`, ascending, wins.
  std::int64_t winner(const std::vector<std::int64_t>& tokens, std::span<const double> p) const {
    std::uint32_t words[4] = {};
    std::int64_t block = -1, winner = tokens.front();
    double least = std::numeric_limits<double>::infinity();
    for (const std::int64_t v : tokens) {
      if (v / 2 != block) {
        block = v / 2;
        random_words(key_, static_cast<std::uint32_t>(block), position_, 0, words);
      }
      const std::uint64_t bits = std::uint64_t{words[2 * (v % 2)]} << 32 | words[2 * (v % 2) + 1];
      const double u = (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53;
      const double bound = least * p[static_cast<std::size_t>(v)];
      if (!(u < bound)) continue;  // E_v is no smaller than u: most logarithms need not be taken
      if (const double E = -std::log1p(-u); E < bound) {
        least = E / p[static_cast<std::size_t>(v)];
        winner = v;
      }
    }
    return winner;
  }

 private:
  RandomKey key_;
  std::uint64_t position_;
};

/// As few of the most probable tokens as have `top_p` together, ascending. A heap gives the most probable
/// ones one by one: no more is sorted than is wanted.
std::vector<std::int64_t> nucleus_of(std::span<const double> p, const std::vector<std::int64_t>& all,
                                     double top_p) {
  const auto less_probable = [&](std::int64_t a, std::int64_t b) {
    const double pa = p[static_cast<std::size_t>(a)], pb = p[static_cast<std::size_t>(b)];
    return pa != pb ? pa < pb : a > b;
  };
  std::vector<std::int64_t> heap = all, nucleus;
  std::make_heap(heap.begin(), heap.end(), less_probable);
  double together = 0.0;
  do {
    std::pop_heap(heap.begin(), heap.end(), less_probable);
    nucleus.push_back(heap.back());
    together += p[static_cast<std::size_t>(heap.back())];
    heap.pop_back();
  } while (together < top_p && !heap.empty());
  std::sort(nucleus.begin(), nucleus.end());
  return nucleus;
}

std::int64_t most_probable(std::span<const double> logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

}  // namespace

std::vector<std::int64_t> choose_tokens(const at::Tensor& logits, const TokenChoice& choice,
                                        const std::vector<DrawPlace>& places) {
  const std::int64_t B = logits.size(0), V = logits.size(1);
  VPD_CHECK(static_cast<std::int64_t>(places.size()) == B, UsageError, "expected {} places, found {}", B,
            places.size());
  const bool greedy = choice.temperature <= 0.0;
  at::Tensor rows = logits.to(at::kDouble);
  if (!greedy) {
    // The largest is taken away first, so that no temperature makes it infinite.
    if (choice.temperature != 1.0) rows = (rows - rows.amax(1, /*keepdim=*/true)) / choice.temperature;
    rows = rows.softmax(1);
  }
  rows = rows.cpu().contiguous();
  std::vector<std::int64_t> all(static_cast<std::size_t>(V)), tokens(static_cast<std::size_t>(B));
  std::iota(all.begin(), all.end(), std::int64_t{0});
  at::parallel_for(0, B, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      const std::span<const double> row(rows.const_data_ptr<double>() + b * V, static_cast<std::size_t>(V));
      const double sum = std::accumulate(row.begin(), row.end(), 0.0);
      VPD_CHECK(!std::isnan(sum), NumericalError,
                "expected logits that are numbers, found NaN or infinite ones: the model cannot be computed "
                "with at this precision, or its weights are damaged");
      const auto i = static_cast<std::size_t>(b);
      if (greedy) {
        tokens[i] = most_probable(row);
      } else {
        const bool whole = choice.top_p >= 1.0;
        tokens[i] = Race(places[i]).winner(whole ? all : nucleus_of(row, all, choice.top_p), row);
      }
    }
  });
  return tokens;
}

}  // namespace vpd
