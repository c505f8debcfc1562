#include "vpd/kernels/positions.hpp"

#include <algorithm>
#include <vector>

#include <ATen/ATen.h>

#include "errors.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

class PositionsTest : public DeviceTest {
 protected:
  at::Tensor int32(const std::vector<std::int64_t>& values) const {
    return at::tensor(values, at::kLong).to(device(), at::kInt);
  }
};

TEST_P(PositionsTest, AreWhereRoutingIsOnInOrder) {
  for (const std::int64_t N : {1, 2, 31, 512, 513, 1031, 2500}) {
    for (const double above : {-2.0, -0.3, 0.8, 2.0}) {  // of values between -1 and 1: all, many, few, none
      for (const std::int64_t most : {std::int64_t{0}, N / 3, N, 2 * N}) {
        SCOPED_TRACE(::testing::Message() << N << " positions above " << above << ", at most " << most);
        const std::int64_t L = 3;
        const at::Tensor routing = uniform_values({L, N}, 5).gt(above).to(at::kByte);
        const std::vector<MaskedPositions> sites = masked_positions(routing.to(device()), most);
        ASSERT_EQ(sites.size(), 3u);
        for (std::int64_t l = 0; l < L; ++l) {
          std::vector<std::int64_t> positions, places(static_cast<std::size_t>(N), -1);
          for (std::int64_t n = 0; n < N; ++n) {
            if (!routing[l][n].item<bool>() || static_cast<std::int64_t>(positions.size()) == most) continue;
            places[static_cast<std::size_t>(n)] = static_cast<std::int64_t>(positions.size());
            positions.push_back(n);
          }
          if (!device().is_cpu()) positions.resize(static_cast<std::size_t>(std::min(most, N)), -1);
          const MaskedPositions& site = sites[static_cast<std::size_t>(l)];
          expect_identical(site.positions, int32(positions), "positions");
          expect_identical(site.places, int32(places), "places");
        }
      }
    }
  }
  EXPECT_TRUE(masked_positions(at::empty({0, 4}, at::TensorOptions(device()).dtype(at::kByte)), 4).empty());
}

TEST_P(PositionsTest, SelectedRowsAreCopiesAndZeroWhereThereIsNone) {
  for (const std::int64_t d : {1, 3, 8, 64, 131, 2056}) {
    for (const bool strided : {false, true}) {
      const at::Tensor whole = real(uniform_values({7, d}, 1)), x = strided ? column_slice(whole) : whole;
      const at::Tensor out = select_rows(x, int32({6, -1, 0, 3, -1}));
      at::Tensor expected = at::zeros({5, d}, whole.options());
      expected[0].copy_(whole[6]), expected[2].copy_(whole[0]), expected[3].copy_(whole[3]);
      expect_identical(out, expected, "selected rows");
    }
  }
  EXPECT_EQ(select_rows(real(uniform_values({7, 3}, 1)), int32({})).sizes(), at::IntArrayRef({0, 3}));
}

TEST_P(PositionsTest, DotsAreOfTheRowsAtPositions) {
  for (const std::int64_t d : {1, 3, 8, 64, 131, 2056}) {
    for (const bool strided : {false, true}) {
      const auto layout = [&](const at::Tensor& x) { return strided ? column_slice(x) : x; };
      const at::Tensor a = real(uniform_values({7, d}, 1)), b = real(uniform_values({7, d}, 2));
      const at::Tensor out = dot_rows(layout(a), layout(b), int32({6, -1, 0, 3}));
      const at::Tensor all = (exact(a) * exact(b)).sum(1), expected = at::zeros({4}, at::kDouble);
      expected[0].copy_(all[6]), expected[2].copy_(all[0]), expected[3].copy_(all[3]);
      expect_close(out, expected.to(wide()), rounding(wide(), 4 + static_cast<double>(d), 1.0), "dots");
    }
  }
}

TEST_P(PositionsTest, CombinedRowsAreScaledAndAddedToAndTheOthersStay) {
  for (const std::int64_t d : {1, 3, 8, 64, 131, 2056}) {
    for (const bool strided : {false, true}) {
      const at::Tensor before = real(uniform_values({5, d}, 1)), part = real(uniform_values({3, d}, 2)),
                       scale = broad(uniform_values({3}, 3, 0.0, 1.0));
      const at::Tensor y = strided ? column_slice(before) : before.clone();
      combine_rows(y, scale, part, int32({2, -1, 0, -1, 1}));
      at::Tensor expected = exact(before);
      const at::Tensor scales = exact(scale), parts = exact(part);
      expected[0].mul_(scales[2]).add_(parts[2]);
      expected[2].mul_(scales[0]).add_(parts[0]);
      expected[4].mul_(scales[1]).add_(parts[1]);
      expect_close(y, expected.to(dtype()), rounding(wide(), 2, 2.0, dtype()), "combined rows");
      if (strided) {
        EXPECT_TRUE(surroundings_are_untouched(y));
      }
    }
  }
  const at::Tensor y = real(uniform_values({2, 3}, 1));
  combine_rows(y, broad(at::empty({0})), real(at::empty({0, 3})), int32({-1, -1}));
  expect_identical(y, real(uniform_values({2, 3}, 1)), "nothing added");
}

TEST_P(PositionsTest, SaysWhatIsWrong) {
  const at::Tensor x = real(uniform_values({4, 3}, 1)), scale = broad(at::ones({2}));
  const at::Tensor places = int32({0, 1, -1, -1}), part = real(uniform_values({2, 3}, 2));
  expect_usage_error([&] { masked_positions(x, 4); }, "expected routing as contiguous uint8 [L, N]");
  expect_usage_error([&] { select_rows(x, places.to(at::kLong)); }, "expected positions of rows as");
  expect_usage_error([&] { select_rows(x.t(), places); }, "selected rows: expected");
  expect_usage_error([&] { dot_rows(x, x.narrow(0, 0, 3), places); },
                     "products of rows: the other: expected");
  expect_usage_error([&] { dot_rows(x, x.to(at::kMeta), places); }, "on one device");
  expect_usage_error([&] { combine_rows(x, scale, part.narrow(1, 0, 2), places); },
                     "combined rows: part: expected");
  expect_usage_error([&] { combine_rows(x, scale.narrow(0, 0, 1), part, places); },
                     "for each of 2 rows and a place for each of 4 positions, found 1");
  expect_usage_error([&] { combine_rows(x, scale, part, places.narrow(0, 0, 3)); }, "and 3");
  expect_usage_error([&] { combine_rows(x, scale, part.to(at::kMeta), places); }, "on one device");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, PositionsTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble, at::kBFloat16})),
                         device_case_name);

}  // namespace
}  // namespace vpd
