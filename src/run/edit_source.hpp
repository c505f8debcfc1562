#pragma once

#include <memory>
#include <optional>

#include "vpd/decomposition/opened_run.hpp"
#include "vpd/interpretation/edit.hpp"
#include "vpd/run/run_choice.hpp"

namespace vpd {

/// A run that edits are made in: opened with its weights, and with its evidence where there is any.
class EditSource {
 public:
  EditSource(const std::filesystem::path& run, const OpenOptions& options,
             const std::optional<std::filesystem::path>& tokenizer, const Observer& observer);

  OpenedRun run;
  std::optional<OpenedEvidence> evidence;
  std::optional<Tokenizer> tokenizer;

  std::vector<RankOneEdit> make(const std::vector<EditSpec>& specs) const;
  std::int64_t token_named(const std::string& text) const;
  std::vector<std::int64_t> tokens_named(const std::string& text) const;
  std::string token_text(std::int64_t token) const;
};

/// The same edits of other subcomponents: `from[i]` becomes `to[i]`.
std::vector<EditSpec> moved(const std::vector<EditSpec>& specs, const Sites& sites,
                            const std::vector<std::int64_t>& from, const std::vector<std::int64_t>& to);
std::string key_of_column(std::int64_t column, const Sites& sites);

}  // namespace vpd
