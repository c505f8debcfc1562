#include <algorithm>
#include <string>

#include <spdlog/fmt/fmt.h>

#include "vpd/base/foreign_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/base/version.hpp"
#include "vpd/config/value.hpp"
#include "vpd/run/check.hpp"

namespace vpd {
namespace {

using config::Value;

double giga(double operations) { return operations / 1e9; }

Value number(std::int64_t value) { return Value(value); }

Value text(const std::string& value) { return Value(value); }

template <class Parts, class Entry>
Value list_of(const Parts& parts, const Entry& entry) {
  Value::List list;
  for (const auto& part : parts) list.push_back(entry(part));
  return Value(std::move(list));
}

}  // namespace

std::string check_text(const CheckReport& report) {
  const StepShape& w = report.step_shape;
  std::string out = to_yaml(report.config);
  const auto line = [&](const std::string& content = "") { out += content + "\n"; };
  line();
  line(fmt::format("{:<40} {:>14}", "parameters", "number"));
  line(fmt::format("{:<40} {:>14}", "target", report.target_parameters()));
  line(fmt::format("{:<40} {:>14}", "  of these in decomposed matrices", w.sites.entries()));
  line(fmt::format("{:<40} {:>14}", "U and V", w.components.count()));
  line(fmt::format("{:<40} {:>14}", "causal-importance function", w.ci_parameters.count()));

  std::size_t widest = 4;
  for (const Site& site : w.sites) widest = std::max(widest, site.name.size());
  line();
  line(fmt::format("{:<{}} {:>8} {:>8} {:>8} {:>8}", "site", widest, "d_in", "d_out", "C", "rank"));
  for (const Site& site : w.sites) {
    line(fmt::format("{:<{}} {:>8} {:>8} {:>8} {:>8}", site.name, widest, site.d_in, site.d_out, site.C,
                     std::min(site.d_in, site.d_out)));
  }
  line(fmt::format("{:<{}} {:>8} {:>8} {:>8}", fmt::format("{} sites", w.sites.size()), widest, "", "",
                   w.sites.total_C()));

  line();
  for (const CheckedData& data : report.data) {
    if (!data.made.empty()) {
      line(fmt::format("data.{}: {}", data.role, data.made));
      continue;
    }
    line(fmt::format("data.{}: {} tokens in {} file{}, {} rows; all ids are below the vocabulary of {}",
                     data.role, data.tokens, data.files, data.files == 1 ? "" : "s", data.rows,
                     w.target.output_width));
  }

  const double operations = total(report.operations), steps = static_cast<double>(w.training.steps);
  line();
  line(fmt::format("{:<60} {:>12} {:>7}", fmt::format("operations of a step of {} x {} tokens", w.B(), w.T),
                   "GFLOP", "share"));
  for (const OperationCount& part : report.operations) {
    line(fmt::format("{:<60} {:>12.4g} {:>6.1f}%", part.part, giga(part.operations),
                     100.0 * part.operations / operations));
  }
  line(fmt::format("{:<60} {:>12.4g}",
                   fmt::format("all, {:.4g} a token", giga(operations) / static_cast<double>(w.B() * w.T)),
                   giga(operations)));

  line();
  line(fmt::format("{:<60} {:>12}", "memory at the largest moment of training", "MiB"));
  for (const MemoryPart& part : report.memory) {
    line(fmt::format("{:<60} {:>12.1f}", part.part, static_cast<double>(part.bytes) / 0x1p20));
  }
  line(fmt::format("{:<60} {:>12.1f}", "all", static_cast<double>(total(report.memory)) / 0x1p20));
  line();
  const std::string taken = human_bytes(static_cast<double>(total(report.memory))),
                    rest = w.evaluation.every || w.evaluation.final
                               ? ""
                               : "; evaluations not counted, of which training makes none";
  if (w.numerics.device.is_cpu() && !report.threads_bound.empty()) {
    line(fmt::format("{} thread{}, no more because of {}", report.threads, report.threads == 1 ? "" : "s",
                     report.threads_bound));
  }
  if (report.available) {
    line(fmt::format("training {} on {}{}: {} of {} {}{}", *report.fits() ? "fits" : "DOES NOT FIT",
                     report.device, w.lanes > 1 ? fmt::format(" with {} lanes", w.lanes) : "", taken,
                     human_bytes(static_cast<double>(*report.available)), report.available_giver, rest));
  } else {
    line(fmt::format("training takes {} on {}, which is not here: compare that with its memory{}", taken,
                     report.device, rest));
  }
  if (report.measured) {
    line(fmt::format("{} steps take about {} here, without evaluations", w.training.steps,
                     human_duration(report.measured->seconds * steps)));
    line(fmt::format("  measured: a step took {:.3g} s, and {} were held at most", report.measured->seconds,
                     human_bytes(static_cast<double>(report.measured->peak_bytes))));
  } else if (const auto seconds = report.step_seconds()) {
    line(fmt::format("{} steps take about {} here, without evaluations", w.training.steps,
                     human_duration(*seconds * steps)));
    line(fmt::format("  an estimate: their operations at half of the {:.3g} GFLOP/s that products reach;",
                     giga(report.product_peak)));
    line("  vpd check --measure makes a few steps and says what they took");
  }
  for (const std::string& warning : report.warnings) line("warning: " + printable(warning));
  return out;
}

std::string check_json(const CheckReport& report) {
  const StepShape& w = report.step_shape;
  Value::Map parameters = {{"target", number(report.target_parameters())},
                           {"decomposed", number(w.sites.entries())},
                           {"components", number(w.components.count())},
                           {"causal_importance", number(w.ci_parameters.count())}};
  Value root(Value::Map{
      {"version", text(std::string(version()))},
      {"config", config::parse_json(to_json(report.config), "the configuration")},
      {"device", text(report.device)},
      {"threads", number(report.threads)},
      {"lanes", number(w.lanes)},
      {"parameters", Value(std::move(parameters))},
      {"sites", list_of(w.sites,
                        [](const Site& site) {
                          return Value(Value::Map{{"name", text(site.name)},
                                                  {"d_in", number(site.d_in)},
                                                  {"d_out", number(site.d_out)},
                                                  {"C", number(site.C)}});
                        })},
      {"data", list_of(report.data,
                       [](const CheckedData& data) {
                         if (!data.made.empty())
                           return Value(Value::Map{{"role", text(data.role)}, {"made", text(data.made)}});
                         return Value(Value::Map{{"role", text(data.role)},
                                                 {"path", text(data.path.string())},
                                                 {"files", number(static_cast<std::int64_t>(data.files))},
                                                 {"tokens", number(data.tokens)},
                                                 {"rows", number(data.rows)}});
                       })},
      {"operations",
       list_of(report.operations,
               [](const OperationCount& part) {
                 return Value(Value::Map{{"part", text(part.part)}, {"flop", Value(part.operations)}});
               })},
      {"operations_total", Value(total(report.operations))},
      {"memory",
       list_of(
           report.memory,
           [](const MemoryPart& part) {
             return Value(Value::Map{{"part", text(std::string(part.part))}, {"bytes", number(part.bytes)}});
           })},
      {"memory_total", number(total(report.memory))},
      {"memory_available", report.available ? number(*report.available) : Value()},
      {"fits", report.fits() ? Value(*report.fits()) : Value()},
      {"product_peak", report.product_peak > 0.0 ? Value(report.product_peak) : Value()},
      {"step_seconds", report.step_seconds() ? Value(*report.step_seconds()) : Value()},
      {"measured", report.measured ? Value(Value::Map{{"step_seconds", Value(report.measured->seconds)},
                                                      {"peak_bytes", number(report.measured->peak_bytes)}})
                                   : Value()},
      {"warnings", list_of(report.warnings, text)},
  });
  // Only where this process has less than the machine.
  if (!report.threads_bound.empty()) root.map()->push_back({"threads_bound", text(report.threads_bound)});
  if (!report.available_giver.empty() && report.available_giver != "available")
    root.map()->push_back({"memory_available_giver", text(report.available_giver)});
  return config::to_json(root);
}

}  // namespace vpd
