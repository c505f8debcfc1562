// What a harvest says of itself, for people and for programs.

#include <nlohmann/json.hpp>

#include "text_line.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/run/harvest.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;

}  // namespace

std::string harvest_text(const HarvestResult& result) {
  std::string text = text_line(result.complete ? "harvest" : "part", result.directory.string());
  text += text_line("step", std::to_string(result.step));
  text += text_line("positions", fmt::format("{} in {} rows, {:.1f} subcomponents fire at one",
                                             result.positions, result.rows, result.firings));
  text += text_line("alive", fmt::format("{} of {} subcomponents fired", result.alive, result.columns));
  text += text_line("time", human_duration(result.seconds));
  return text;
}

std::string harvest_json(const HarvestResult& result) {
  const Json document = {{"directory", result.directory.string()},
                         {"complete", result.complete},
                         {"step", result.step},
                         {"positions", result.positions},
                         {"rows", result.rows},
                         {"alive", result.alive},
                         {"subcomponents", result.columns},
                         {"firings_a_position", result.firings},
                         {"seconds", result.seconds},
                         {"warnings", result.warnings}};
  return json_text(document, 1) + "\n";
}

std::string forecast_text(const HarvestForecast& f) {
  std::string text = text_line("positions", fmt::format("{} in {} rows of {}, {} rows at once", f.positions,
                                                        f.rows, f.T, f.batch_rows));
  text += text_line("operations",
                    fmt::format("{}FLOP a position, {}FLOP a million", human_count(f.operations_a_position),
                                human_count(f.operations_a_position * 1e6)));
  text += text_line("assumed",
                    fmt::format("{} of {} subcomponents fire, {:g} at a position", f.alive, f.columns, f.l0));
  text += text_line("memory", fmt::format("{}, and {} to put parts together",
                                          human_bytes(static_cast<double>(f.memory_bytes)),
                                          human_bytes(static_cast<double>(f.merge_memory_bytes))));
  text += text_line("disk", human_bytes(static_cast<double>(f.disk_bytes)));
  text += text_line("output", f.output_tokens == 0 ? "every token's probability"
                                                   : fmt::format("the {} most probable tokens of a position",
                                                                 f.output_tokens));
  text += text_line("device", f.device);
  if (f.seconds) {
    const double million = *f.seconds / static_cast<double>(f.positions) * 1e6;
    text += text_line(
        "time", fmt::format("about {}, {} per million positions, at half of the speed of matrix products",
                            human_duration(*f.seconds), human_duration(million)));
  }
  return text;
}

std::string forecast_json(const HarvestForecast& f) {
  const Json document = {{"positions", f.positions},
                         {"rows", f.rows},
                         {"batch_rows", f.batch_rows},
                         {"operations_a_position", f.operations_a_position},
                         {"alive", f.alive},
                         {"l0", f.l0},
                         {"memory_bytes", f.memory_bytes},
                         {"merge_memory_bytes", f.merge_memory_bytes},
                         {"disk_bytes", f.disk_bytes},
                         {"output_tokens", f.output_tokens},
                         {"device", f.device},
                         {"seconds", f.seconds ? Json(*f.seconds) : Json()},
                         {"warnings", f.warnings}};
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
