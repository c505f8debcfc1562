#include "vpd/run/graph.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>

#include <ATen/ATen.h>

#include "edit_source.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/decomposition/columns.hpp"
#include "vpd/interpretation/labels.hpp"
#include "vpd/interpretation/prompt_set.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"
#include "vpd/passes/clean_pass.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Kind = GraphNode::Kind;

void check_options(const GraphOptions& options) {
  check_slug(options.slug);
  const PruneSettings& pruning = options.pruning;
  VPD_CHECK(pruning.coefficient >= 0.0 && std::isfinite(pruning.coefficient), UsageError,
            "--lambda: expected a number of at least 0, found {:g}", pruning.coefficient);
  VPD_CHECK(pruning.rate > 0.0 && std::isfinite(pruning.rate), UsageError,
            "--rate: expected a learning rate above 0, found {:g}", pruning.rate);
  VPD_CHECK(options.verdict.tolerance >= 0.0, UsageError,
            "--tolerance: expected a number of nats of at least 0, found {:g}", options.verdict.tolerance);
  VPD_CHECK(!(options.all_nodes && options.compare), UsageError,
            "--compare and --all-nodes exclude each other: without pruning there is nothing to compare");
}

/// " her@2", "#5@2", "kl@2", or without a position.
OutputTarget parse_target(const std::string& text, std::int64_t T, const EditSource& source) {
  OutputTarget target{.at = T - 1};
  std::string what = text;
  const std::size_t at = text.rfind('@');
  if (at != std::string::npos && at + 1 < text.size()) {
    const char *first = text.data() + at + 1, *end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(first, end, target.at);
    if (error == std::errc() && rest == end) what = text.substr(0, at);
  }
  VPD_CHECK(target.at >= 0 && target.at < T, UsageError,
            "--target {}: expected a position from 0 to {}, the prompt's last, found {}", quote_foreign(text),
            T - 1, target.at);
  if (what != "kl") target.token = source.token_named(what);
  return target;
}

struct Question {
  at::Tensor tokens;
  std::vector<OutputTarget> targets;
};

Question question_of(const GraphOptions& options, const EditSource& source,
                     std::vector<std::string>& warnings) {
  const Target& target = *source.run.decomposition.target;
  std::vector<std::int64_t> tokens = source.prompt_of(options.prompt, options.prompt_tokens);
  Question question;
  const auto T = static_cast<std::int64_t>(tokens.size());
  for (const std::string& text : options.targets) question.targets.push_back(parse_target(text, T, source));
  if (!options.continuation.empty()) {
    VPD_CHECK(
        source.tokenizer, UsageError,
        "--continuation: expected a tokenizer.json beside the target or its tokens, found none; name one "
        "with --tokenizer");
    const std::vector<std::int64_t> more = source.tokenizer->encode(options.continuation);
    for (const std::int64_t token : more) {
      question.targets.push_back({.at = static_cast<std::int64_t>(tokens.size()) - 1, .token = token});
      tokens.push_back(token);
    }
    if (!more.empty()) tokens.pop_back();  // what is said last is read by nobody
    VPD_CHECK(static_cast<std::int64_t>(tokens.size()) <= target.longest_sequence(), UsageError,
              "the prompt and its continuation: expected at most {} tokens, found {}",
              target.longest_sequence(), tokens.size());
  }
  question.tokens = at::tensor(tokens, at::kLong);
  const at::NoGradGuard no_grad;
  PlainExecutor plain;
  const at::Tensor p = target.forward(question.tokens.unsqueeze(0).to(source.run.numerics.device), plain)
                           .to(at::kDouble)
                           .softmax(1);
  if (question.targets.empty())
    question.targets.push_back({.at = T - 1, .token = p[T - 1].argmax().item<std::int64_t>()});
  for (const OutputTarget& one : question.targets) {
    if (!one.token) continue;
    const double probability = p[one.at][*one.token].item<double>();
    if (probability < 1e-4)
      warnings.push_back(
          fmt::format("the target says {} at position {} with probability {:.2g}: there is hardly "
                      "anything to explain",
                      source.token_text(*one.token), one.at, probability));
  }
  return question;
}

/// The stage of the target in which each site's matrix works.
std::vector<std::int64_t> stages_of(const OpenedRun& run) {
  std::vector<std::string> ignored;
  const Architecture architecture = describe_target(run.config.target, ignored);
  std::vector<std::int64_t> stages;
  for (const Site& site : run.decomposition.sites.all()) {
    std::int64_t number = 0, found = 0;
    for (const Stage& stage : architecture.stages) {
      if (site.matrix >= stage.first && site.matrix < stage.first + stage.count) found = number;
      ++number;
    }
    stages.push_back(found);
  }
  return stages;
}

void name_nodes(GraphResult& result, const EditSource& source) {
  const Sites& sites = source.run.decomposition.sites;
  const std::vector<std::int64_t> stages = stages_of(source.run);
  const std::int64_t above = *std::max_element(stages.begin(), stages.end()) + 1;
  const Labels labels(labels_path(source.run.directory, result.step));
  for (const GraphNode& node : result.graph.nodes) {
    std::string name, label;
    std::int64_t layer = 0;
    if (node.kind == Kind::subcomponent) {
      name = key_of_column(node.which, sites);
      label = labels.label_of(name);
      layer = stages[subcomponent_at(node.which, sites).site];
    } else if (node.kind == Kind::delta) {
      name = "Δ " + sites[static_cast<std::size_t>(node.which)].name;
      layer = stages[static_cast<std::size_t>(node.which)];
    } else {
      name = source.token_text(node.which);
      layer = node.kind == Kind::logit ? above : 0;
    }
    result.names.push_back(name);
    result.labels.push_back(label);
    result.layers.push_back(layer);
  }
}

void keep(const GraphResult& result, const GraphOptions& options, const EditSource& source) {
  publish_result(result.directory, [&](const fs::path& to) {
    std::vector<std::int64_t> sources, targets;
    std::vector<double> weights;
    for (const GraphEdge& edge : result.graph.edges) {
      sources.push_back(edge.source);
      targets.push_back(edge.target);
      weights.push_back(edge.weight);
    }
    save_safetensors(to / "edges.safetensors", {{"source", at::tensor(sources, at::kLong).to(at::kInt)},
                                                {"target", at::tensor(targets, at::kLong).to(at::kInt)},
                                                {"weight", at::tensor(weights, at::kDouble).to(at::kFloat)}});
    write_atomically(to / "graph.json", graph_json(result));
    write_atomically(to / "viewer.json", viewer_json(result, options.slug));
    write_about_edit(to, source, options.command_line, result.warnings);
  });
}

}  // namespace

GraphResult graph_run(const GraphOptions& options, const Observer& observer) {
  const auto start = std::chrono::steady_clock::now();
  check_options(options);
  EditSource source(options, observer);
  const Decomposition& d = source.run.decomposition;
  GraphResult result{
      .step = source.run.checkpoint.step, .all_nodes = options.all_nodes, .most = options.most};
  result.warnings = source.run.warnings;
  const auto [tokens, targets] = question_of(options, source, result.warnings);
  for (std::int64_t t = 0; t < tokens.size(0); ++t)
    result.texts.push_back(source.token_text(tokens[t].item<std::int64_t>()));

  const auto prune = [&](PruneMasks masks) {
    PruneSettings settings = options.pruning;
    settings.masks = masks;
    if (options.all_nodes) settings.steps = 0;
    const PromptImportance found =
        optimise_importance(d, tokens, targets, settings, observer.stop, nullptr, [&](const PruneStep& step) {
          if (step.number % 10 == 0)
            observer.announce(fmt::format("pruning under {} masks: step {} of {}, loss {:.3f}",
                                          name_of(masks), step.number, settings.steps, step.total));
        });
    VPD_CHECK(
        found.kept > 0, UsageError,
        "expected subcomponents that the outputs need, found that all {} were pruned; try --lambda {:g}",
        found.alive, options.pruning.coefficient / 2);
    observer.announce("judging what is left");
    result.pruned.push_back(
        {masks, found.kept,
         judge_importance(d, tokens, targets, found, masks, options.verdict, observer.stop)});
    return found;
  };
  PromptImportance found;
  compute_undivided(d, tokens.size(0), [&] { found = prune(options.pruning.masks); });
  result.alive = found.alive;
  if (options.all_nodes) {
    result.pruned.front().verdict.faithful = false;
    result.pruned.front().verdict.reason =
        "nothing was pruned: these are all subcomponents with an importance above 0";
  }
  if (options.compare) {
    for (const PruneMasks masks : {PruneMasks::adversarial, PruneMasks::stochastic, PruneMasks::importance})
      if (masks != options.pruning.masks)
        compute_undivided(d, tokens.size(0), [&] { static_cast<void>(prune(masks)); });
  }
  if (found.kept > 4000)
    result.warnings.push_back(fmt::format("the graph has {} nodes: it will be slow to look at", found.kept));
  observer.announce("following derivatives");
  result.graph = attribute_graph(d, tokens, targets, found.after, found.before, options.edges,
                                 *source.run.lanes, observer.stop);
  name_nodes(result, source);
  result.directory = results_path(source.run.directory, result.step) / "graphs" / options.slug;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  keep(result, options, source);
  return result;
}

}  // namespace vpd
