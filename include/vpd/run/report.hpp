#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"

namespace vpd {

enum class ReportForm {
  fitting,  ///< one file where that is small enough, else several
  single,
  paged,
};

struct ReportOptions {
  std::filesystem::path run{};
  std::optional<std::int64_t> checkpoint{};  ///< step; without it the last that has a harvest
  std::optional<std::filesystem::path> tokenizer{};
  std::optional<std::filesystem::path>
      out{};  ///< a file, or of several a directory; nothing: RUN/report.html, RUN/report
  ReportForm form = ReportForm::fitting;
  double most_megabytes = 10.0;                    ///< of one file
  std::optional<std::filesystem::path> compare{};  ///< another run to set beside this one
};

struct ReportResult {
  std::filesystem::path page;      ///< to open
  std::int64_t bytes = 0;          ///< of everything
  std::int64_t subcomponents = 0;  ///< alive ones, each with a page of its own
  bool paged = false;
  double seconds = 0.0;
  std::vector<std::string> missing;  ///< what the page lacks, with the command that makes it
  std::vector<std::string> warnings;
};

/// Writes a page that people open in a browser, without a network: what is known of a run so far. What is
/// missing is listed there. Throws DataError, UsageError.
ReportResult write_report(const ReportOptions& options, const Observer& observer = {});

std::string report_text(const ReportResult& result);
std::string report_json(const ReportResult& result);

}  // namespace vpd
