#include "vpd/interpretation/token_statistics.hpp"

#include <cmath>

namespace vpd {
namespace {

double ratio(double a, double b) { return b > 0.0 ? a / b : 0.0; }

}  // namespace

TokenScores token_scores(double count, double firings, double total, double positions) {
  TokenScores scores{.recall = ratio(count, firings), .precision = ratio(count, total)};
  if (count > 0.0 && total > 0.0 && firings > 0.0) {
    scores.lift = count * positions / (firings * total);
    scores.pmi = std::log(scores.lift);
  }
  return scores;
}

SetScores set_scores(double count, double firings, double total) {
  SetScores scores{.hit = ratio(count, firings), .cover = ratio(count, total)};
  scores.f1 = ratio(2.0 * scores.hit * scores.cover, scores.hit + scores.cover);
  return scores;
}

PartnerScores partner_scores(double both, double i, double j, double positions) {
  PartnerScores scores{.jaccard = ratio(both, i + j - both), .conditional = ratio(both, j)};
  if (both > 0.0) scores.log_lift = std::log(both * positions / (i * j));
  scores.phi = ratio(positions * both - i * j, std::sqrt(i * j * (positions - i) * (positions - j)));
  return scores;
}

double divergence_bits(std::span<const double> p, std::span<const double> q) {
  double sum_p = 0.0, sum_q = 0.0, total = 0.0;
  for (const double x : p) sum_p += x;
  for (const double x : q) sum_q += x;
  if (sum_p <= 0.0 || sum_q <= 0.0) return 0.0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double a = p[i] / sum_p, b = q[i] / sum_q, middle = (a + b) / 2.0;
    if (a > 0.0) total += a * std::log2(a / middle) / 2.0;
    if (b > 0.0) total += b * std::log2(b / middle) / 2.0;
  }
  return total;
}

}  // namespace vpd
