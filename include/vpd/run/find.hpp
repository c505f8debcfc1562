#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/interpretation/evidence.hpp"

namespace vpd {

struct FindOptions {
  std::filesystem::path run{};
  std::optional<std::int64_t> checkpoint{};
  std::optional<std::filesystem::path> tokenizer{};
  std::string tokens{};  ///< " and, or, #5"; empty with `like`
  TokenSide side = TokenSide::input;
  std::string like{};                ///< a subcomponent that others are to be like
  std::string vector = "U";          ///< by what vectors' cosines they are: U or V
  std::vector<std::string> sites{};  ///< shell patterns; empty: all
  std::int64_t most = 20;
  std::int64_t least_firings = 1;
};

struct FoundSubcomponent {
  std::string key;
  SubcomponentFacts facts;
  SetScores scores;               ///< against the tokens
  std::optional<double> U, V;     ///< cosines with `like`, where the widths agree
  std::optional<double> jaccard;  ///< of firings with `like`, where it was kept
  std::string label;
};

struct FindResult {
  std::int64_t step = 0;
  std::vector<std::int64_t> tokens;
  std::vector<std::string> token_texts;
  bool by_tokens = true;
  TokenSide side = TokenSide::input;
  std::string like, vector;
  std::vector<FoundSubcomponent> found;  ///< best first, those that are always on last
};

/// Ranks subcomponents by how well their firings tell a set of tokens, or by their likeness to one. Throws
/// DataError, UsageError.
FindResult find_subcomponents(const FindOptions& options);

std::string find_text(const FindResult& result);
std::string find_json(const FindResult& result);

}  // namespace vpd
