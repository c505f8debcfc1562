// What `vpd sample` says, for people and for programs.

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "text_line.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/run/sample.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;

std::string beginning_line(const RowBeginning& beginning) {
  if (beginning.tokens.empty()) return text_line("begin with", "a token " + beginning.origin);
  return text_line("begin with", fmt::format("{} ({})", printable(beginning.text), beginning.origin));
}

Json beginning_json(const RowBeginning& beginning) {
  return {{"tokens", beginning.tokens}, {"origin", beginning.origin}, {"text", beginning.text}};
}

}  // namespace

std::string sample_text(const SampleResult& r) {
  std::string text = text_line("rows", fmt::format("{} of {} tokens", r.rows, r.length));
  text += beginning_line(r.beginning);
  text += text_line("first row", printable(r.first_row));
  text +=
      text_line("file", fmt::format("{}, and what it is made of in {}", r.file.string(), r.about.string()));
  text += text_line("time", fmt::format("{}, {} tokens a second", human_duration(r.seconds),
                                        human_count(static_cast<double>(r.rows * r.length) / r.seconds)));
  return text;
}

std::string sample_json(const SampleResult& r) {
  const Json document = {{"file", r.file.string()},
                         {"about", r.about.string()},
                         {"rows", r.rows},
                         {"length", r.length},
                         {"beginning", beginning_json(r.beginning)},
                         {"first_row", r.first_row},
                         {"seconds", r.seconds},
                         {"tokens_a_second", static_cast<double>(r.rows * r.length) / r.seconds},
                         {"warnings", r.warnings}};
  return json_text(document, 1) + "\n";
}

std::string forecast_text(const SampleForecast& f) {
  std::string text =
      text_line("rows", fmt::format("{} of {} tokens, {} rows at once", f.rows, f.length, f.batch));
  text += beginning_line(f.beginning);
  const auto bytes = [](std::int64_t count) { return human_bytes(static_cast<double>(count)); };
  text += text_line("operations", fmt::format("{}FLOP", human_count(f.operations)));
  text += text_line("memory", fmt::format("{}, of which {} are keys and values", bytes(f.memory_bytes),
                                          bytes(f.cache_bytes)));
  text += text_line("disk", bytes(f.file_bytes));
  text += text_line("device", f.device);
  text +=
      text_line("time", fmt::format("about {}, as some tokens of one batch went", human_duration(f.seconds)));
  return text;
}

std::string forecast_json(const SampleForecast& f) {
  const Json document = {{"rows", f.rows},
                         {"length", f.length},
                         {"batch", f.batch},
                         {"beginning", beginning_json(f.beginning)},
                         {"operations", f.operations},
                         {"memory_bytes", f.memory_bytes},
                         {"cache_bytes", f.cache_bytes},
                         {"file_bytes", f.file_bytes},
                         {"device", f.device},
                         {"seconds", f.seconds},
                         {"warnings", f.warnings}};
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
