#include "vpd/run/labels.hpp"

#include <map>
#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "command_line.hpp"
#include "commands.hpp"
#include "output.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/json_text.hpp"

namespace vpd {
namespace {

void add_labels_export(CLI::App& labels) {
  struct Arguments {
    LabelExport options;
    std::string tokenizer, task = "label", keys, json;
  };
  auto arguments = std::make_shared<Arguments>();
  LabelExport& options = arguments->options;
  CLI::App* command = labels.add_subcommand("export", "Write questions for a language model that you run");
  add_harvest_options(*command, options, arguments->tokenizer);
  command->add_option("--out", options.out, "Directory for prompts.jsonl, keys.json and README")
      ->required()
      ->check(a_path());
  command->add_option("--task", arguments->task, "label, or a test of labels: detection, fuzzing, intruder")
      ->check(CLI::IsMember({"label", "detection", "fuzzing", "intruder"}))
      ->capture_default_str();
  CLI::Option* top = command->add_option("--top", options.most, "Subcomponents, those that fire most often")
                         ->check(at_least_one())
                         ->capture_default_str();
  command->add_option("--keys", arguments->keys, "A file with a subcomponent a line, in place of --top")
      ->check(a_file())
      ->excludes(top);
  command->add_option("--examples", options.examples, "Examples in a question")
      ->check(at_least_one())
      ->capture_default_str();
  command
      ->add_option("--max-tokens", options.max_tokens,
                   "Tokens of a question at most, counted as four bytes each")
      ->check(at_least_one())
      ->capture_default_str();
  command->add_option("--seed", options.seed, "Seed of the tests' draws")->capture_default_str();
  add_json_option(*command, arguments->json, "what was written");
  command->footer("Example:\n  vpd labels export runs/demo --out questions --top 100");
  command->callback([arguments] {
    static const std::map<std::string, LabelTask> tasks = {{"label", LabelTask::label},
                                                           {"detection", LabelTask::detection},
                                                           {"fuzzing", LabelTask::fuzzing},
                                                           {"intruder", LabelTask::intruder}};
    LabelExport& chosen = arguments->options;
    chosen.task = tasks.at(arguments->task);
    if (!arguments->tokenizer.empty()) chosen.tokenizer = arguments->tokenizer;
    if (!arguments->keys.empty()) chosen.keys = arguments->keys;
    const LabelExportResult result = export_prompts(chosen);
    const nlohmann::ordered_json document = {{"out", result.out.string()},
                                             {"prompts", result.prompts},
                                             {"subcomponents", result.subcomponents},
                                             {"left_out", result.left_out}};
    std::string text = fmt::format("{} questions about {} subcomponents in {}\n", result.prompts,
                                   result.subcomponents, (result.out / "prompts.jsonl").string());
    text +=
        fmt::format("{} says how to ask them and take the answers in\n", (result.out / "README").string());
    if (result.left_out > 0)
      text +=
          fmt::format("{} left out: too few examples, or no others that are known never to fire with them\n",
                      result.left_out);
    present(text, json_text(document, 1) + "\n", arguments->json);
  });
}

void add_labels_import(CLI::App& labels) {
  struct Arguments {
    LabelImport options;
    std::string keys, json;
  };
  auto arguments = std::make_shared<Arguments>();
  LabelImport& options = arguments->options;
  CLI::App* command = labels.add_subcommand("import", "Take answers in: labels, and scores of tests");
  command->add_option("run", options.run, "Run directory")->required();
  command->add_option("answers", options.answers, "JSON lines: {id or key, label, ...}, or {id, answer}")
      ->required()
      ->check(a_file());
  command->add_option("--checkpoint", options.checkpoint,
                      "Step of the checkpoint; without it the last that has a harvest");
  command->add_option("--keys", arguments->keys, "keys.json of the export, where these are answers of tests")
      ->check(a_file());
  command->add_option("--source", options.source, "Who answered, as in the name of the model");
  command->add_flag("--merge", options.merge, "Keep labels that are there and have no new answer");
  add_json_option(*command, arguments->json, "the counts");
  command->footer("Example:\n  vpd labels import runs/demo answers.jsonl --source my-model --merge");
  command->callback([arguments] {
    if (!arguments->keys.empty()) arguments->options.keys = arguments->keys;
    const LabelImportResult result = import_labels(arguments->options);
    present(labels_text(result), labels_json(result), arguments->json);
  });
}

void add_labels_set(CLI::App& labels) {
  struct Arguments {
    std::filesystem::path run;
    std::optional<std::int64_t> checkpoint;
    std::string key, label;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = labels.add_subcommand("set", "Name one subcomponent by hand");
  command->add_option("run", arguments->run, "Run directory")->required();
  command->add_option("subcomponent", arguments->key, "As in h.0.mlp.c_fc:12")->required();
  command->add_option("label", arguments->label, "Its name")->required();
  command->add_option("--checkpoint", arguments->checkpoint,
                      "Step of the checkpoint; without it the last that has a harvest");
  command->footer("Example:\n  vpd labels set runs/demo h.1.attn.q_proj:12 \"looks back from 'and'\"");
  command->callback([arguments] {
    set_label(arguments->run, arguments->checkpoint, arguments->key, arguments->label);
    print(arguments->key + " is labelled; `vpd show` and `vpd report` say so from now on\n");
  });
}

}  // namespace

void add_labels(CLI::App& app) {
  CLI::App* labels =
      app.add_subcommand("labels", "Names of subcomponents: questions for a language model, and answers");
  labels->require_subcommand(1);
  labels->footer(
      "Examples:\n"
      "  vpd labels export runs/demo --out questions --top 100\n"
      "  vpd labels import runs/demo answers.jsonl --source my-model --merge\n"
      "  vpd labels set runs/demo h.1.attn.q_proj:27 \"looks back from 'and'\"");
  add_labels_export(*labels);
  add_labels_import(*labels);
  add_labels_set(*labels);
}

}  // namespace vpd
