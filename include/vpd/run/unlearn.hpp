#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/interpretation/unlearn.hpp"
#include "vpd/run/audited_prompts.hpp"
#include "vpd/run/edit.hpp"
#include "vpd/run/run_to_edit.hpp"

namespace vpd {

struct UnlearnOptions : RunToEdit {
  AuditedPrompts prompts{};
  UnlearnSettings settings{};
  std::optional<std::filesystem::path> out{};  ///< for the edited target
  std::string slug = "unlearn";                ///< the result's name, in RUN/interpretation/step_…/audits
  std::string command_line{};
};

struct UnlearnRunResult {
  std::int64_t step = 0;
  UnlearnResult unlearned;
  UnlearnSettings settings;
  std::int64_t behaviour = 0, against = 0;  ///< prompts that figures are from
  std::vector<std::string> keys, labels;    ///< of the set
  std::filesystem::path directory;
  std::optional<std::filesystem::path> out;
  std::optional<EditedTarget> edited;
  double seconds = 0.0;
  std::vector<std::string> warnings;
};

/// Takes a behaviour out with little damage elsewhere, beside plain baselines, and writes the edited target.
/// Throws ConfigError, DataError, UsageError, and Interrupted.
UnlearnRunResult unlearn_run(const UnlearnOptions& options, const Observer& observer = {});

std::string unlearn_text(const UnlearnRunResult& result);
std::string unlearn_json(const UnlearnRunResult& result);

}  // namespace vpd
