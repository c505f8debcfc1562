// An explanation for people, and as JSON.

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/run/explain.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;

std::string prompts_text(const ExplainResult& result) {
  std::string text = fmt::format("\n{:<28} {:<12} {:>7} {:>9} {:>9} {:>7}   {}\n", "prompt", "continuation",
                                 "p", "circuit", "attacked", "nodes", "withstands the attack");
  for (const ExplainedPrompt& prompt : result.prompts) {
    text += fmt::format("{:<28.28} {:<12.12} {:>7.3f}", printable(prompt.text),
                        printable(prompt.continuation), prompt.probability.front());
    if (!prompt.rounded.empty())
      text += fmt::format(" {:>9.3f} {:>9.3f} {:>7}   {}", prompt.rounded.front(), prompt.attacked,
                          prompt.nodes, prompt.faithful ? "yes" : "no");
    text += "\n";
  }
  return text +
         "p: of the continuation's first token in the target; circuit: with the nodes of its graph alone; "
         "attacked: under\nthe worst attack on them\n";
}

std::string subcomponents_text(const ExplainResult& result) {
  constexpr std::size_t most = 10;
  if (result.subcomponents.empty()) return {};
  std::string text = fmt::format("\n{:<34} {:>11} {:>26} {:>14}\n", "subcomponent, taken out alone",
                                 "largest KL", "behind", "specificity");
  for (std::size_t i = 0; i < std::min(most, result.subcomponents.size()); ++i) {
    const ExplainedSubcomponent& one = result.subcomponents[i];
    const auto largest = std::max_element(one.kl.begin(), one.kl.end());
    const ExplainedPrompt& prompt = result.prompts[static_cast<std::size_t>(largest - one.kl.begin())];
    text += fmt::format("{:<34} {:>11.4f} {:>26.26} {:>14.3g}\n", one.key, *largest, printable(prompt.text),
                        one.specificity());
  }
  text += fmt::format(
      "specificity: that KL over the 99th percentile of the same on {} positions of the background\n",
      result.background_positions);
  const auto redundant = std::count_if(result.subcomponents.begin(), result.subcomponents.end(),
                                       [](const auto& one) { return one.made_up_for(); });
  return text + fmt::format(
                    "{} of {} count in the circuit and hardly in the target, where others make up for "
                    "them\n",
                    redundant, result.subcomponents.size());
}

std::string removals_text(const ExplainResult& result) {
  std::string text;
  for (const ExplainedRemoval& removal : result.removals) {
    const ExplainedPrompt& prompt = result.prompts[removal.prompt];
    text += fmt::format("\nwithout {} behind {}: ", quote_foreign(prompt.continuation),
                        quote_foreign(prompt.text));
    if (removal.keys.empty()) {
      text += "no subcomponent does it within the damage that is allowed\n";
      continue;
    }
    text += fmt::format("{} subcomponents, {}\n", removal.keys.size(), join_words(removal.keys));
    for (std::size_t i = 0; i < removal.before.size(); ++i)
      text += fmt::format("  p behind {:<28.28} {:.3f} → {:.3f}\n", printable(result.prompts[i].text),
                          removal.before[i], removal.after[i]);
    text += fmt::format("  KL on {} positions of the background: mean {:.5f}, 99th percentile {:.4f}\n",
                        removal.positions, removal.kl_mean, removal.kl_99);
    if (removal.redundant > 0)
      text += fmt::format("  {} of them {} made up for by others in the target\n", removal.redundant,
                          removal.redundant == 1 ? "is" : "are");
    for (const ExplainedRemoval::Baseline& baseline : removal.baselines)
      text += fmt::format("  {:<18} p {:.3f} at a mean KL of {:.5f} on what is to stay{}\n", baseline.name,
                          baseline.probability, baseline.side,
                          std::isnan(baseline.stayed)
                              ? ""
                              : fmt::format(", ln p of the others within {:.3f}", baseline.stayed));
  }
  return text;
}

}  // namespace

std::string explain_text(const ExplainResult& result) {
  std::string text = prompts_text(result);
  if (result.steps > 0 && !result.removals.empty()) {
    text += fmt::format(
        "\ntarget rows: KL {:.4f} with importances rounded up, {:.3f} after 20 steps of an "
        "attack\n{} subcomponents alive in {} matrices, {:.1f} each\n",
        result.rounded_kl, result.attacked_kl, result.alive, result.sites,
        static_cast<double>(result.alive) / static_cast<double>(std::max<std::int64_t>(1, result.sites)));
  }
  if (result.excluded_rows > 0)
    text += fmt::format("{} rows of the background held a prompt and were left out\n", result.excluded_rows);
  text += subcomponents_text(result) + removals_text(result);
  text += "\n";
  for (const ExplainStage& stage : result.stages) {
    if (stage.seconds) text += fmt::format("  {:<22} {}\n", stage.title, human_duration(*stage.seconds));
  }
  text += "configuration: " + result.config.string() + "\n";
  if (!result.page.empty()) text += "page: " + result.page.string() + "\n";
  return text;
}

std::string explain_json(const ExplainResult& result) {
  Json prompts = Json::array(), subcomponents = Json::array(), removals = Json::array(),
       stages = Json::object();
  for (const ExplainedSubcomponent& one : result.subcomponents)
    subcomponents.push_back({{"key", one.key},
                             {"kl", one.kl},
                             {"in_target", one.in_target},
                             {"in_circuit", one.in_circuit},
                             {"made_up_for", one.made_up_for()},
                             {"kl_mean", one.kl_mean},
                             {"kl_99", one.kl_99},
                             {"specificity", one.specificity()}});
  for (const ExplainedPrompt& prompt : result.prompts)
    prompts.push_back({{"text", to_valid_utf8(prompt.text)},
                       {"continuation", to_valid_utf8(prompt.continuation)},
                       {"tokens", prompt.tokens},
                       {"next", prompt.next},
                       {"probability", prompt.probability},
                       {"rounded", prompt.rounded},
                       {"nodes", prompt.nodes},
                       {"attacked", prompt.attacked},
                       {"faithful", prompt.faithful}});
  for (const ExplainedRemoval& removal : result.removals) {
    Json baselines = Json::array();
    for (const ExplainedRemoval::Baseline& one : removal.baselines)
      baselines.push_back(
          {{"name", one.name}, {"probability", one.probability}, {"side", one.side}, {"stayed", one.stayed}});
    removals.push_back({{"prompt", removal.prompt},
                        {"keys", removal.keys},
                        {"before", removal.before},
                        {"after", removal.after},
                        {"kl_mean", removal.kl_mean},
                        {"kl_99", removal.kl_99},
                        {"positions", removal.positions},
                        {"redundant", removal.redundant},
                        {"baselines", baselines}});
  }
  for (const ExplainStage& stage : result.stages)
    if (stage.seconds) stages[stage.name] = *stage.seconds;
  const Json json = {{"prompts", prompts},
                     {"subcomponents", subcomponents},
                     {"background_positions", result.background_positions},
                     {"removals", removals},
                     {"steps", result.steps},
                     {"step_seconds", result.step_seconds},
                     {"sites", result.sites},
                     {"alive", result.alive},
                     {"rounded_kl", result.rounded_kl},
                     {"attacked_kl", result.attacked_kl},
                     {"background_rows", result.background_rows},
                     {"excluded_rows", result.excluded_rows},
                     {"stage_seconds", stages},
                     {"config", result.config.string()},
                     {"page", result.page.string()},
                     {"warnings", result.warnings}};
  return json_text(json, 1) + "\n";
}

}  // namespace vpd
