#pragma once

// What a harvest found, read back a subcomponent at a time.

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "vpd/decomposition/sites.hpp"
#include "vpd/interpretation/token_statistics.hpp"
#include "vpd/io/safetensors.hpp"

namespace vpd {

/// What the tables say of one subcomponent.
struct SubcomponentFacts {
  std::int64_t column = 0;
  std::int64_t firings = 0, positive_firings = 0, negative_firings = 0, rows = 0;
  double density = 0.0;                                          ///< firings a position
  double mean_importance = 0.0;                                  ///< over all positions
  double mean_activation = 0.0, mean_absolute_activation = 0.0;  ///< over firings
  double activation_min = 0.0, activation_max = 0.0;             ///< likewise
  bool polysemantic = false;
  double sign_balance = 0.0;
  std::array<double, 2> sign_divergence{}, null_divergence{};  ///< input side, output side; bits
  int sign = 1;  ///< σ_c: that of the mean activation over firings

  bool always_on() const { return mean_importance > 0.5; }
};

enum class TokenSide { input, output };
enum class TokenRanking { recall, precision, lift, pmi };

/// A token in a subcomponent's firings.
struct TokenScore {
  std::int64_t token = 0;
  double count = 0.0;     ///< firings at it, or the mass that the model gives it there
  double positive = 0.0;  ///< of firings with a > 0
  double total = 0.0;     ///< how often it comes, or its mass, at all positions
  TokenScores scores;
};
double value_of(const TokenScore& token, TokenRanking ranking);

/// The few tokens that tell best where a subcomponent fires: taken one by one, each time the one that raises
/// the F1 of the set most, as long as one does by 0.01.
struct TellingTokens {
  std::vector<TokenScore> tokens;
  SetScores scores;
};
TellingTokens telling_tokens(const std::vector<TokenScore>& tokens, double firings, std::size_t most = 6,
                             std::int64_t min_count = 5);

/// The `most` highest by a ranking (lowest: `bottom`), equal ones by token; tokens that come fewer than
/// `min_count` times are left out.
std::vector<TokenScore> ranked(std::vector<TokenScore> tokens, TokenRanking ranking, std::size_t most,
                               std::int64_t min_count = 5, bool bottom = false);

struct PartnerScore {
  std::int64_t column = 0;
  std::int64_t together = 0;
  PartnerScores scores;
};

struct FiringExample {
  enum class Kind : std::uint8_t { random_positive = 0, random_negative = 1, strongest = 2 };
  Kind kind = Kind::random_positive;
  std::int64_t row = 0;
  std::int64_t position = 0;         ///< of the firing, in the row
  std::vector<std::int32_t> tokens;  ///< around it; -1: beyond the row
  std::vector<float> importance, activation;
};

struct LensToken {
  std::int64_t token = 0;
  double dot = 0.0, cosine = 0.0;
};

/// Reads tables of `vpd harvest` and, of the large ones, only the rows that are asked for. Throws DataError
/// where a file is missing or damaged, naming it.
class Evidence {
 public:
  explicit Evidence(const std::filesystem::path& harvest);
  Evidence(Evidence&&) noexcept;
  ~Evidence();

  const nlohmann::ordered_json& about() const;
  const Sites& sites() const;  ///< names, C and offsets
  std::int64_t positions() const;
  std::int64_t row_length() const;
  std::int64_t rows() const;
  double threshold() const;
  std::int64_t window() const;

  /// Columns that fired, ascending.
  const std::vector<std::int32_t>& alive() const;
  bool is_alive(std::int64_t column) const;

  SubcomponentFacts facts(std::int64_t column) const;
  /// Every token with a count, ascending; empty for a column that never fired.
  std::vector<TokenScore> tokens(std::int64_t column, TokenSide side) const;
  bool has_outputs() const;
  /// By falling Jaccard index; empty where no partners were kept.
  std::vector<PartnerScore> partners(std::int64_t column) const;
  std::vector<FiringExample> examples(std::int64_t column) const;
  /// The highest, falling, and then the lowest, rising; empty for sites that neither read nor write the
  /// stream.
  std::vector<LensToken> lens(std::int64_t column) const;
  /// Counts of importances: of 0, in 20 equal parts of (0, 1], and above the threshold.
  std::vector<std::int64_t> importance_histogram(std::int64_t column) const;
  /// Firings by bin of the position in the row.
  std::vector<std::int64_t> position_firings(std::int64_t column) const;
  /// Occurrences by token, or masses.
  const std::vector<double>& marginal(TokenSide side) const;

 private:
  struct Tables;
  std::unique_ptr<Tables> tables_;
};

/// The first position of a bin of position_firings().
std::int64_t first_of_position_bin(std::int64_t bin);

}  // namespace vpd
