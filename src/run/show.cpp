#include "vpd/run/show.hpp"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/decomposition/columns.hpp"
#include "vpd/interpretation/labels.hpp"
#include "vpd/run/run_choice.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;

/// Printed columns, of UTF-8 whose characters are one wide.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}
std::string padded(const std::string& text, std::size_t width) {
  const std::size_t has = width_of(text);
  return has >= width ? text : text + std::string(width - has, ' ');
}

/// The 256-colour background of an importance, light to dark, and a foreground that reads on it.
std::string coloured(const std::string& text, float importance, float activation) {
  static constexpr int positive[] = {230, 222, 214, 208, 202}, negative[] = {195, 153, 117, 75, 33};
  const int level = std::clamp(static_cast<int>(importance * 5.0f), 0, 4);
  return fmt::format("\x1b[48;5;{};38;5;16m{}\x1b[0m", (activation < 0 ? negative : positive)[level], text);
}

/// An example on one line: the firing in the middle, as much around it as fits.
std::string example_line(const FiringExample& example, const std::vector<std::string>& texts,
                         double threshold, bool colour, int width) {
  const std::size_t middle = texts.size() / 2;
  const auto piece = [&](std::size_t i) {
    const bool fires = example.tokens[i] >= 0 && static_cast<double>(example.importance[i]) > threshold;
    if (!fires) return texts[i];
    if (colour) return coloured(texts[i], example.importance[i], example.activation[i]);
    return (i == middle ? "«" : "‹") + texts[i] + (i == middle ? "»" : "›");
  };
  const auto columns = [&](std::size_t i) { return width_of(texts[i]) + 2; };
  std::size_t begin = middle, end = middle + 1, used = columns(middle);
  for (bool grew = true; grew;) {
    grew = false;
    if (begin > 0 && example.tokens[begin - 1] >= 0 &&
        used + columns(begin - 1) <= static_cast<std::size_t>(width)) {
      used += columns(--begin);
      grew = true;
    }
    if (end < texts.size() && example.tokens[end] >= 0 &&
        used + columns(end) <= static_cast<std::size_t>(width)) {
      used += columns(end++);
      grew = true;
    }
  }
  std::string line;
  for (std::size_t i = begin; i < end; ++i) line += piece(i);
  return line;
}

std::string token_table(const ShownSubcomponent& shown, const std::vector<TokenScore>& by_recall,
                        const std::vector<TokenScore>& by_pmi) {
  std::string text = fmt::format("  {:<42}   {}\n", "by share of its firings", "by PMI");
  text += fmt::format("  {} {:>6} {:>6} {:>6}   {} {:>6} {:>6} {:>6}\n", padded("token", 21), "share",
                      "cover", "PMI", padded("token", 21), "share", "cover", "PMI");
  const auto cell = [&](const std::vector<TokenScore>& tokens, std::size_t i) {
    if (i >= tokens.size()) return std::string(42, ' ');
    const TokenScore& t = tokens[i];
    return fmt::format("{} {:>6.3f} {:>6.3f} {:>6.2f}", padded(shown.texts.at(t.token), 21), t.scores.recall,
                       t.scores.precision, t.scores.pmi);
  };
  for (std::size_t i = 0; i < std::max(by_recall.size(), by_pmi.size()); ++i)
    text += "  " + cell(by_recall, i) + "   " + cell(by_pmi, i) + "\n";
  return text;
}

std::string telling_line(const ShownSubcomponent& shown, const TellingTokens& telling) {
  std::vector<std::string> quoted;
  for (const TokenScore& token : telling.tokens) quoted.push_back("\"" + shown.texts.at(token.token) + "\"");
  return fmt::format("{}  (hit {:.2f}, cover {:.2f})", join_words(quoted), telling.scores.hit,
                     telling.scores.cover);
}

Json token_json(const ShownSubcomponent& shown, const std::vector<TokenScore>& tokens) {
  Json list = Json::array();
  for (const TokenScore& t : tokens)
    list.push_back({{"token", t.token},
                    {"text", shown.texts.at(t.token)},
                    {"count", t.count},
                    {"total", t.total},
                    {"recall", t.scores.recall},
                    {"precision", t.scores.precision},
                    {"lift", t.scores.lift},
                    {"pmi", t.scores.pmi}});
  return list;
}

}  // namespace

ShownSubcomponent show_subcomponent(const ShowOptions& options) {
  const OpenedEvidence opened(options.run, options.checkpoint, options.tokenizer);
  const Evidence& evidence = opened.evidence;
  const SubcomponentId id = opened.subcomponent(options.key);
  const std::int64_t column = column_of(id, evidence.sites());
  ShownSubcomponent shown{.key = to_text(id, evidence.sites()),
                          .step = opened.checkpoint.step,
                          .positions = evidence.positions(),
                          .threshold = evidence.threshold(),
                          .facts = evidence.facts(column)};
  shown.label = Labels(labels_path(opened.directory, shown.step)).label_of(shown.key);
  const auto firings = static_cast<double>(shown.facts.firings);
  const auto most = static_cast<std::size_t>(options.tokens);
  const std::vector<TokenScore> input = evidence.tokens(column, TokenSide::input),
                                output = evidence.tokens(column, TokenSide::output);
  shown.telling_input = telling_tokens(input, firings);
  shown.telling_output = telling_tokens(output, firings);
  shown.input = ranked(input, TokenRanking::recall, most, options.min_count);
  shown.input_pmi = ranked(input, TokenRanking::pmi, most, options.min_count);
  shown.output = ranked(output, TokenRanking::recall, most, options.min_count);
  shown.output_pmi = ranked(output, TokenRanking::pmi, most, options.min_count);
  shown.partners = evidence.partners(column);
  if (shown.partners.size() > most) shown.partners.resize(most);
  for (const PartnerScore& partner : shown.partners)
    shown.partner_keys.push_back(key_of_column(partner.column, evidence.sites()));
  std::array<std::int64_t, 3> taken{};
  for (FiringExample& example : evidence.examples(column)) {
    if (++taken[static_cast<std::size_t>(example.kind)] > options.examples) continue;
    std::vector<std::string> texts;
    for (const std::int32_t token : example.tokens)
      texts.push_back(token < 0 ? "" : printable(opened.raw_token(token)));
    shown.example_texts.push_back(std::move(texts));
    shown.examples.push_back(std::move(example));
  }
  shown.lens = evidence.lens(column);
  const auto name = [&](std::int64_t token) { shown.texts.emplace(token, opened.token_text(token)); };
  for (const auto* list : {&shown.telling_input.tokens, &shown.telling_output.tokens, &shown.input,
                           &shown.input_pmi, &shown.output, &shown.output_pmi})
    for (const TokenScore& token : *list) name(token.token);
  for (const LensToken& token : shown.lens) name(token.token);
  return shown;
}

std::string show_text(const ShownSubcomponent& shown, bool colour, int width) {
  const SubcomponentFacts& f = shown.facts;
  std::string text = shown.key + (shown.label.empty() ? "" : "  " + printable(shown.label)) + "\n\n";
  const auto line = [&](const char* name, const std::string& value) {
    text += fmt::format("{:<14} {}\n", name, value);
  };
  line("firings", fmt::format("{} of {} positions (density {:.4g}), in {} rows; g > {:g}", f.firings,
                              shown.positions, f.density, f.rows, shown.threshold));
  if (f.firings == 0)
    return text + fmt::format("\nIts importance was never above {:g} here; {:.2g} in the mean.\n",
                              shown.threshold, f.mean_importance);
  line("importance",
       fmt::format("{:.4g} in the mean{}", f.mean_importance, f.always_on() ? ": always on" : ""));
  line("activation",
       fmt::format("{:.3g} in the mean where it fires, from {:.3g} to {:.3g}; + {}, - {}", f.mean_activation,
                   f.activation_min, f.activation_max, f.positive_firings, f.negative_firings));
  // Of a handful of firings a divergence is noise.
  if (std::min(f.positive_firings, f.negative_firings) >= 5) {
    line("two signs", fmt::format("{}; the rarer one at {:.0f} % of firings",
                                  f.polysemantic ? "fires with both, on different tokens" : "fires with both",
                                  100.0 * f.sign_balance));
    line("",
         fmt::format("bits between them: tokens {:.2f} (noise {:.2f}), what is said {:.2f} ({:.2f})",
                     f.sign_divergence[0], f.null_divergence[0], f.sign_divergence[1], f.null_divergence[1]));
  }
  if (!shown.telling_input.tokens.empty()) line("fires at", telling_line(shown, shown.telling_input));
  if (!shown.telling_output.tokens.empty()) line("is said there", telling_line(shown, shown.telling_output));

  text += "\nTokens where it fires\n" + token_table(shown, shown.input, shown.input_pmi);
  if (!shown.output.empty())
    text += "\nWhat the model says there\n" + token_table(shown, shown.output, shown.output_pmi);
  if (!shown.lens.empty()) {
    std::vector<std::string> high, low;
    for (std::size_t i = 0; i < shown.lens.size(); ++i)
      (i < shown.lens.size() / 2 ? high : low).push_back(shown.texts.at(shown.lens[i].token));
    text += "\nTokens that its vector points at most (+) and least (-), by the weights alone\n  + " +
            join_words(high, "  ") + "\n  - " + join_words(low, "  ") + "\n";
  }
  if (!shown.partners.empty()) {
    text += fmt::format("\nFires together with\n  {:<28} {:>8} {:>8} {:>8} {:>8}\n", "", "Jaccard", "P(i|j)",
                        "phi", "times");
    for (std::size_t i = 0; i < shown.partners.size(); ++i) {
      const PartnerScore& p = shown.partners[i];
      text += fmt::format("  {:<28} {:>8.3f} {:>8.3f} {:>8.3f} {:>8}\n", shown.partner_keys[i],
                          p.scores.jaccard, p.scores.conditional, p.scores.phi, p.together);
    }
  }
  static constexpr const char* titles[] = {"Examples, activation +", "Examples, activation -", "Strongest"};
  for (std::size_t kind = 0; kind < 3; ++kind) {
    std::string lines;
    for (std::size_t e = 0; e < shown.examples.size(); ++e) {
      if (static_cast<std::size_t>(shown.examples[e].kind) == kind)
        lines += "  " +
                 example_line(shown.examples[e], shown.example_texts[e], shown.threshold, colour, width - 4) +
                 "\n";
    }
    if (!lines.empty()) text += fmt::format("\n{}\n{}", titles[kind], lines);
  }
  return text;
}

std::string show_json(const ShownSubcomponent& shown) {
  const SubcomponentFacts& f = shown.facts;
  Json partners = Json::array(), examples = Json::array(), lens = Json::array();
  for (std::size_t i = 0; i < shown.partners.size(); ++i) {
    const PartnerScores& s = shown.partners[i].scores;
    partners.push_back({{"key", shown.partner_keys[i]},
                        {"together", shown.partners[i].together},
                        {"jaccard", s.jaccard},
                        {"conditional", s.conditional},
                        {"log_lift", s.log_lift},
                        {"phi", s.phi}});
  }
  static constexpr const char* kinds[] = {"random_positive", "random_negative", "strongest"};
  for (std::size_t e = 0; e < shown.examples.size(); ++e) {
    const FiringExample& one = shown.examples[e];
    examples.push_back({{"kind", kinds[static_cast<std::size_t>(one.kind)]},
                        {"row", one.row},
                        {"position", one.position},
                        {"tokens", one.tokens},
                        {"texts", shown.example_texts[e]},
                        {"importance", one.importance},
                        {"activation", one.activation}});
  }
  for (const LensToken& token : shown.lens)
    lens.push_back({{"token", token.token},
                    {"text", shown.texts.at(token.token)},
                    {"dot", token.dot},
                    {"cosine", token.cosine}});
  const Json document = {{"key", shown.key},
                         {"label", shown.label},
                         {"step", shown.step},
                         {"positions", shown.positions},
                         {"threshold", shown.threshold},
                         {"firings", f.firings},
                         {"rows", f.rows},
                         {"density", f.density},
                         {"mean_importance", f.mean_importance},
                         {"mean_activation", f.mean_activation},
                         {"mean_absolute_activation", f.mean_absolute_activation},
                         {"activation_min", f.activation_min},
                         {"activation_max", f.activation_max},
                         {"positive_firings", f.positive_firings},
                         {"negative_firings", f.negative_firings},
                         {"sign", f.sign},
                         {"sign_balance", f.sign_balance},
                         {"sign_divergence", f.sign_divergence},
                         {"null_divergence", f.null_divergence},
                         {"polysemantic", f.polysemantic},
                         {"always_on", f.always_on()},
                         {"telling_input", token_json(shown, shown.telling_input.tokens)},
                         {"telling_output", token_json(shown, shown.telling_output.tokens)},
                         {"input", token_json(shown, shown.input)},
                         {"input_pmi", token_json(shown, shown.input_pmi)},
                         {"output", token_json(shown, shown.output)},
                         {"output_pmi", token_json(shown, shown.output_pmi)},
                         {"partners", partners},
                         {"lens", lens},
                         {"examples", examples}};
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
