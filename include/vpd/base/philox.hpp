#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define VPD_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define VPD_HOST_DEVICE inline __attribute__((always_inline))
#endif

namespace vpd {

/// Names one stream of random numbers. Every draw of the library is a pure function of (key, counter), so no
/// generator state has to be saved, a mask can be drawn again in the backward pass, and neither
/// micro-batches, threads nor the device change what is drawn.
struct RandomKey {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
};

/// What a stream is for: part of its key, so that streams never meet.
enum class RandomPurpose : std::uint32_t {
  initial_components = 1,
  initial_causal_importance = 2,
  initial_sources = 3,
  mask_sources = 4,
  routing = 5,
  evaluation = 6,
  fresh_sources = 7,
  initial_target = 8,
  pooled_sources = 12,
  merged_masks = 13,
  sparse_features = 20,
  induction_rows = 21,
  prompt_rows = 22,
  harvest = 30,
  control = 33,
  generate = 34,
};

/// Mixes a 64-bit value (the finaliser of SplitMix64): neighbouring inputs give unrelated outputs.
VPD_HOST_DEVICE std::uint64_t mix_bits(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

/// The key of a stream: `a`, `b`, `c` are whatever tells draws of one purpose apart (step, term, sample ...).
inline RandomKey make_key(std::uint64_t seed, RandomPurpose purpose, std::uint64_t a = 0, std::uint64_t b = 0,
                          std::uint64_t c = 0) {
  std::uint64_t h = mix_bits(seed);
  h = mix_bits(h ^ static_cast<std::uint64_t>(purpose));
  h = mix_bits(h ^ a);
  h = mix_bits(h ^ b);
  h = mix_bits(h ^ c);
  return {static_cast<std::uint32_t>(h), static_cast<std::uint32_t>(h >> 32)};
}

/// Four 32-bit words of Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011),
/// in place.
VPD_HOST_DEVICE void philox(RandomKey key, std::uint32_t& x0, std::uint32_t& x1, std::uint32_t& x2,
                            std::uint32_t& x3) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = static_cast<std::uint64_t>(x0) * 0xD2511F53u;
    const std::uint64_t p1 = static_cast<std::uint64_t>(x2) * 0xCD9E8D57u;
    const std::uint32_t y0 = static_cast<std::uint32_t>(p1 >> 32) ^ x1 ^ key.low;
    const std::uint32_t y2 = static_cast<std::uint32_t>(p0 >> 32) ^ x3 ^ key.high;
    x1 = static_cast<std::uint32_t>(p1);
    x3 = static_cast<std::uint32_t>(p0);
    x0 = y0;
    x2 = y2;
    key.low += 0x9E3779B9u;
    key.high += 0xBB67AE85u;
  }
}

/// The words of one block of a row: philox(key, {block, row low, row high, last}). `last` tells what shares a
/// key apart.
VPD_HOST_DEVICE void random_words(RandomKey key, std::uint32_t block, std::uint64_t row, std::uint32_t last,
                                  std::uint32_t (&words)[4]) {
  words[0] = block;
  words[1] = static_cast<std::uint32_t>(row);
  words[2] = static_cast<std::uint32_t>(row >> 32);
  words[3] = last;
  philox(key, words[0], words[1], words[2], words[3]);
}

/// A word as a number in [0, 1), a multiple of 2^-24: exact in float32, so that every dtype and device draws
/// the same.
VPD_HOST_DEVICE float to_uniform(std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

}  // namespace vpd
