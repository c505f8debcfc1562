#pragma once

// Names of subcomponents: written by hand, or answered by a language model that somebody runs elsewhere.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "vpd/io/run_directory.hpp"

namespace vpd {

struct Label {
  std::string label, input_label, output_label;
  std::string confidence;  ///< low, medium, high, or nothing
  std::string source;      ///< who said so
  std::string time;
};

/// RUN/interpretation/step_…/labels.json: {key: {label, input_label, ...}}.
std::filesystem::path labels_path(const RunDirectory& run, std::int64_t step);

class Labels {
 public:
  /// Those of a file, or none where there is no file. Throws DataError for one that is damaged.
  explicit Labels(std::filesystem::path path);

  const std::map<std::string, Label>& all() const { return labels_; }
  /// Nothing where there is none.
  std::string label_of(const std::string& key) const;

  /// Takes a label as its text is allowed to be: control characters and what turns the direction of text are
  /// left out. Throws DataError for text that is no UTF-8, empty, or longer than 200 characters, beginning
  /// with `where`.
  void set(const std::string& key, Label label, const std::string& where);
  /// Drops all but those of that source.
  void keep_only(const std::string& source) {
    std::erase_if(labels_, [&](const auto& entry) { return entry.second.source != source; });
  }
  void save() const;

 private:
  std::filesystem::path path_;
  std::map<std::string, Label> labels_;
};

}  // namespace vpd
