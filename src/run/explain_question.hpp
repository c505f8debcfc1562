#pragma once

// What is asked: prompts, what the model says behind them, and text that has nothing to do with them.

#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "vpd/config/run.hpp"
#include "vpd/run/explain.hpp"
#include "vpd/target/architecture.hpp"

namespace vpd {

/// A row of the target stream: each token of a continuation has one.
struct QuestionRow {
  std::vector<std::int64_t> tokens;
  std::optional<std::int64_t> target{};
  std::size_t prompt =
      std::numeric_limits<std::size_t>::max();  ///< of those asked about; else one that stays
};

struct Question {
  TargetConfig target;
  Architecture architecture;
  std::vector<ExplainedPrompt> prompts;
  std::vector<QuestionRow> rows;
  std::int64_t longest = 1;  ///< tokens of the longest row
};

/// Reads the target and the prompts, and asks the model how probable it finds what is asked about. `warnings`
/// takes a sentence for each continuation that it hardly says.
Question ask_question(const ExplainOptions& options, const Observer& observer,
                      std::vector<std::string>& warnings);

/// What a resumed explanation has to agree with.
nlohmann::ordered_json question_json(const ExplainOptions& options, const Question& question);

/// JSON lines that PromptRows and read_prompts() read.
std::string prompt_lines(const std::vector<QuestionRow>& rows);

inline constexpr const char* background_file = "background.bin";
inline constexpr const char* evidence_directory = "evidence";  ///< of token files that are harvested

struct BackgroundRows {
  std::int64_t rows = 0, excluded = 0, length = 0;
};
/// Writes rows of the background, without those that hold a prompt, and rows that go on from the prompts,
/// which the harvest reads besides: what the model samples, or what the options name.
BackgroundRows background_rows(const ExplainOptions& options, const Question& question,
                               const std::filesystem::path& directory, const Observer& observer);

}  // namespace vpd
