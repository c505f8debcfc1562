#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "vpd/interpretation/evidence.hpp"

namespace vpd {

struct ShowOptions {
  std::filesystem::path run{};
  std::string key{};  ///< a subcomponent: "h.0.mlp.c_fc:12"
  std::optional<std::int64_t> checkpoint{};
  std::optional<std::filesystem::path> tokenizer{};
  std::int64_t examples = 6;   ///< of each kind
  std::int64_t tokens = 10;    ///< of each ranking
  std::int64_t min_count = 5;  ///< rarer tokens are left out
};

/// One subcomponent of a run, with everything that is known of it.
struct ShownSubcomponent {
  std::string key, label;
  std::int64_t step = 0;
  std::int64_t positions = 0;
  double threshold = 0.0;
  SubcomponentFacts facts;
  TellingTokens telling_input, telling_output;
  std::vector<TokenScore> input, input_pmi, output, output_pmi;
  std::vector<PartnerScore> partners;
  std::vector<std::string> partner_keys;
  std::vector<FiringExample> examples;
  std::vector<LensToken> lens;
  std::vector<std::vector<std::string>> example_texts;  ///< of each example's tokens
  std::map<std::int64_t, std::string> texts;            ///< of every other token that is named
};

/// Throws DataError, UsageError.
ShownSubcomponent show_subcomponent(const ShowOptions& options);

/// For a terminal of `width` columns: importance by colour where there is one, else by marks.
std::string show_text(const ShownSubcomponent& shown, bool colour, int width = 100);
std::string show_json(const ShownSubcomponent& shown);

}  // namespace vpd
