#include "vpd/base/philox.hpp"

#include <array>
#include <cstdint>
#include <set>
#include <utility>

#include <gtest/gtest.h>

namespace vpd {
namespace {

using Words = std::array<std::uint32_t, 4>;

Words philox_of(RandomKey key, Words x) {
  philox(key, x[0], x[1], x[2], x[3]);
  return x;
}

// The vectors that the generator's authors publish for philox4x32-10.
TEST(Philox, GivesThePublishedWords) {
  EXPECT_EQ(philox_of({0, 0}, {0, 0, 0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox_of({0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox_of({0xa4093822, 0x299f31d0}, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, EveryPartOfTheCounterAndKeyCounts) {
  const Words base = philox_of({1, 2}, {3, 4, 5, 6});
  for (std::size_t i = 0; i < 4; ++i) {
    Words counter{3, 4, 5, 6};
    counter[i] += 1;
    EXPECT_NE(philox_of({1, 2}, counter), base) << "word " << i;
  }
  EXPECT_NE(philox_of({2, 2}, {3, 4, 5, 6}), base);
  EXPECT_NE(philox_of({1, 3}, {3, 4, 5, 6}), base);
}

TEST(MixBits, GivesSplitMix64) {
  // The first outputs of SplitMix64 seeded with 0: state advances by the odd constant that mix_bits adds.
  EXPECT_EQ(mix_bits(0), 0xe220a8397b1dcdafull);
  EXPECT_EQ(mix_bits(0x9e3779b97f4a7c15ull), 0x6e789e6aa1b965f4ull);
}

TEST(MakeKey, TellsStreamsApart) {
  std::set<std::pair<std::uint32_t, std::uint32_t>> keys;
  std::size_t streams = 0;
  for (const auto purpose :
       {RandomPurpose::mask_sources, RandomPurpose::routing, RandomPurpose::initial_sources}) {
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
      for (std::uint64_t a = 0; a < 4; ++a) {
        for (std::uint64_t b = 0; b < 4; ++b) {
          for (std::uint64_t c = 0; c < 4; ++c, ++streams) {
            const RandomKey key = make_key(seed, purpose, a, b, c);
            keys.insert({key.low, key.high});
          }
        }
      }
    }
  }
  EXPECT_EQ(keys.size(), streams);
}

TEST(ToUniform, StaysBelowOneAndIsExact) {
  EXPECT_EQ(to_uniform(0), 0.0f);
  EXPECT_EQ(to_uniform(0xff), 0.0f);
  EXPECT_EQ(to_uniform(0x100), 0x1p-24f);
  EXPECT_EQ(to_uniform(0x80000000u), 0.5f);
  EXPECT_EQ(to_uniform(0xffffffffu), 1.0f - 0x1p-24f);
}

}  // namespace
}  // namespace vpd
