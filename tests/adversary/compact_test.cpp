// Persistent sources that are kept in 16 bits.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/support.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "support/processes.hpp"
#include "vpd/adversary/persistent.hpp"
#include "vpd/base/error.hpp"

namespace vpd::testing {
namespace {

const PersistentAdversaryConfig compact{.storage = SourceStorage::compact};

class CompactSources : public DeviceTest {
 protected:
  static constexpr std::int64_t B = 4, T = 5;
  static constexpr double level = 1.0 / 32767.0;
  PersistentAdversary make(const PersistentAdversaryConfig& config = compact,
                           std::optional<Range> rows = std::nullopt) const {
    return PersistentAdversary(config, sites_, B, T, {device(), dtype(), dtype()}, /*seed=*/3, /*term=*/1,
                               rows);
  }
  /// Whether two adversaries hold the same bits.
  ::testing::AssertionResult same(const PersistentAdversary& a, const PersistentAdversary& b) const {
    const NamedTensors one = a.state(sites_), other = b.state(sites_);
    if (one.size() != other.size()) return ::testing::AssertionFailure() << "another number of tensors";
    for (std::size_t i = 0; i < one.size(); ++i) {
      if (!one[i].second.equal(other[i].second)) return ::testing::AssertionFailure() << one[i].first;
    }
    return ::testing::AssertionSuccess();
  }
  static SafetensorsFile saved(const std::filesystem::path& path, const NamedTensors& state) {
    NamedTensors named;
    for (const auto& [name, value] : state) named.emplace_back("x/" + name, value);
    save_safetensors(path, named);
    return SafetensorsFile(path);
  }
  /// Values for the moments of one site.
  static void fill(const NamedTensors& state) {
    for (const auto& [name, value] : state) {
      if (!name.starts_with("source/")) at::Tensor(value).copy_(uniform_values(value.sizes(), 4, 0.0, 1e-6));
    }
  }

  TemporaryDirectory directory_;
  Sites sites_ = Sites({{.name = "a", .matrix = 0, .d_in = 2, .d_out = 2, .C = 3},
                        {.name = "b", .matrix = 1, .d_in = 2, .d_out = 2, .C = 9}},
                       2);
};

TEST_P(CompactSources, StartAtTheLevelsNearestToFloat32) {
  for (const SourceInitConfig& init : {SourceInitConfig{UniformInitConfig{}}, {ConstantInitConfig{0.3}}}) {
    PersistentAdversaryConfig narrow = compact, wide;
    narrow.init = wide.init = init;
    const NamedTensors found = make(narrow).state(sites_), expected = make(wide).state(sites_);
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      const bool source = found[i].first.starts_with("source/");
      EXPECT_EQ(found[i].first, expected[i].first);
      EXPECT_EQ(found[i].second.scalar_type(), source ? at::kShort : at::kBFloat16);
      const at::Tensor values = found[i].second.to(at::kCPU, at::kDouble) * (source ? level : 1.0);
      expect_close(values, expected[i].second.to(at::kCPU, at::kDouble), {0.0, 0.5001 * level},
                   found[i].first);
    }
  }
}

TEST_P(CompactSources, ComeBackFromAFileBitForBit) {
  const PersistentAdversary made = make();
  fill(made.state(sites_));
  PersistentAdversaryConfig elsewhere = compact;
  elsewhere.init = ConstantInitConfig{0.5};
  PersistentAdversary other = make(elsewhere);
  EXPECT_FALSE(same(made, other));
  other.load(saved(directory_ / "state", made.state(sites_)), "x/", sites_);
  EXPECT_TRUE(same(made, other));
}

// From float32 to the nearest level, and back to float32 without another change.
TEST_P(CompactSources, ReadAndAreReadByFloat32) {
  const PersistentAdversary wide = make({});
  fill(wide.state(sites_));
  PersistentAdversary narrow = make(), back = make({}), again = make();
  narrow.load(saved(directory_ / "wide", wide.state(sites_)), "x/", sites_);
  back.load(saved(directory_ / "narrow", narrow.state(sites_)), "x/", sites_);
  again.load(saved(directory_ / "back", back.state(sites_)), "x/", sites_);
  EXPECT_TRUE(same(again, narrow));
  const NamedTensors found = back.state(sites_), expected = wide.state(sites_);
  for (std::size_t i = 0; i < found.size(); ++i) {
    const Tolerance tolerance = found[i].first.starts_with("source/")
                                    ? Tolerance{0.0, 0.5001 * level}
                                    : Tolerance{epsilon(at::kBFloat16) / 2, 0.0};
    expect_close(found[i].second, expected[i].second, tolerance, found[i].first);
  }
}

TEST_P(CompactSources, ADamagedFileIsRefused) {
  const PersistentAdversary made = make();
  NamedTensors state = made.state(sites_);
  PersistentAdversary other = make();
  const at::Tensor negative = state[0].second.clone();
  negative.view({-1})[2] = -7;
  state[0].second = negative;
  EXPECT_DATA_ERROR("'x/source/a': expected sources of at least 0, found -7",
                    other.load(saved(directory_ / "negative", state), "x/", sites_));
  state[0].second = negative.narrow(1, 0, 2);
  EXPECT_DATA_ERROR("'x/source/a': expected the shape [4, 5, 4], found [4, 2, 4]",
                    other.load(saved(directory_ / "short", state), "x/", sites_));
}

TEST_P(CompactSources, OfTwoProcessesAreSavedTogether) {
  if (!can_test_processes()) GTEST_SKIP() << "NOT TESTED: this build has no process groups";
  const NamedTensors whole = make().state(sites_);
  as_processes(2, [&](Processes& processes) {
    const std::int64_t first = processes.writes() ? 0 : B / 2;
    const NamedTensors gathered = make(compact, Range{first, first + B / 2}).state(sites_, processes);
    ASSERT_EQ(gathered.size(), processes.writes() ? whole.size() : 0);
    for (std::size_t i = 0; i < gathered.size(); ++i) {
      EXPECT_EQ(gathered[i].first, whole[i].first);
      EXPECT_TRUE(gathered[i].second.equal(whole[i].second.cpu())) << whole[i].first;
    }
  });
}

TEST_P(CompactSources, SaturationIsThatOfTheirValues) {
  PersistentAdversaryConfig config = compact;
  for (const auto& [value, part] : {std::pair{0.0, 1.0}, {0.009, 1.0}, {0.02, 0.0}, {0.995, 1.0}}) {
    config.init = ConstantInitConfig{value};
    EXPECT_EQ(make(config).saturated().item<double>(), part) << value;
  }
}

TEST(CompactSourcesInFloat64, AreRefused) {
  const Sites sites({{.name = "a", .matrix = 0, .d_in = 2, .d_out = 2, .C = 3}}, 1);
  EXPECT_THROW(PersistentAdversary(compact, sites, 4, 5, {at::kCPU, at::kDouble, at::kDouble}, 3, 1),
               UsageError);
}

INSTANTIATE_TEST_SUITE_P(Everywhere, CompactSources, ::testing::ValuesIn(device_cases({at::kFloat})),
                         device_case_name);

}  // namespace
}  // namespace vpd::testing
