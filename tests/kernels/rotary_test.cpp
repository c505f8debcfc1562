#include "vpd/kernels/rotary.hpp"

#include <array>
#include <cmath>
#include <vector>

#include <ATen/ATen.h>

#include "errors.hpp"
#include "support/check_gradient.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

class RotaryTest : public DeviceTest {
 protected:
  /// Pairs as complex numbers, multiplied by exp(i angle): x [N, K d_head] float64.
  static at::Tensor reference(const at::Tensor& x, std::int64_t T, std::int64_t d_head, double base,
                              bool adjacent, double sign) {
    const std::int64_t N = x.size(0), K = x.size(1) / d_head, half = d_head / 2;
    const at::Tensor pairs =
        adjacent ? x.reshape({N, K, half, 2}) : x.reshape({N, K, 2, half}).transpose(2, 3);
    at::Tensor angle = at::empty({N, 1, half}, at::kDouble);
    for (std::int64_t n = 0; n < N; ++n) {
      for (std::int64_t j = 0; j < half; ++j) {
        angle[n][0][j] = sign * static_cast<double>(n % T) *
                         std::pow(base, -2.0 * static_cast<double>(j) / static_cast<double>(d_head));
      }
    }
    const at::Tensor turned =
        at::view_as_real(at::view_as_complex(pairs.clone(at::MemoryFormat::Contiguous)) *
                         at::polar(at::ones_like(angle), angle));
    return (adjacent ? turned : turned.transpose(2, 3)).reshape(x.sizes());
  }
};

TEST_P(RotaryTest, TurnsPairs) {
  for (const auto& [B, T, K, d_head] : {std::array<std::int64_t, 4>{1, 1, 1, 2},
                                        {2, 3, 1, 6},
                                        {1, 7, 3, 8},
                                        {3, 5, 2, 16},
                                        {2, 2, 5, 10},
                                        {2, 9, 6, 128}}) {
    for (const bool adjacent : {false, true}) {
      for (const bool inverse : {false, true}) {
        for (const bool strided : {false, true}) {
          SCOPED_TRACE(::testing::Message() << B << " x " << T << ", " << K << " heads of " << d_head
                                            << (adjacent ? " adjacent" : "") << (inverse ? " inverse" : "")
                                            << (strided ? " strided" : ""));
          at::Tensor x = real(uniform_values({B * T, K * d_head}, 1));
          if (strided) x = column_slice(x);
          const RotaryTable table = make_rotary_table(T, d_head, 100.0, adjacent, dtype(), device());
          const at::Tensor expected = reference(exact(x), T, d_head, 100.0, adjacent, inverse ? -1.0 : 1.0);
          // Angles below T have an error of their size, which the table passes on; a device's powf may be 4
          // units in the last place off.
          const double roundings = 8.0 + 4.0 * static_cast<double>(T);
          const at::Tensor y = rotate(x, table, inverse);
          expect_close(y, expected.to(dtype()), rounding(wide(), roundings, 1.0, dtype()), "y");
          if (dtype() != at::kBFloat16) {
            expect_close(rotate(y, table, !inverse), x.contiguous(), rounding(wide(), 8.0, 1.0),
                         "there and back");
          }
        }
      }
    }
  }
}

TEST_P(RotaryTest, TablesHoldAnglesInTheTypeBesideTheActivations) {
  const RotaryTable table = make_rotary_table(5, 4, 10000.0, false, dtype(), device());
  EXPECT_EQ(table.cosine.scalar_type(), wide());
  EXPECT_EQ(table.cosine.sizes(), at::IntArrayRef({5, 2}));
  expect_close(table.sine.select(1, 1), at::arange(5, at::kDouble).mul(0.01).sin().to(wide()),
               rounding(wide(), 4, 0.05), "sine");
}

TEST_P(RotaryTest, TablesOfGivenFrequencies) {
  const at::Tensor frequency = broad(at::tensor({1.0, 0.25, 0.03}, at::kDouble));
  const RotaryTable table = make_rotary_table(7, frequency, true);
  EXPECT_TRUE(table.adjacent);
  const at::Tensor angle = at::arange(7, at::kDouble).unsqueeze(1) * exact(frequency).unsqueeze(0);
  expect_close(table.cosine, angle.cos().to(wide()), rounding(wide(), 4, 6.0), "cosine");
  expect_close(table.sine, angle.sin().to(wide()), rounding(wide(), 4, 6.0), "sine");
}

TEST_P(RotaryTest, TablesOfGrowingLengthsAreFewAndTheSameToTheBit) {
  const at::Tensor frequency = broad(at::pow(1e4, at::arange(37, at::kDouble) / -37.0));
  int made = 0;
  const RotaryTables tables([&](std::int64_t T) {
    ++made;
    return make_rotary_table(T, frequency, false);
  });
  const RotaryTable& first = tables.of(1);
  for (std::int64_t T = 1; T <= 300; ++T) {
    const RotaryTable &found = tables.of(T), expected = make_rotary_table(T, frequency, false);
    EXPECT_TRUE(found.cosine.is_contiguous());
    expect_identical(found.cosine, expected.cosine, "cosine of " + std::to_string(T));
    expect_identical(found.sine, expected.sine, "sine of " + std::to_string(T));
  }
  EXPECT_EQ(made, 10) << "1, 2, 4, ... 512";
  EXPECT_EQ(&tables.of(1), &first);
  expect_identical(tables.of(5).cosine, make_rotary_table(5, frequency, false).cosine, "a shorter one again");
  EXPECT_EQ(made, 10);
  expect_usage_error([&] { static_cast<void>(tables.of(0)); }, "at least one position");
}

TEST_P(RotaryTest, SaysWhatIsWrong) {
  expect_usage_error([&] { make_rotary_table(4, 3, 1e4, false, dtype(), device()); }, "even head width");
  expect_usage_error([&] { make_rotary_table(4, 0, 1e4, false, dtype(), device()); }, "even head width");
  expect_usage_error([&] { make_rotary_table(0, 4, 1e4, false, dtype(), device()); },
                     "at least one position");
  expect_usage_error([&] { make_rotary_table(3, broad(at::ones({0})), false); }, "one frequency");
  const RotaryTable table = make_rotary_table(4, 6, 1e4, false, dtype(), device());
  const at::Tensor x = real(uniform_values({8, 12}, 1));
  expect_usage_error([&] { rotate(x.narrow(0, 0, 7), table, false); }, "whole sequences of 4");
  RotaryTable elsewhere = table;
  elsewhere.sine = elsewhere.sine.to(at::kMeta);
  expect_usage_error([&] { rotate(x, elsewhere, false); }, "on one device");
  expect_usage_error([&] { rotate(x.narrow(1, 0, 10), table, false); }, "whole heads of 6");
  expect_usage_error([&] { rotate(x.t(), table, false); }, "rotary embedding: x: expected");
  expect_usage_error([&] { rotate(x.to(at::kHalf), table, false); }, "expected float32, float64 or bfloat16");
  RotaryTable wrong = table;
  wrong.sine = wrong.sine.to(wide() == at::kDouble ? at::kFloat : at::kDouble);
  expect_usage_error([&] { rotate(x, wrong, false); }, "rotary embedding: table: expected");
  wrong.sine = table.sine.narrow(0, 0, 3);
  expect_usage_error([&] { rotate(x, wrong, false); }, "rotary embedding: table: expected");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, RotaryTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble, at::kBFloat16})),
                         device_case_name);

TEST(RotaryGradient, IsTheInverseRotation) {
  for (const bool adjacent : {false, true}) {
    const RotaryTable table = make_rotary_table(3, 4, 10.0, adjacent, at::kDouble, at::kCPU);
    const at::Tensor x = uniform_values({6, 8}, 1), dy = uniform_values({6, 8}, 2);
    check_gradient(
        [&](const std::vector<at::Tensor>& in) { return (rotate(in[0], table, false) * dy).sum(); }, {x},
        {rotate(dy, table, true)}, adjacent ? "adjacent" : "halves");
  }
}

}  // namespace
}  // namespace vpd
