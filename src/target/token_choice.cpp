#include "vpd/target/token_choice.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "vpd/base/error.hpp"
#include "vpd/base/philox.hpp"

namespace vpd {
namespace {

/// The first of `tokens` at which their probabilities, added up, are above `draw` times their sum.
template <class Tokens>
std::int64_t drawn(const Tokens& tokens, std::span<const double> p, double sum, double draw) {
  double left = draw * sum;
  std::int64_t last = 0;  // that is possible at all: rounding may leave a rest behind it
  for (const std::int64_t token : tokens) {
    const double one = p[static_cast<std::size_t>(token)];
    if (one > 0.0) last = token;
    left -= one;
    if (left < 0.0) return token;
  }
  return last;
}

/// As few of the most probable tokens as have `top_p` together, the most probable first. A heap gives them
/// one by one: no more is sorted than is wanted.
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
  return nucleus;
}

std::int64_t most_probable(std::span<const double> logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

}  // namespace

double generation_draw(std::uint64_t seed, std::uint64_t row, std::uint64_t position) {
  std::uint32_t words[4];
  random_words(make_key(seed, RandomPurpose::generate, row), 0, position, 0, words);
  return static_cast<double>((std::uint64_t{words[0]} << 32 | words[1]) >> 11) * 0x1p-53;
}

std::vector<std::int64_t> choose_tokens(const at::Tensor& logits, const TokenChoice& choice,
                                        const std::vector<double>& draws) {
  const std::int64_t B = logits.size(0), V = logits.size(1);
  VPD_CHECK(static_cast<std::int64_t>(draws.size()) == B, UsageError, "expected {} draws, found {}", B,
            draws.size());
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
      } else if (choice.top_p >= 1.0) {
        tokens[i] = drawn(all, row, sum, draws[i]);
      } else {
        const std::vector<std::int64_t> nucleus = nucleus_of(row, all, choice.top_p);
        double together = 0.0;
        for (const std::int64_t token : nucleus) together += row[static_cast<std::size_t>(token)];
        tokens[i] = drawn(nucleus, row, together, draws[i]);
      }
    }
  });
  return tokens;
}

}  // namespace vpd
