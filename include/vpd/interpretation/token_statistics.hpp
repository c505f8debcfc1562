#pragma once

// What a subcomponent's firings say of a token, and what the firings of one say of another.

#include <cstdint>
#include <span>

namespace vpd {

/// Of a token v and the firings of c: `count` firings at v (or the mass that the target gives v there), of
/// `firings` in all, where v comes `total` times (or has that mass) in `positions` positions. What is not
/// defined is 0.
struct TokenScores {
  double recall = 0.0;     ///< P(v | c fires)
  double precision = 0.0;  ///< P(c fires | v)
  double lift = 0.0;       ///< precision over the part of all positions where c fires
  double pmi = 0.0;        ///< the logarithm of the lift, nats
};
TokenScores token_scores(double count, double firings, double total, double positions);

/// Firings of c against a set of tokens: the part of the firings at one of them, the part of their positions
/// where c fires, and the harmonic mean of the two.
struct SetScores {
  double hit = 0.0, cover = 0.0, f1 = 0.0;
};
SetScores set_scores(double count, double firings, double total);

/// Of two subcomponents that fire `i` and `j` times, `both` times together, in `positions` positions.
struct PartnerScores {
  double jaccard = 0.0;      ///< both / either
  double conditional = 0.0;  ///< P(i fires | j fires)
  double log_lift = 0.0;     ///< of firing together over firing by chance, nats
  double phi = 0.0;          ///< the correlation of the two firings
};
PartnerScores partner_scores(double both, double i, double j, double positions);

/// Jensen–Shannon divergence of two distributions, in bits, from weights that need not add up to 1; 0 where
/// one of them has none.
double divergence_bits(std::span<const double> p, std::span<const double> q);

/// When a subcomponent is flagged as two things of opposite sign (docs/interpretation.md).
inline constexpr std::int64_t least_flagged_firings = 50;
inline constexpr double least_flagged_balance = 0.05;
inline constexpr double least_flagged_divergence = 0.25;

}  // namespace vpd
