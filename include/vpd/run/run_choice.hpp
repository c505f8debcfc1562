#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "vpd/interpretation/evidence.hpp"
#include "vpd/io/run_directory.hpp"
#include "vpd/io/tokenizer.hpp"

namespace vpd {

/// The step that was asked for where it has a harvest, or the last step that has one.
std::optional<std::int64_t> harvested_step(const RunDirectory& run, std::optional<std::int64_t> wanted);

/// A run's evidence, opened without its weights: what commands that only read tables begin with.
struct OpenedEvidence {
  /// Throws DataError where the run has no harvest of that checkpoint (the latest without one), or has one of
  /// other weights. `tokenizer`: a tokenizer.json; nothing: the one beside target or tokens.
  OpenedEvidence(const std::filesystem::path& run, std::optional<std::int64_t> checkpoint,
                 const std::optional<std::filesystem::path>& tokenizer = {});

  RunDirectory directory;
  Checkpoint checkpoint;
  std::filesystem::path harvest;
  Evidence evidence;
  std::optional<Tokenizer> tokenizer;

  std::string token_text(std::int64_t token) const;
  /// A token as it stands in the text; "#5 " without a tokenizer.
  std::string raw_token(std::int64_t token) const;
  std::vector<std::int64_t> tokens_named(const std::string& text) const;
  SubcomponentId subcomponent(const std::string& text) const;
};

/// The tokens that a text names: "#5" is token 5; each part between commas is one token of the tokenizer,
/// " and, or" those of " and" and " or". Throws UsageError for a part that is none.
std::vector<std::int64_t> tokens_named(const std::string& text, const std::optional<Tokenizer>& tokenizer,
                                       std::int64_t vocabulary);
std::int64_t token_named(const std::string& text, const std::optional<Tokenizer>& tokenizer,
                         std::int64_t vocabulary);
/// A token for people: its text with visible spaces and escapes, or "#5" without a tokenizer.
std::string token_text(std::int64_t token, const std::optional<Tokenizer>& tokenizer);

/// Whether one of the shell patterns matches a site; without patterns all are chosen. Throws UsageError,
/// naming `option`, for a pattern that matches none.
std::vector<bool> chosen_sites(const Sites& sites, const std::vector<std::string>& patterns,
                               const std::string& option);

/// A token for people: visible spaces, escapes for what steers a terminal.
std::string visible_token(std::string_view text);

}  // namespace vpd
