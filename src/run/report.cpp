#include "vpd/run/report.hpp"

#include <chrono>

#include "packed_text.hpp"
#include "report_assets.hpp"
#include "report_data.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/base/text.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::size_t page_file_bytes = 256 * 1024;

/// The template with each {{NAME}} replaced.
std::string filled(std::string_view page,
                   const std::vector<std::pair<std::string, std::string_view>>& values) {
  std::string text;
  for (std::size_t at = 0; at < page.size();) {
    const std::size_t open = page.find("{{", at);
    if (open == std::string_view::npos) {
      text += page.substr(at);
      break;
    }
    const std::size_t close = page.find("}}", open);
    text += page.substr(at, open - at);
    const std::string_view name = page.substr(open + 2, close - open - 2);
    for (const auto& [known, value] : values)
      if (known == name) text += value;
    at = close + 2;
  }
  return text;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      out += c;
    }
  }
  return out;
}

/// Whether a directory is empty, or holds what write_paged() leaves and nothing else: that may be replaced.
bool is_report(const fs::path& directory) {
  std::error_code error;
  if (!fs::is_directory(directory, error)) return false;
  for (fs::directory_iterator i(directory, error), end; !error && i != end; i.increment(error)) {
    const std::string name = i->path().filename().string();
    if (name == "index.html") {
      if (read_text(i->path()).find("<script type=\"application/json\" id=\"meta\">") == std::string::npos)
        return false;
      continue;
    }
    if (name != "data") return false;
    for (fs::directory_iterator k(i->path(), error); !error && k != end; k.increment(error))
      if (k->path().extension() != ".js") return false;
  }
  return !error;
}

class Page {
 public:
  explicit Page(const ReportData& data) : data_(data), assets_(report_assets()) {
    VPD_CHECK(!assets_.d3.empty(), UsageError,
              "this vpd was built without D3, which the report's charts need: install the package node-d3, "
              "run cmake again "
              "and build");
    if (!data.index.is_null()) index_ = packed(json_text(data.index));
    for (const std::string& chunk : data.chunks) chunks_.push_back(packed(chunk));
  }

  std::string single() const {
    std::string blobs = blob("index", index_);
    for (std::size_t i = 0; i < chunks_.size(); ++i) blobs += blob(fmt::format("chunk-{}", i), chunks_[i]);
    return with(blobs, {});
  }

  /// index.html and data/NNN.js beside it.
  std::int64_t write_paged(const fs::path& directory) const {
    std::int64_t bytes = 0;
    fs::create_directories(directory / "data");
    const auto put = [&](const fs::path& path, const std::string& text) {
      write_atomically(path, text);
      bytes += static_cast<std::int64_t>(text.size());
    };
    Json where = Json::array();  // file of each chunk
    std::string file;
    std::size_t files = 0;
    const auto flush = [&] {
      if (file.empty()) return;
      put(directory / "data" / fmt::format("{:03}.js", files++), file);
      file.clear();
    };
    for (std::size_t i = 0; i < chunks_.size(); ++i) {
      const std::string line = fmt::format("vpdPage({},\"{}\");\n", i, chunks_[i]);
      if (!file.empty() && file.size() + line.size() > page_file_bytes) flush();
      where.push_back(files);
      file += line;
    }
    flush();
    put(directory / "index.html", with(blob("index", index_), where));
    return bytes;
  }

 private:
  static std::string blob(const std::string& id, const std::string& content) {
    if (content.empty()) return {};
    return fmt::format("<script type=\"application/octet-stream\" id=\"{}\">{}</script>\n", id, content);
  }

  std::string with(const std::string& blobs, const Json& files) const {
    Json meta = data_.meta;
    meta["chunks"] = chunks_.size();
    meta["files"] = files;
    const std::string json = script_safe(json_text(meta)), licence = escaped(assets_.d3_licence);
    const std::string title = escaped(printable(meta["run"]["name"].get<std::string>()));
    return filled(assets_.page, {{"TITLE", title},
                                 {"STYLE", assets_.style},
                                 {"D3", assets_.d3},
                                 {"LICENCE", licence},
                                 {"SCRIPT", assets_.script},
                                 {"META", json},
                                 {"BLOBS", blobs}});
  }

  const ReportData& data_;
  ReportAssets assets_;
  std::string index_;
  std::vector<std::string> chunks_;
};

}  // namespace

ReportResult write_report(const ReportOptions& options, const Observer& observer) {
  const auto start = std::chrono::steady_clock::now();
  const RunDirectory run = RunDirectory::open(options.run);
  ReportResult result;
  VPD_CHECK(options.most_megabytes >= 0.0 && options.most_megabytes <= 1e6, UsageError,
            "--max-mb: expected a number from 0 to 1e6, found {}", options.most_megabytes);
  const auto most = static_cast<std::int64_t>(options.most_megabytes * 1e6);
  ReportData data = report_data(options, options.form == ReportForm::paged, observer);
  observer.announce("writing the page");
  if (options.form != ReportForm::paged) {
    const std::string page = Page(data).single();
    const auto bytes = static_cast<std::int64_t>(page.size());
    if (options.form == ReportForm::single || bytes <= most) {
      result.page = options.out.value_or(run.path() / "report.html");
      VPD_CHECK(!fs::is_directory(result.page), DataError,
                "{}: expected a file for the report, found a directory", result.page.string());
      write_atomically(result.page, page);
      result.bytes = bytes;
      if (bytes > most)
        result.warnings.push_back(
            fmt::format("the page has {}, more than the {:g} MB of --max-mb; --paged makes several files",
                        human_bytes(static_cast<double>(bytes)), options.most_megabytes));
    } else {
      result.warnings.push_back(
          fmt::format("one file would have {}, more than the {:g} MB of --max-mb: several are written",
                      human_bytes(static_cast<double>(bytes)), options.most_megabytes));
      data = report_data(options, /*all_examples=*/true, observer);
      result.paged = true;
    }
  } else {
    result.paged = true;
  }
  if (result.paged) {
    VPD_CHECK(!options.out || options.out->extension() != ".html", UsageError,
              "--out {}: expected a directory for a report of several files, found the name of one; --single "
              "makes one file of any size, --max-mb sets where several begin",
              options.out ? options.out->string() : "");
    const fs::path directory = options.out.value_or(run.path() / "report");
    std::error_code error;
    VPD_CHECK(
        !fs::exists(directory, error) || is_report(directory), DataError,
        "{}: expected a new directory for the report, or one with an older report, found something else",
        directory.string());
    publish_result(directory,
                   [&](const fs::path& temporary) { result.bytes = Page(data).write_paged(temporary); });
    result.page = directory / "index.html";
  }
  result.subcomponents = data.subcomponents;
  result.missing = data.missing;
  result.warnings.insert(result.warnings.end(), data.warnings.begin(), data.warnings.end());
  result.seconds = seconds_since(start);
  return result;
}

std::string report_text(const ReportResult& result) {
  std::string text = fmt::format("report       {}\n", result.page.string());
  text +=
      fmt::format("size         {}, {} subcomponents, {}\n", human_bytes(static_cast<double>(result.bytes)),
                  result.subcomponents, human_duration(result.seconds));
  for (const std::string& missing : result.missing) text += fmt::format("missing      {}\n", missing);
  return text;
}

std::string report_json(const ReportResult& result) {
  const Json document = {
      {"page", result.page.string()}, {"bytes", result.bytes},     {"subcomponents", result.subcomponents},
      {"paged", result.paged},        {"seconds", result.seconds}, {"missing", result.missing},
      {"warnings", result.warnings}};
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
