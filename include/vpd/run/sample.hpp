#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/target/token_choice.hpp"

namespace vpd {

struct SampleOptions {
  std::filesystem::path target{};  ///< the directory of a checkpoint or of a run, or a run's configuration
  std::int64_t rows = 0;
  std::int64_t length = 0;  ///< tokens of a row
  std::int64_t batch = 32;  ///< rows at once
  TokenChoice choice{};
  std::uint64_t seed = 0;
  std::string prompt{};                              ///< that every row begins with: text, or
  std::vector<std::int64_t> prompt_tokens{};         ///< tokens
  std::optional<std::int64_t> start_token{};         ///< in place of the one that the target's files name
  std::optional<std::filesystem::path> tokenizer{};  ///< nothing: the one beside the target
  std::optional<std::string> device{};
  int threads = 0;
  std::filesystem::path out{};  ///< a .bin; what it is made of stands beside it, in `out`.json
  std::string command_line{};
};

/// What every row begins with, and why.
struct RowBeginning {
  std::vector<std::int64_t> tokens;  ///< none: the first token of each row is drawn uniformly
  std::string
      origin;        ///< "bos_token_id of config.json", "--start-token", "the prompt" ..., "drawn uniformly"
  std::string text;  ///< of the tokens
};

struct SampleResult {
  std::filesystem::path file, about;
  std::int64_t rows = 0, length = 0;
  RowBeginning beginning;
  std::string first_row;  ///< its first tokens as text, or as numbers without a tokenizer
  double seconds = 0.0;   ///< of drawing
  std::vector<std::string> warnings;
};

/// Writes rows of tokens from a language model's own distribution, one after the other in a .bin file
/// (docs/sampling.md). Throws UsageError, ConfigError, DataError, and Interrupted once the observer asks for
/// a stop: the rows that are whole by then are written.
SampleResult sample_run(const SampleOptions& options, const Observer& observer = {});

/// What it would take, without writing anything; the time is that of some tokens of one batch.
struct SampleForecast {
  std::int64_t rows = 0, length = 0, batch = 0;
  RowBeginning beginning;
  double operations = 0.0;
  std::int64_t memory_bytes = 0, cache_bytes = 0, file_bytes = 0;
  double seconds = 0.0;
  std::string device;
  std::vector<std::string> warnings;
};
SampleForecast forecast_sample(const SampleOptions& options, const Observer& observer = {});

std::string sample_text(const SampleResult& result);
std::string sample_json(const SampleResult& result);
std::string forecast_text(const SampleForecast& forecast);
std::string forecast_json(const SampleForecast& forecast);

}  // namespace vpd
