#pragma once

#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "vpd/interpretation/edit.hpp"

namespace vpd {

/// The options that say edits: what `intervene` and `edit` share.
struct EditArguments {
  std::vector<std::string> texts[6];  ///< of each kind, in the order of EditSpec::Kind
  std::string from, where, positions;
  std::int64_t head = -1;

  /// Throws UsageError, DataError.
  std::vector<EditSpec> specs() const;
};
void add_edit_options(CLI::App& command, EditArguments& arguments);

}  // namespace vpd
