#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/interpretation/intervention.hpp"
#include "vpd/run/run_to_edit.hpp"

namespace vpd {

struct InterveneOptions : RunToEdit {
  std::string prompt{};                       ///< text, or
  std::vector<std::int64_t> prompt_tokens{};  ///< tokens
  std::vector<EditSpec> edits{};
  std::vector<std::string> kept{};  ///< of the context keep_only: "site:c" or "site:c@position"
  InterventionSettings settings{};
  std::int64_t top = 8;  ///< next tokens that are shown
  GenerationSettings generation{.tokens = 0};
  std::int64_t samples = 1;
  std::int64_t controls = 0;          ///< random sets, edited likewise, whose texts stand beside
  std::optional<std::string> slug{};  ///< keep the result under interventions/<slug>
  std::string command_line{};
};

struct NextToken {
  std::int64_t token = 0;
  std::string text;
  double before = 0.0, after = 0.0;  ///< probabilities
};
struct GeneratedText {
  std::string who;  ///< "target", "edited", "control 1"
  std::vector<std::int64_t> tokens;
  std::string text;
};
struct InterveneResult {
  std::int64_t step = 0;
  std::string context;
  std::vector<std::int64_t> tokens;
  std::vector<std::string> texts;
  std::vector<double> kl;       ///< of each position, nats
  std::vector<NextToken> next;  ///< behind the last position, by the larger of both probabilities
  std::vector<GeneratedText> generations;
  std::vector<std::string> warnings;
};

/// Edits the model on one prompt. Throws ConfigError, DataError, UsageError, and Interrupted.
InterveneResult intervene_run(const InterveneOptions& options, const Observer& observer = {});

std::string intervene_text(const InterveneResult& result);
std::string intervene_json(const InterveneResult& result);

}  // namespace vpd
