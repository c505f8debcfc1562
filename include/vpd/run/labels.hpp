#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"

namespace vpd {

/// What is asked of a language model.
enum class LabelTask {
  label,      ///< name a subcomponent from its evidence
  detection,  ///< tell windows where it fires in the middle from others
  fuzzing,    ///< tell windows whose marked tokens are those where it fires from others
  intruder,   ///< tell the one window that is of another subcomponent
};

struct LabelExport {
  std::filesystem::path run{};
  std::optional<std::int64_t> checkpoint{};
  std::optional<std::filesystem::path> tokenizer{};
  std::filesystem::path out{};  ///< a directory for prompts.jsonl, keys.json and README
  LabelTask task = LabelTask::label;
  std::int64_t most = 10000;                    ///< subcomponents, those that fire most often
  std::optional<std::filesystem::path> keys{};  ///< a file with a subcomponent a line, in place of `most`
  std::int64_t examples = 30;
  std::int64_t max_tokens = 6000;  ///< of a prompt, at four bytes each
  std::uint64_t seed = 0;          ///< of the trials
};

struct LabelExportResult {
  std::int64_t prompts = 0, subcomponents = 0, left_out = 0;
  std::filesystem::path out;
};

/// Writes questions that any language model can be asked, one a line: {id, key, task, template, prompt,
/// schema}; the right answers of tests are in keys.json alone. The same run, options and seed give the same
/// files. Throws DataError, UsageError.
LabelExportResult export_prompts(const LabelExport& options);

struct LabelImport {
  std::filesystem::path run{};
  std::optional<std::int64_t> checkpoint{};
  std::filesystem::path answers{};              ///< JSON lines: {id or key, label, ...} or {id, answer}
  std::optional<std::filesystem::path> keys{};  ///< keys.json of the export, for answers of tests
  std::string source;                           ///< who answered
  bool merge = false;                           ///< keep labels that are there and have no new answer
};

/// How well tests were answered.
struct TaskScore {
  std::int64_t answered = 0, right = 0;  ///< single judgements
  std::int64_t positives = 0, found = 0, negatives = 0, rejected = 0;
  double accuracy() const;
  double balanced_accuracy() const;
};

struct LabelImportResult {
  std::int64_t labels = 0, duplicates = 0;
  std::int64_t kept_by_hand = 0;            ///< that have a label by hand, which an import does not replace
  std::int64_t dropped = 0;                 ///< labels that were there and are no more
  std::map<std::string, TaskScore> scores;  ///< by task
  std::map<std::string, std::map<std::string, TaskScore>> of_key;  ///< by task and subcomponent
};

/// Takes answers in: labels into labels.json, scores of tests into label_scores.json beside it. Nothing is
/// written unless every line is right. Throws DataError naming the file and the line.
LabelImportResult import_labels(const LabelImport& options);

/// One label by hand.
void set_label(const std::filesystem::path& run, std::optional<std::int64_t> checkpoint,
               const std::string& key, const std::string& label);

std::string labels_text(const LabelImportResult& result);
std::string labels_json(const LabelImportResult& result);

}  // namespace vpd
