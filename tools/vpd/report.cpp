#include "vpd/run/report.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "activity.hpp"
#include "command_line.hpp"
#include "commands.hpp"
#include "interrupt.hpp"

namespace vpd {

void add_report(CLI::App& app) {
  struct Arguments {
    ReportOptions options;
    std::string tokenizer, out, compare, json;
    bool single = false, paged = false;
  };
  auto arguments = std::make_shared<Arguments>();
  ReportOptions& options = arguments->options;
  CLI::App* command = app.add_subcommand("report", "Write a page about a run, to open in a browser");
  add_harvest_options(*command, options, arguments->tokenizer);
  command
      ->add_option("--out", arguments->out,
                   "File, or directory of several; without it RUN/report.html, or RUN/report")
      ->check(a_path());
  CLI::Option* single = command->add_flag("--single", arguments->single, "One file, however large");
  command->add_flag("--paged", arguments->paged, "Several files in a directory, with all examples")
      ->excludes(single);
  command
      ->add_option("--max-mb", options.most_megabytes,
                   "Megabytes of one file at most; above that several are written")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  command->add_option("--compare", arguments->compare, "Another run, to set beside this one")
      ->check(a_path());
  add_json_option(*command, arguments->json, "what was written");
  command->footer(
      "Examples:\n"
      "  vpd report runs/demo\n"
      "  vpd report runs/seed0 --compare runs/seed1 --out seeds.html");
  command->callback([arguments] {
    ReportOptions& chosen = arguments->options;
    if (!arguments->tokenizer.empty()) chosen.tokenizer = arguments->tokenizer;
    if (!arguments->out.empty()) chosen.out = arguments->out;
    if (!arguments->compare.empty()) chosen.compare = arguments->compare;
    if (arguments->single) chosen.form = ReportForm::single;
    if (arguments->paged) chosen.form = ReportForm::paged;
    watch_interrupts("stopping");
    const ReportResult result = [&] {
      Activity activity;
      Observer observer = activity.observer();
      observer.stop = interrupted;
      return write_report(chosen, observer);
    }();
    warn(result.warnings);
    present(report_text(result), report_json(result), arguments->json);
  });
}

}  // namespace vpd
