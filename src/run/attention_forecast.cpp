// What reading a block's attention would take, from shapes alone.

#include <algorithm>

#include "attention_files.hpp"
#include "cost/operations.hpp"
#include "planned_pass.hpp"
#include "text_line.hpp"
#include "token_rows.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/cost/harvest.hpp"
#include "vpd/interpretation/harvest.hpp"
#include "vpd/machine/memory.hpp"
#include "vpd/run/run_choice.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;

/// A block's attention as an architecture lists it: its shape and the subcomponents of q and k.
struct AttentionPlan {
  AttentionShape shape;
  std::int64_t query_columns = 0, key_columns = 0;
};

AttentionPlan plan_of(const StepShape& step, std::int64_t block) {
  const Architecture& target = step.target;
  std::vector<AttentionPlan> blocks;
  for (std::size_t i = 1; i < target.stages.size(); ++i) {
    if (!target.stages[i].attention) continue;
    const std::size_t q = target.stages[i - 1].first;  // q, k and v read one input
    blocks.push_back({*target.stages[i].attention, step.C_of(q), step.C_of(q + 1)});
  }
  VPD_CHECK(!blocks.empty(), UsageError, "expected a target with attention, found one without");
  const auto count = static_cast<std::int64_t>(blocks.size());
  VPD_CHECK(block >= 0 && block < count, UsageError, "--layer: expected a block from 0 to {}, found {}",
            count - 1, block);
  return blocks[static_cast<std::size_t>(block)];
}

}  // namespace

AttentionForecast forecast_attention(const AttentionOptions& options, const Observer& observer) {
  check_attention_options(options);
  AttentionForecast forecast;
  const PlannedPass planned({.run = options.run,
                             .checkpoint = options.checkpoint,
                             .overrides = options.overrides,
                             .device = options.device,
                             .threads = options.threads,
                             .tokens = options.tokens,
                             .split = options.split},
                            forecast.warnings);
  const StepShape& step = planned.step_shape();
  const Dataset& data = planned.data();
  require_one_length(data, planned.config().data);
  const std::int64_t T = step.T, V = step.target.output_width;
  const AttentionPlan plan = plan_of(step, options.layer);
  const std::int64_t wanted = (options.positions + T - 1) / T;
  forecast.T = T;
  forecast.rows = std::min(wanted, data.rows().value_or(wanted));
  forecast.positions = forecast.rows * T;
  forecast.batch_rows = std::min(suitable_harvest_rows(step.sites.total_C(), T, V), forecast.rows);
  const RunDirectory directory = RunDirectory::open(options.run);
  forecast.harvested =
      harvested_step(directory, options.checkpoint.value_or(directory.latest()->step)).has_value();

  // A batch is read as a harvest reads it, twice where there is none that says what is alive.
  const HarvestCost reading = predict_harvest(step, {.rows = forecast.batch_rows,
                                                     .positions = forecast.positions,
                                                     .alive = 0,
                                                     .l0 = 0.0,
                                                     .output_tokens = 1});
  const double passes = forecast.harvested ? 1.0 : 2.0, positions = static_cast<double>(forecast.positions),
               rows = static_cast<double>(forecast.rows),
               looks = 1.0 + static_cast<double>(options.ablate.size());
  forecast.operations = passes * positions * reading.operations + looks * rows * clean_forward(step, T) +
                        rows * pair_summary_operations(plan.shape, plan.query_columns, plan.key_columns, T);

  const std::int64_t w = plan.shape.head_width, H = plan.shape.heads, B = forecast.batch_rows,
                     offsets = options.offsets ? options.offsets->second - options.offsets->first
                                               : std::min<std::int64_t>(32, T),
                     query = plan.query_columns + 2 * w, key = plan.key_columns + 2 * w;
  const std::int64_t pairs = (plan.query_columns + 2) * (plan.key_columns + 2) * H, lanes = step.lanes;
  const std::int64_t batch =
      4 * B * T * (3 * (query + key) + 4 * T) + 4 * B * T * (plan.query_columns * H + plan.key_columns * H);
  const std::int64_t program = planned.numerics().device.is_cpu() ? peak_resident_bytes() : 0;
  forecast.memory_bytes =
      program + reading.weight_bytes + reading.batch_bytes + batch + 8 * pairs * (offsets + 4) * (lanes + 2);
  forecast.disk_bytes = 4 * pairs * (2 * offsets + 3);
  forecast.device = describe_device(planned.numerics().device);
  forecast.seconds = planned.seconds(forecast.operations, forecast.batch_rows, observer);
  return forecast;
}

std::string forecast_text(const AttentionForecast& f) {
  std::string text = text_line("positions", fmt::format("{} in {} rows of {}, {} rows at once", f.positions,
                                                        f.rows, f.T, f.batch_rows));
  text += text_line("passes", f.harvested ? "one: the harvest says what is alive"
                                          : "two: the first says what is alive, since there is no harvest");
  text += text_line("operations", human_count(f.operations) + "FLOP");
  text += text_line("memory", human_bytes(static_cast<double>(f.memory_bytes)));
  text +=
      text_line("disk", human_bytes(static_cast<double>(f.disk_bytes)) + ", with every subcomponent alive");
  text += text_line("device", f.device);
  if (f.seconds)
    text += text_line(
        "time", fmt::format("about {}, at half of the speed of matrix products", human_duration(*f.seconds)));
  return text;
}

std::string forecast_json(const AttentionForecast& f) {
  const Json document = {{"positions", f.positions},
                         {"rows", f.rows},
                         {"batch_rows", f.batch_rows},
                         {"harvested", f.harvested},
                         {"operations", f.operations},
                         {"memory_bytes", f.memory_bytes},
                         {"disk_bytes", f.disk_bytes},
                         {"device", f.device},
                         {"seconds", f.seconds ? Json(*f.seconds) : Json()},
                         {"warnings", f.warnings}};
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
