#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"

namespace vpd {

struct ExplainOptions {
  std::filesystem::path target{};      ///< directory of a language model
  std::vector<std::string> prompts{};  ///< each with a behaviour of its own: what the model says behind it
  std::vector<std::string> continuations{};  ///< of each prompt; none: its most probable next token
  std::filesystem::path against{};           ///< JSON lines: prompts that are to stay as they are
  std::filesystem::path background{};        ///< tokens; empty: rows that the model samples
  std::string layers{};                      ///< blocks "12:24", half-open; empty: the last ones
  double minutes = 60.0;                     ///< that all of it may take on this machine
  std::filesystem::path out{};
  bool resume = false;                   ///< go on with what lies in `out`, whose options count
  std::vector<std::string> overrides{};  ///< "key=value" of the configuration that is written
  std::optional<std::filesystem::path> tokenizer{};
  std::optional<std::int64_t> start_token{};  ///< of rows that the model samples: that of its files
  std::optional<std::string> device{};
  int threads = 0;
  std::uint64_t seed = 0;
  bool plan_only = false;  ///< write the configuration and what it would take, and stop
  std::string command_line{};
};

/// One prompt: what the model is asked to say, and how probable it finds that.
struct ExplainedPrompt {
  std::string text, continuation;
  std::vector<std::int64_t> tokens, next;  ///< of the prompt, and of its continuation
  std::vector<double> probability;         ///< of each token of the continuation
  std::vector<double> rounded;             ///< the same with the subcomponents alone that are important there
  std::int64_t nodes = 0;                  ///< of its graph
  double attacked = 0.0;  ///< probability of the first token under the worst attack on the graph
  bool faithful = false;
};

/// What taking one subcomponent out of the target does: KL from the target, in nats.
struct ExplainedSubcomponent {
  std::string key;
  std::vector<double> kl;                     ///< behind each prompt
  std::vector<double> in_target, in_circuit;  ///< change of ln p there: in the target, in the circuit alone
  double kl_mean = 0.0, kl_99 = 0.0;          ///< over positions of the background: mean, 99th percentile

  /// How much more it does behind the prompt that it does most to than to other text.
  double specificity() const { return *std::max_element(kl.begin(), kl.end()) / (kl_99 + 1e-6); }
  /// Behind some prompt it counts in the circuit and hardly in the target (RedundancyCheck).
  bool made_up_for() const;
};

/// What taking out the subcomponents does that one prompt's continuation hangs on and the others do not.
struct ExplainedRemoval {
  std::size_t prompt = 0;
  std::vector<std::string> keys;
  std::vector<double> before, after;  ///< probability of the first token behind each prompt
  double kl_mean = 0.0, kl_99 = 0.0;  ///< from the target at positions of the background
  std::int64_t positions = 0;
  struct Baseline {
    std::string name;
    double probability = 0.0, side = 0.0;  ///< at its strongest
    double stayed = 0.0;  ///< largest change of ln p there behind another prompt; NaN where there is none
  };
  std::vector<Baseline> baselines;
  std::int64_t redundant = 0;  ///< of the keys, those that others make up for in the target
};

struct ExplainStage {
  std::string name, title;
  std::optional<double> seconds;  ///< that it took; nothing: it is to come
};

struct ExplainResult {
  std::filesystem::path directory, config, run, page;
  std::vector<ExplainStage> stages;
  std::vector<ExplainedPrompt> prompts;
  std::vector<ExplainedSubcomponent>
      subcomponents;                      ///< the graphs' most influential, the most specific first
  std::int64_t background_positions = 0;  ///< that their percentiles are of
  std::vector<ExplainedRemoval> removals;
  std::int64_t steps = 0, sites = 0, alive = 0;
  double step_seconds = 0.0;
  double rounded_kl = 0.0,
         attacked_kl = 0.0;  ///< of target rows: importances rounded up; 20 steps of an attack
  std::int64_t background_rows = 0, excluded_rows = 0;
  std::vector<std::string> warnings;
};

/// One behaviour of a language model, from a few prompts: which parameters make it (a targeted
/// decomposition), how they feed each other, whether an adversary can break that, and what removing it does
/// elsewhere. Every stage leaves its files in `out`, and an interrupted one goes on with `resume`. Throws
/// ConfigError, DataError, UsageError, NumericalError, and Interrupted.
ExplainResult explain_run(const ExplainOptions& options, const Observer& observer = {});

std::string explain_text(const ExplainResult& result);
std::string explain_json(const ExplainResult& result);

}  // namespace vpd
