#include "vpd/run/reading_forecast.hpp"

#include <nlohmann/json.hpp>

#include "text_line.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"

namespace vpd {

std::string forecast_text(const ReadingForecast& f) {
  return text_line("positions", fmt::format("{} in {} rows of {}, {} rows at once", f.positions, f.rows,
                                            f.row_length, f.batch_rows)) +
         text_line("memory", human_bytes(static_cast<double>(f.memory_bytes))) +
         text_line("device", f.device) +
         text_line("time", "about " + human_duration(f.seconds) + ", measured on the first batches");
}

std::string forecast_json(const ReadingForecast& f) {
  const nlohmann::ordered_json document = {{"positions", f.positions},   {"rows", f.rows},
                                           {"row_length", f.row_length}, {"batch_rows", f.batch_rows},
                                           {"seconds", f.seconds},       {"memory_bytes", f.memory_bytes},
                                           {"device", f.device},         {"warnings", f.warnings}};
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
