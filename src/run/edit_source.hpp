#pragma once

#include <memory>
#include <optional>

#include "vpd/decomposition/opened_run.hpp"
#include "vpd/interpretation/edit.hpp"
#include "vpd/run/run_choice.hpp"
#include "vpd/run/run_to_edit.hpp"

namespace vpd {

/// A run that edits are made in: opened with its weights, and with its evidence where there is any.
class EditSource {
 public:
  /// `rows`: computed with at once; 0: evaluation.batch_size. Throws DataError for a target of features
  /// unless one will do.
  EditSource(const RunToEdit& chosen, const Observer& observer, std::int64_t rows = 0,
             bool features_will_do = false);

  OpenedRun run;
  std::optional<OpenedEvidence> evidence;
  std::optional<Tokenizer> tokenizer;

  std::vector<RankOneEdit> make(const std::vector<EditSpec>& specs) const;
  std::int64_t token_named(const std::string& text) const;
  std::vector<std::int64_t> tokens_named(const std::string& text) const;
  std::string token_text(std::int64_t token) const;
  /// A prompt as text or as tokens, one of them. Throws UsageError.
  std::vector<std::int64_t> prompt_of(const std::string& text, const std::vector<std::int64_t>& tokens) const;
};

/// The about.json of a result: which command of which program made it, of which weights.
void write_about_edit(const std::filesystem::path& directory, const EditSource& source,
                      const std::string& command_line, const std::vector<std::string>& warnings);

/// The same edits of other subcomponents: `from[i]` becomes `to[i]`.
std::vector<EditSpec> moved(const std::vector<EditSpec>& specs, const Sites& sites,
                            const std::vector<std::int64_t>& from, const std::vector<std::int64_t>& to);

}  // namespace vpd
