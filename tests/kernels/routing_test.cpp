#include "vpd/kernels/routing.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include <ATen/ATen.h>

#include "errors.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

constexpr RandomKey routing_key{0x2468ace0u, 0x13579bdfu};

std::uint32_t word(std::uint32_t block, std::uint64_t row, std::int64_t which) {
  std::uint32_t x[4] = {block, static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(row >> 32), 0};
  philox(routing_key, x[0], x[1], x[2], x[3]);
  return x[which];
}

std::uint32_t word_of_site(std::uint64_t row, std::int64_t l) {
  return word(static_cast<std::uint32_t>(l / 4), row, l % 4);
}

/// The k sites with the smallest words, k from a block of its own.
at::Tensor subset_reference(std::int64_t L, std::int64_t N, std::int64_t first_row) {
  at::Tensor out = at::zeros({L, N}, at::kByte);
  auto on = out.accessor<std::uint8_t, 2>();
  for (std::int64_t n = 0; n < N; ++n) {
    const auto row = static_cast<std::uint64_t>(n + first_row);
    std::vector<std::int64_t> order(static_cast<std::size_t>(L));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      return word_of_site(row, a) < word_of_site(row, b);
    });
    const auto k = static_cast<std::int64_t>(
        std::floor(static_cast<double>(word(4096, row, 0)) * 0x1p-32 * static_cast<double>(L)));
    for (std::int64_t i = 0; i <= k; ++i) on[order[static_cast<std::size_t>(i)]][n] = 1;
  }
  return out;
}

class RoutingTest : public DeviceTest {};

TEST_P(RoutingTest, SubsetsAreThoseOfTheCounters) {
  for (const std::int64_t L : {1, 2, 3, 4, 5, 24, 101, 700}) {
    for (const std::int64_t first_row : {std::int64_t{0}, (std::int64_t{1} << 32) - 3}) {
      SCOPED_TRACE(::testing::Message() << L << " sites from row " << first_row);
      expect_identical(draw_subset_routing(routing_key, L, 133, first_row, device()),
                       subset_reference(L, 133, first_row), "routing");
    }
  }
}

TEST_P(RoutingTest, TheLargestNumberOfSitesIsRouted) {
  expect_identical(draw_subset_routing(routing_key, 4096, 5, 0, device()), subset_reference(4096, 5, 0),
                   "routing");
}

TEST_P(RoutingTest, SubsetSizesAreUniform) {
  const std::int64_t L = 6, N = 60000;
  const at::Tensor routing = exact(draw_subset_routing(routing_key, L, N, 0, device()));
  const at::Tensor size = routing.sum(0);
  const double share = static_cast<double>(N) / static_cast<double>(L);
  const double five_sigma = 5 * std::sqrt(share * (1.0 - 1.0 / static_cast<double>(L)));
  for (std::int64_t k = 1; k <= L; ++k)
    EXPECT_NEAR(size.eq(k).sum().item<double>(), share, five_sigma) << "k " << k;
  EXPECT_EQ(size.eq(0).sum().item<double>(), 0.0);
  // Every site is as often in: (L + 1) / 2L of the time; and every pair: E[k (k - 1)] / (L (L - 1)) = (L + 1)
  // / 3L.
  const double n = static_cast<double>(N), single = 7.0 / 12.0, pair = 7.0 / 18.0;
  for (std::int64_t a = 0; a < L; ++a) {
    EXPECT_NEAR(routing[a].sum().item<double>(), single * n, 5 * std::sqrt(n * single * (1 - single)))
        << "site " << a;
    for (std::int64_t b = 0; b < a; ++b) {
      EXPECT_NEAR((routing[a] * routing[b]).sum().item<double>(), pair * n,
                  5 * std::sqrt(n * pair * (1 - pair)));
    }
  }
}

TEST_P(RoutingTest, StaticRoutingHasItsProbability) {
  const std::int64_t L = 5, N = 20000;
  for (const double probability : {0.0, 0.25, 0.9, 1.0}) {
    const at::Tensor routing = exact(draw_static_routing(routing_key, probability, L, N, 0, device()));
    const double n = static_cast<double>(N), five_sigma = 5 * std::sqrt(n * probability * (1 - probability));
    for (std::int64_t l = 0; l < L; ++l)
      EXPECT_NEAR(routing[l].sum().item<double>(), n * probability, five_sigma);
  }
}

TEST_P(RoutingTest, StaticRoutingIsThatOfTheCounters) {
  at::Tensor expected = at::zeros({7, 9}, at::kByte);
  for (std::int64_t l = 0; l < 7; ++l) {
    for (std::int64_t n = 0; n < 9; ++n) {
      expected[l][n] = to_uniform(word_of_site(static_cast<std::uint64_t>(n + 4), l)) < 0.375f ? 1 : 0;
    }
  }
  expect_identical(draw_static_routing(routing_key, 0.375, 7, 9, 4, device()), expected, "routing");
}

TEST_P(RoutingTest, PartsOfTheBatchDrawWhatTheWholeDraws) {
  for (const std::int64_t split : {1, 128, 200}) {
    const auto parts = [&](const auto& draw) {
      expect_identical(at::cat({draw(split, 10), draw(301 - split, 10 + split)}, 1), draw(301, 10),
                       "routing");
    };
    parts([&](std::int64_t N, std::int64_t first) {
      return draw_subset_routing(routing_key, 9, N, first, device());
    });
    parts([&](std::int64_t N, std::int64_t first) {
      return draw_static_routing(routing_key, 0.5, 9, N, first, device());
    });
  }
  EXPECT_EQ(draw_subset_routing(routing_key, 3, 0, 0, device()).sizes(), at::IntArrayRef({3, 0}));
}

TEST_P(RoutingTest, SaysWhatIsWrong) {
  expect_usage_error([&] { draw_subset_routing(routing_key, 0, 4, 0, device()); },
                     "1 to 4096 sites, found 0");
  expect_usage_error([&] { draw_static_routing(routing_key, 0.5, 4097, 4, 0, device()); },
                     "1 to 4096 sites, found 4097");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, RoutingTest, ::testing::ValuesIn(device_cases({at::kFloat})),
                         device_case_name);

}  // namespace
}  // namespace vpd
