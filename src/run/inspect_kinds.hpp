#pragma once

// One function for each kind of thing that inspect() knows.

#include <filesystem>
#include <string>
#include <vector>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/observer.hpp"
#include "vpd/config/value.hpp"

namespace vpd {

struct Findings {
  std::string kind;
  std::string title;  ///< the kind in a few words
  std::string text;   ///< tables, each line ended; what files name in them is printable()
  config::Value data{config::Value::Map{}};
  std::vector<std::string> warnings;  ///< what could not be listed
};

/// Lists a part of what was asked for: one that cannot be read is a warning.
template <class List>
void list_or_warn(Findings& findings, const List& list) {
  try {
    list();
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& error) {
    findings.warnings.emplace_back(error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    findings.warnings.emplace_back(error.what());
  }
}

Findings inspect_run(const std::filesystem::path& directory, const Observer& observer);
Findings inspect_checkpoint(const std::filesystem::path& directory, const Observer& observer);
Findings inspect_target(const std::filesystem::path& directory, const Observer& observer);
Findings inspect_huggingface(const std::filesystem::path& directory, const Observer& observer);
Findings inspect_tokens(const std::filesystem::path& path, const Observer& observer);
Findings inspect_safetensors(const std::filesystem::path& file, const Observer& observer);
Findings inspect_tokenizer(const std::filesystem::path& file, const Observer& observer);

}  // namespace vpd
