#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/interpretation/attention_pairs.hpp"
#include "vpd/interpretation/head_summary.hpp"
#include "vpd/interpretation/output_value.hpp"
#include "vpd/run/run_to_edit.hpp"

namespace vpd {

struct AttentionOptions : RunToEdit {
  std::int64_t layer = 0;              ///< the block
  std::optional<std::int64_t> head{};  ///< shown alone; files have all of them
  std::optional<std::pair<std::int64_t, std::int64_t>>
      offsets{};            ///< [first, second) between query and key; nothing: 0 to 32, or the rows' length
  std::int64_t pairs = 10;  ///< shown of a head
  std::string prompt{};     ///< text, or
  std::vector<std::int64_t> prompt_tokens{};      ///< tokens; neither: no prompt
  std::string slug = "prompt";                    ///< the prompt's name
  std::optional<std::filesystem::path> tokens{};  ///< in place of the run's held-out rows
  std::string split = "eval";                     ///< or "train"
  std::int64_t positions = 50'000;                ///< read at most
  std::vector<std::string> ablate{};              ///< keys, each taken out by itself
  std::string given{};     ///< a key: the data's weights for OV are those of positions where it is important
  double threshold = 0.1;  ///< important: g is above
  double min_importance = 1e-6;  ///< a subcomponent is kept apart whose mean importance is above
  std::uint64_t seed = 0;        ///< of random tokens and random heads
  std::string command_line{};
};

/// A subcomponent of k beside one of v at the same positions, from the harvest.
struct KeyOfValue {
  std::int64_t key = 0, value = 0;  ///< columns
  double key_given_value = 0.0, value_given_key = 0.0;
};

/// A prompt's scores in pairs.
struct AttentionPrompt {
  std::vector<std::int64_t> tokens;
  std::vector<std::string> texts;
  LargestPairs pairs;
};

/// How far back the heads look, as a whole or without one subcomponent.
struct HeadLooks {
  at::Tensor data, random;               ///< [H, offsets]: on the rows, and on random tokens
  at::Tensor previous, random_previous;  ///< [H]: of offset 1
  at::Tensor induction;                  ///< [H]; undefined: rows are too short
};

struct AttentionResult {
  std::int64_t step = 0;
  std::int64_t block = 0, heads = 0, key_heads = 0, head_width = 0;
  std::string q, k, v, o;  ///< names of the matrices
  std::optional<std::size_t> q_site, k_site, v_site, o_site;
  std::optional<std::int64_t> head;  ///< shown alone
  std::int64_t most = 10;            ///< pairs shown of a head
  std::int64_t rows = 0, T = 0;
  std::vector<std::int64_t> offsets;
  std::vector<std::int64_t> query_terms, key_terms;  ///< columns, and then numbers of OtherTerm
  std::int64_t query_columns = 0, key_columns = 0;
  std::int64_t query_all = 0, key_all = 0;  ///< subcomponents of the sites
  double min_importance = 0.0, threshold = 0.0;
  StaticInteractions statics;
  at::Tensor mean, share, share_within, both_mean, both_count, score_mean,
      score_deviation;                        ///< of PairSummary
  at::Tensor norm_q, norm_k, norm_v, norm_o;  ///< undefined: no site
  HeadLooks looks;
  std::vector<std::int64_t> ablated;  ///< columns
  std::vector<HeadLooks> without;     ///< each of these
  at::Tensor importance;              ///< float64 [Σ C]: the mean of each subcomponent
  OutputValue moved;
  RandomCosines chance;
  std::optional<std::int64_t> given;  ///< a column
  std::int64_t weighted_positions = 0;
  std::vector<KeyOfValue> keys_of_values;  ///< of each head's most aligned v, its most frequent k
  std::optional<AttentionPrompt> prompt;
  std::string slug;
  Sites sites;
  std::map<std::int64_t, std::string>
      notes;  ///< of columns that are shown: a label, or the tokens at which it fires
  std::filesystem::path directory;
  double seconds = 0.0;
  std::vector<std::string> warnings;

  /// "site:c", or "Δ", "bias", "position", "other subcomponents"; of a matrix that is no site "all of q".
  std::string name_of_term(std::int64_t term, bool query) const;
};

/// Reads the attention of one block in pairs of subcomponents: RUN/interpretation/step_…/attention/block_….
/// Throws ConfigError, DataError, UsageError, and Interrupted.
AttentionResult attention_run(const AttentionOptions& options, const Observer& observer = {});

/// What it would take, without doing it.
struct AttentionForecast {
  std::int64_t positions = 0, rows = 0, batch_rows = 0, T = 0;
  bool harvested = false;  ///< otherwise a first pass over the data says what is alive
  double operations = 0.0;
  std::int64_t memory_bytes = 0, disk_bytes = 0;
  std::string device;
  std::optional<double> seconds;  ///< at half of the speed of matrix products
  std::vector<std::string> warnings;
};
AttentionForecast forecast_attention(const AttentionOptions& options, const Observer& observer = {});

std::string attention_text(const AttentionResult& result);
std::string attention_json(const AttentionResult& result);
std::string forecast_text(const AttentionForecast& forecast);
std::string forecast_json(const AttentionForecast& forecast);

/// The longest prompt whose pairs are written: files grow with its square.
inline constexpr std::int64_t longest_attention_prompt = 128;
/// Pairs of a prompt that are written, those that give most.
inline constexpr std::int64_t stored_pairs = 32;

}  // namespace vpd
