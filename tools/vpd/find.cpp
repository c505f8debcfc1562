#include "vpd/run/find.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "commands.hpp"

namespace vpd {

void add_find(CLI::App& app) {
  struct Arguments {
    FindOptions options;
    std::string side = "input", tokenizer, json;
  };
  auto arguments = std::make_shared<Arguments>();
  FindOptions& options = arguments->options;
  CLI::App* command =
      app.add_subcommand("find", "Find subcomponents by the tokens that they fire at, or by likeness");
  add_harvest_options(*command, options, arguments->tokenizer);
  CLI::Option* tokens = command->add_option("--tokens", options.tokens,
                                            "Tokens between commas, as in \" and, or\"; #5 is token 5");
  CLI::Option* side = command
                          ->add_option("--side", arguments->side,
                                       "input: the token at the position; output: what the model says there")
                          ->check(CLI::IsMember({"input", "output"}))
                          ->capture_default_str();
  command
      ->add_option("--like", options.like,
                   "A subcomponent, as in h.0.mlp.c_fc:12, that others are to be like")
      ->excludes(side);
  command->add_option("--by", options.vector, "Likeness of U (what it writes) or V (what it reads)")
      ->excludes(tokens)
      ->check(CLI::IsMember({"U", "V"}))
      ->capture_default_str();
  command->add_option("--sites", options.sites, "Sites to look in, names or patterns between commas")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option("--top", options.most, "How many are shown")
      ->check(at_least_one())
      ->capture_default_str();
  command->add_option("--min-firings", options.least_firings, "Leave out what fires less often")
      ->check(at_least_zero())
      ->capture_default_str();
  add_json_option(*command, arguments->json, "the result");
  command->footer(
      "Examples:\n"
      "  vpd find runs/demo --tokens \" and, or, but\"\n"
      "  vpd find runs/demo --tokens \" of\" --side output --sites \"h.*.mlp.down_proj\"\n"
      "  vpd find runs/demo --like h.1.attn.q_proj:12 --by V");
  command->callback([arguments] {
    FindOptions& chosen = arguments->options;
    chosen.side = arguments->side == "output" ? TokenSide::output : TokenSide::input;
    if (!arguments->tokenizer.empty()) chosen.tokenizer = arguments->tokenizer;
    const FindResult result = find_subcomponents(chosen);
    present(find_text(result), find_json(result), arguments->json);
  });
}

}  // namespace vpd
