#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/interpretation/audit.hpp"
#include "vpd/run/audited_prompts.hpp"
#include "vpd/run/run_to_edit.hpp"

namespace vpd {

struct AuditOptions : RunToEdit {
  AuditedPrompts prompts{};
  AuditSettings settings{};
  std::int64_t most = 20;  ///< that are shown
  std::string slug = "audit";
  std::string command_line{};
};

struct AuditRunResult {
  std::int64_t step = 0;
  AuditResult audit;
  std::int64_t behaviour = 0, against = 0;  ///< prompts that figures are from
  std::vector<std::string> keys, labels;    ///< of the ranking
  std::int64_t most = 20;
  std::filesystem::path directory;
  double seconds = 0.0;
  std::vector<std::string> warnings;
};

/// Ranks subcomponents by how much a behaviour hangs on them, for the damage that taking them out does
/// elsewhere. Throws ConfigError, DataError, UsageError, and Interrupted.
AuditRunResult audit_run(const AuditOptions& options, const Observer& observer = {});

std::string audit_text(const AuditRunResult& result);
std::string audit_json(const AuditRunResult& result);

}  // namespace vpd
