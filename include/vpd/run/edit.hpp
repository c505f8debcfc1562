#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/interpretation/edit_effect.hpp"
#include "vpd/interpretation/mechanism.hpp"
#include "vpd/run/run_to_edit.hpp"
#include "vpd/target/export.hpp"

namespace vpd {

struct EditOptions : RunToEdit {
  std::vector<EditSpec> edits{};
  std::string wanted{};  ///< tokens, " he, him"; empty: none
  std::int64_t controls = 20;
  std::int64_t positions = 200'000;  ///< that effects are measured on, at most
  EffectSettings effect{};
  bool along_stream = false;  ///< measure what edited subcomponents write along the residual stream
  std::string across{};       ///< tokens, ".,;": measure attention across them; empty: not measured
  std::optional<std::filesystem::path> out{};  ///< for the edited target; nothing: effects alone
  std::string slug = "edit";                   ///< the result's name, in RUN/interpretation/step_…/edits
  std::string command_line{};
};

/// An edited target in files.
struct EditedTarget {
  std::vector<WrittenChange> written;
  double reloaded_difference =
      0.0;  ///< of logits of the files and of the edit in memory, relative to the largest
};

/// One figure of the edit among its controls'.
struct ControlledFigure {
  std::string name;
  Interval edit;
  double control_mean = 0.0, control_spread = 0.0;
  double percentile = 0.0;  ///< part of the controls that are below the edit
};

struct EditRunResult {
  std::int64_t step = 0;
  std::vector<EditSpec> edits;
  std::vector<std::string> wanted;
  EditEffect effect;
  std::int64_t positions = 0;
  std::int64_t controls = 0;
  std::vector<ControlledFigure> figures;
  std::optional<StreamFigures> stream;
  std::optional<AcrossFigures> across;
  std::vector<ControlledFigure> mechanism;  ///< of these two
  std::string sentence;                     ///< what may be said of it
  std::filesystem::path directory;
  std::optional<std::filesystem::path> out;
  std::optional<EditedTarget> edited;
  double seconds = 0.0;
  std::vector<std::string> warnings;
};

/// Measures what edits of the target change on held-out rows, beside random controls, and writes the edited
/// target. Throws ConfigError, DataError, UsageError, and Interrupted.
EditRunResult edit_run(const EditOptions& options, const Observer& observer = {});

std::string edit_text(const EditRunResult& result);
std::string edit_json(const EditRunResult& result);

}  // namespace vpd
