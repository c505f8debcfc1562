#include "vpd/run/intervene.hpp"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "edit_source.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/interpretation/edit_effect.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;

KeptNode kept_node(const std::string& text, const Sites& sites, std::int64_t T) {
  const std::size_t at = text.rfind('@');
  KeptNode node{.column = column_of(subcomponent_of(text.substr(0, at), sites), sites)};
  if (at != std::string::npos) {
    node.position = parse_positions(text.substr(at + 1)).first;
    VPD_CHECK(*node.position < T, UsageError, "--keep {}: expected a position below {}, which the prompt has",
              quote_foreign(text), T);
  }
  return node;
}

/// The tokens that are likely before or after.
std::vector<NextToken> next_tokens(const Intervened& done, std::int64_t most, const EditSource& source) {
  const at::Tensor before = done.target[-1].to(at::kDouble).softmax(0).cpu(),
                   after = done.edited[-1].to(at::kDouble).softmax(0).cpu();
  const at::Tensor order = at::maximum(before, after).argsort(/*stable=*/true, 0, /*descending=*/true);
  std::vector<NextToken> next;
  for (std::int64_t i = 0; i < std::min(most, order.size(0)); ++i) {
    const auto v = order[i].item<std::int64_t>();
    next.push_back({v, source.token_text(v), before[v].item<double>(), after[v].item<double>()});
  }
  return next;
}

void generate_all(const InterveneOptions& options, const EditSource& source,
                  const std::vector<std::int64_t>& prompt, const std::vector<RankOneEdit>& edits,
                  const InterventionSettings& settings, const Observer& observer, InterveneResult& result) {
  const Decomposition& d = source.run.decomposition;
  const auto add = [&](const std::string& who, const std::vector<RankOneEdit>& made,
                       const InterventionSettings& in) {
    for (std::int64_t k = 0; k < options.samples; ++k) {
      observer.announce(fmt::format("generating: {}", who));
      GeneratedText text{.who = who,
                         .tokens = generate(d, prompt, made, in, options.generation, k, observer.stop)};
      text.text = source.tokenizer ? source.tokenizer->decode(text.tokens)
                                   : fmt::format("{}", fmt::join(text.tokens, " "));
      result.generations.push_back(std::move(text));
    }
  };
  add("target", {}, {});
  add("edited", edits, settings);
  if (options.controls == 0 || edits.empty()) return;
  VPD_CHECK(source.evidence, DataError,
            "--controls: expected a harvest, which says what fires as often, found none: run `vpd harvest "
            "{}` first",
            shell_quoted(options.run.string()));
  const std::vector<std::int64_t> columns = edited_columns(edits);
  std::int64_t number = 0;
  for (const auto& set :
       control_sets(source.evidence->evidence, columns, options.controls, settings.seed).sets)
    add(fmt::format("control {}", ++number), source.make(moved(options.edits, d.sites, columns, set)),
        settings);
  if (number < options.controls)
    result.warnings.push_back(fmt::format("--controls {}: there are only {} other sets of the same sites",
                                          options.controls, number));
}

void keep(const InterveneOptions& options, const EditSource& source, const Intervened& done,
          const InterveneResult& result) {
  const auto directory = results_path(source.run.directory, result.step) / "interventions" / *options.slug;
  publish_result(directory, [&](const std::filesystem::path& to) {
    std::vector<double> kl = result.kl;
    save_safetensors(to / "tokens.safetensors", {{"token", at::tensor(result.tokens, at::kLong).to(at::kInt)},
                                                 {"target", done.target.to(at::kFloat)},
                                                 {"edited", done.edited.to(at::kFloat)},
                                                 {"kl", at::tensor(kl, at::kDouble).to(at::kFloat)}});
    write_atomically(to / "intervention.json", intervene_json(result));
    Json about = about_result(options.command_line, result.step, weight_hashes(source.run.checkpoint.path),
                              result.warnings);
    about["edits"] = Json::array();
    for (const EditSpec& spec : options.edits) about["edits"].push_back(to_json(spec));
    about["note"] =
        "each token of an edited model is computed from the whole row again, since causal importances look "
        "at "
        "all of it";
    write_about(to, about);
  });
}

}  // namespace

InterveneResult intervene_run(const InterveneOptions& options, const Observer& observer) {
  if (options.slug) check_slug(*options.slug);
  VPD_CHECK(std::isfinite(options.generation.temperature) && std::isfinite(options.generation.top_p),
            UsageError, "--temperature, --top-p: expected numbers, found {} and {}",
            options.generation.temperature, options.generation.top_p);
  VPD_CHECK(
      options.controls == 0 || (options.generation.tokens > 0 && !options.edits.empty()), UsageError,
      "--controls {}: expected --generate and an edit beside it, since controls are texts that edits of "
      "other subcomponents lead to, found {}",
      options.controls, options.edits.empty() ? "no edit" : "no --generate");
  VPD_CHECK(
      options.samples == 1 || (options.generation.tokens > 0 && options.generation.temperature > 0.0),
      UsageError,
      "--samples {}: expected --generate and a --temperature above 0 beside it, since the most probable "
      "tokens make one text alone, found {}",
      options.samples, options.generation.tokens > 0 ? "a temperature of 0" : "no --generate");
  const EditSource source(options, observer, 1);
  InterveneResult result{.step = source.run.checkpoint.step,
                         .context = name_of(options.settings.context),
                         .tokens = source.prompt_of(options.prompt, options.prompt_tokens)};
  result.warnings = source.run.warnings;
  const auto T = static_cast<std::int64_t>(result.tokens.size());
  InterventionSettings settings = options.settings;
  VPD_CHECK((settings.context == EditContext::keep_only) == !options.kept.empty(), UsageError,
            "--keep: expected with --in keep-only, and with it alone");
  for (const std::string& text : options.kept)
    settings.kept.push_back(kept_node(text, source.run.decomposition.sites, T));
  const bool needs_edits = settings.context == EditContext::target;
  const std::vector<RankOneEdit> edits =
      options.edits.empty() && !needs_edits ? std::vector<RankOneEdit>() : source.make(options.edits);
  for (const EditSpec& spec : options.edits) {
    if (spec.where.positions)
      VPD_CHECK(options.generation.tokens > 0 || spec.where.positions->first < T, UsageError,
                "--positions {}:{}: expected positions of the prompt, which has {}",
                spec.where.positions->first, spec.where.positions->second, T);
  }
  const Intervened done =
      intervene(source.run.decomposition, at::tensor(result.tokens, at::kLong).unsqueeze(0), edits, settings);
  for (const std::int64_t token : result.tokens) result.texts.push_back(source.token_text(token));
  const at::Tensor kl = token_divergence(done.target, done.edited).cpu();
  result.kl.assign(kl.const_data_ptr<double>(), kl.const_data_ptr<double>() + kl.numel());
  result.next = next_tokens(done, options.top, source);
  if (options.generation.tokens > 0)
    generate_all(options, source, result.tokens, edits, settings, observer, result);
  if (options.slug) keep(options, source, done, result);
  return result;
}

std::string intervene_text(const InterveneResult& result) {
  std::string text =
      fmt::format("step {}, in {}\n\nKL from the target at each token, nats\n", result.step, result.context);
  for (std::size_t i = 0; i < result.kl.size(); ++i)
    text += fmt::format("  {:>4}  {:>9.4f}  {}\n", i, result.kl[i], result.texts[i]);
  text += fmt::format("\nNext token\n  {:>9} {:>9}\n", "target", "edited");
  for (const NextToken& next : result.next)
    text += fmt::format("  {:>9.4f} {:>9.4f}  {}\n", next.before, next.after, next.text);
  for (std::size_t i = 0; i < result.generations.size(); ++i) {
    if (i == 0) text += "\nTexts\n";
    text += fmt::format("  {:<11} {}\n", result.generations[i].who, printable(result.generations[i].text));
  }
  return text;
}

std::string intervene_json(const InterveneResult& result) {
  Json next = Json::array(), generations = Json::array();
  for (const NextToken& one : result.next)
    next.push_back({{"token", one.token}, {"text", one.text}, {"target", one.before}, {"edited", one.after}});
  for (const GeneratedText& one : result.generations)
    generations.push_back({{"who", one.who}, {"tokens", one.tokens}, {"text", one.text}});
  const Json document = {{"step", result.step},
                         {"context", result.context},
                         {"tokens", result.tokens},
                         {"texts", result.texts},
                         {"kl", result.kl},
                         {"next", next},
                         {"generations", generations},
                         {"warnings", result.warnings}};
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
