// Questions about subcomponents, for a language model that the user runs anywhere.

#include <algorithm>
#include <fstream>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

#include "interpretation/label_prompts.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/philox.hpp"
#include "vpd/decomposition/columns.hpp"
#include "vpd/interpretation/labels.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"
#include "vpd/run/labels.hpp"
#include "vpd/run/run_choice.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::int64_t bytes_a_token = 4;
constexpr std::uint64_t stream_of_trials = 3;
constexpr double donor_density = 0.05;

const char* name_of(LabelTask task) {
  switch (task) {
    case LabelTask::label:
      return "label";
    case LabelTask::detection:
      return "detection";
    case LabelTask::fuzzing:
      return "fuzzing";
    case LabelTask::intruder:
      return "intruder";
  }
  return "";
}

/// Draws that are the same for the same subcomponent, whatever else is asked.
class Draws {
 public:
  Draws(std::uint64_t seed, std::int64_t column, LabelTask task)
      : key_(make_key(seed, RandomPurpose::harvest, stream_of_trials, static_cast<std::uint64_t>(column),
                      static_cast<std::uint64_t>(task))) {}
  /// A number below `bound`.
  std::size_t below(std::size_t bound) {
    std::uint32_t words[4];
    random_words(key_, 0, count_++, 0, words);
    return static_cast<std::size_t>((std::uint64_t{words[1]} << 32 | words[0]) % bound);
  }
  template <class T>
  void shuffle(std::vector<T>& values) {
    for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[below(i)]);
  }

 private:
  RandomKey key_;
  std::uint64_t count_ = 0;
};

constexpr std::string_view readme_beginning = "prompts.jsonl has a question a line:";

class Exporter {
 public:
  Exporter(const LabelExport& options)
      : options_(options),
        opened_(options.run, options.checkpoint, options.tokenizer),
        labels_(labels_path(opened_.directory, opened_.checkpoint.step)) {}

  LabelExportResult run() {
    check_readme();
    LabelExportResult result{.out = options_.out};
    std::string lines;
    Json keys = Json::object();
    for (const std::int64_t column : columns()) {
      const std::int64_t before = count_;
      ask(column, lines, keys);
      ++(count_ > before ? result.subcomponents : result.left_out);
    }
    VPD_CHECK(
        count_ > 0, DataError,
        "{}: expected subcomponents with enough examples for {}, and others that never fire with them, found "
        "none; "
        "choose others (--keys, a larger --top), or harvest again with --coactivation all or more positions",
        opened_.harvest.string(), name_of(options_.task));
    std::error_code error;
    fs::create_directories(options_.out, error);
    VPD_CHECK(!error, DataError, "{}: cannot make the directory: {}", options_.out.string(), error.message());
    write_atomically(options_.out / "prompts.jsonl", lines);
    write_atomically(options_.out / "keys.json", json_text(keys, 1) + "\n");
    write_atomically(options_.out / "README", readme());
    result.prompts = count_;
    return result;
  }

 private:
  /// One of an earlier export may be written anew, somebody else's may not.
  void check_readme() const {
    const fs::path file = options_.out / "README";
    std::error_code error;
    VPD_CHECK(!fs::exists(file, error) || read_text(file).starts_with(readme_beginning), UsageError,
              "--out {}: expected a directory without a README, or one of an earlier export, found another "
              "README, which the export would replace; choose another directory",
              options_.out.string());
  }

  std::vector<std::int64_t> columns() const {
    const Evidence& evidence = opened_.evidence;
    std::vector<std::int64_t> chosen;
    if (options_.keys) {
      std::ifstream file(*options_.keys);
      VPD_CHECK(file, DataError, "{}: cannot read the file", options_.keys->string());
      std::int64_t number = 0;
      for (std::string line; std::getline(file, line);) {
        ++number;
        if (line.empty()) continue;
        try {
          chosen.push_back(column_of(opened_.subcomponent(line), evidence.sites()));
        } catch (const UsageError& error) {
          throw DataError(fmt::format("{}: line {}: {}", options_.keys->string(), number, error.what()));
        }
      }
      return chosen;
    }
    chosen.assign(evidence.alive().begin(), evidence.alive().end());
    std::stable_sort(chosen.begin(), chosen.end(), [&](std::int64_t a, std::int64_t b) {
      return evidence.facts(a).firings > evidence.facts(b).firings;
    });
    if (static_cast<std::int64_t>(chosen.size()) > options_.most)
      chosen.resize(static_cast<std::size_t>(options_.most));
    std::sort(chosen.begin(), chosen.end());
    return chosen;
  }

  std::string key_of(std::int64_t column) const { return key_of_column(column, opened_.evidence.sites()); }

  std::string text_of(std::int32_t token) const {
    return token < 0 ? "" : printable(opened_.raw_token(token));
  }

  /// The excerpt with the tokens that `marked` says between « and ».
  std::string window(const FiringExample& example, const auto& marked) const {
    std::string text;
    for (std::size_t i = 0; i < example.tokens.size(); ++i) {
      const std::string token = text_of(example.tokens[i]);
      text += marked(i) && example.tokens[i] >= 0 ? "«" + token + "»" : token;
    }
    return text;
  }
  std::string centred(const FiringExample& example, std::size_t centre) const {
    return window(example, [&](std::size_t i) { return i == centre; });
  }
  /// The excerpt from `reach` tokens before the mark to as many behind it.
  std::string around(const FiringExample& example, std::size_t mark, std::size_t reach) const {
    FiringExample part = example;
    const auto cut = [&](auto& values) {
      const auto first = values.begin() + static_cast<std::ptrdiff_t>(mark - std::min(mark, reach));
      const auto last =
          values.begin() + static_cast<std::ptrdiff_t>(std::min(values.size(), mark + reach + 1));
      values = std::decay_t<decltype(values)>(first, last);
    };
    cut(part.tokens);
    return centred(part, std::min(mark, reach));
  }
  static std::size_t middle(const FiringExample& example) { return example.tokens.size() / 2; }

  std::vector<FiringExample> drawn_examples(std::int64_t column) const {
    std::vector<FiringExample> examples = opened_.evidence.examples(column);
    std::erase_if(examples, [](const FiringExample& e) { return e.kind == FiringExample::Kind::strongest; });
    return examples;
  }

  void put(std::int64_t column, std::string prompt, const char* version, Json schema, std::string& lines) {
    const std::string key = key_of(column);
    const auto limit = static_cast<std::size_t>(options_.max_tokens * bytes_a_token);
    VPD_CHECK(prompt.size() <= limit, UsageError,
              "--max-tokens {}: expected room for a question about {}, which takes about {}",
              options_.max_tokens, key, prompt.size() / bytes_a_token + 1);
    const Json line = {{"id", last_id(key)},
                       {"key", key},
                       {"task", name_of(options_.task)},
                       {"template", version},
                       {"prompt", std::move(prompt)},
                       {"schema", std::move(schema)}};
    lines += json_text(line) + "\n";
    ++count_;
    ++trial_;
  }
  std::string last_id(const std::string& key) const {
    return options_.task == LabelTask::label ? key
                                             : fmt::format("{}/{}/{}", name_of(options_.task), key, trial_);
  }

  void ask(std::int64_t column, std::string& lines, Json& keys) {
    trial_ = 0;
    switch (options_.task) {
      case LabelTask::label:
        return ask_label(column, lines);
      case LabelTask::detection:
        return ask_detection(column, lines, keys);
      case LabelTask::fuzzing:
        return ask_fuzzing(column, lines, keys);
      case LabelTask::intruder:
        return ask_intruder(column, lines, keys);
    }
  }

  std::vector<LabelMaterial::Token> tokens(const std::vector<TokenScore>& scores,
                                           TokenRanking ranking) const {
    std::vector<LabelMaterial::Token> found;
    for (const TokenScore& t : ranked(scores, ranking, 10))
      found.push_back({opened_.token_text(t.token), t.scores.recall, t.scores.precision, t.scores.pmi});
    return found;
  }

  /// Examples of both signs in turn, as many of each as it fires with, and none twice.
  std::vector<FiringExample> label_examples(std::int64_t column) const {
    const SubcomponentFacts facts = opened_.evidence.facts(column);
    std::vector<FiringExample> of_sign[2], chosen;
    std::set<std::pair<std::int64_t, std::int64_t>> seen;
    std::vector<FiringExample> all = opened_.evidence.examples(column);
    std::stable_partition(all.begin(), all.end(),
                          [](const FiringExample& e) { return e.kind != FiringExample::Kind::strongest; });
    for (FiringExample& one : all) {
      if (!seen.emplace(one.row, one.position).second) continue;
      of_sign[one.activation[middle(one)] < 0].push_back(std::move(one));
    }
    const double share = static_cast<double>(facts.positive_firings) /
                         static_cast<double>(std::max<std::int64_t>(1, facts.firings));
    std::size_t taken[2] = {0, 0};
    while (static_cast<std::int64_t>(chosen.size()) < options_.examples &&
           (taken[0] < of_sign[0].size() || taken[1] < of_sign[1].size())) {
      const bool behind = static_cast<double>(taken[0]) > share * static_cast<double>(chosen.size());
      const std::size_t sign =
          (behind || taken[0] == of_sign[0].size()) && taken[1] < of_sign[1].size() ? 1 : 0;
      chosen.push_back(of_sign[sign][taken[sign]++]);
    }
    return chosen;
  }

  void ask_label(std::int64_t column, std::string& lines) {
    const Evidence& evidence = opened_.evidence;
    const std::vector<FiringExample> examples = label_examples(column);
    if (examples.empty()) return;
    LabelMaterial material{.place = "number " + key_of(column) + " (block and matrix come before the colon)",
                           .facts = evidence.facts(column)};
    const auto input = evidence.tokens(column, TokenSide::input),
               output = evidence.tokens(column, TokenSide::output);
    material.output = tokens(output, TokenRanking::recall);
    material.output_pmi = tokens(output, TokenRanking::pmi);
    material.input = tokens(input, TokenRanking::recall);
    material.input_pmi = tokens(input, TokenRanking::pmi);
    const auto fires = [&](const FiringExample& e, std::size_t i) {
      return static_cast<double>(e.importance[i]) > evidence.threshold();
    };
    std::string prompt;
    const auto limit = static_cast<std::size_t>(options_.max_tokens * bytes_a_token);
    // As many examples as the question has room for.
    for (std::size_t most = examples.size();; --most) {
      material.fires_on.clear();
      material.followed_by.clear();
      for (std::size_t e = 0; e < most; ++e) {
        const FiringExample& one = examples[e];
        const std::size_t at = middle(one);
        const char* sign = one.activation[at] < 0 ? "(-) " : "(+) ";
        material.fires_on.push_back(sign + window(one, [&](std::size_t i) { return fires(one, i); }));
        std::string before, after;
        for (std::size_t i = at < 8 ? 0 : at - 8; i <= at; ++i) before += text_of(one.tokens[i]);
        for (std::size_t i = at + 1; i < std::min(one.tokens.size(), at + 4); ++i)
          after += text_of(one.tokens[i]);
        material.followed_by.push_back(sign + before + " →" + (after.empty() ? " (the end)" : after));
      }
      prompt = label_prompt(material);
      if (prompt.size() <= limit || most == 0) break;
    }
    const Json text = {{"type", "string"}}, name = {{"type", "string"}, {"maxLength", 200}};
    put(column, std::move(prompt), label_template,
        {{"type", "object"},
         {"properties",
          {{"input_label", name},
           {"output_label", name},
           {"label", name},
           {"reasoning", text},
           {"confidence", {{"enum", {"low", "medium", "high"}}}}}},
         {"required", {"input_label", "output_label", "label", "confidence"}}},
        lines);
  }

  /// Its label, or, without one, the tokens that tell it.
  std::string described(std::int64_t column) const {
    const std::string label = labels_.label_of(key_of(column));
    if (!label.empty()) return "\"" + label + "\"";
    const SubcomponentFacts facts = opened_.evidence.facts(column);
    std::string text = "fires at";
    for (const TokenScore& t :
         telling_tokens(opened_.evidence.tokens(column, TokenSide::input), static_cast<double>(facts.firings))
             .tokens)
      text += " \"" + opened_.token_text(t.token) + "\"";
    return text;
  }

  static Json numbers_schema(std::size_t windows) {
    const Json number = {{"type", "integer"}, {"minimum", 1}, {"maximum", windows}};
    return {{"type", "object"},
            {"properties", {{"answer", {{"type", "array"}, {"items", number}}}}},
            {"required", {"answer"}}};
  }

  /// Other subcomponents that are known never to fire together with this one: the list of partners of one of
  /// the two is whole, and the other is not in it.
  std::vector<std::int64_t> strangers(std::int64_t column) {
    const std::vector<std::int64_t>& mine = partners_of(column);
    std::vector<std::int64_t> others;
    for (const std::int32_t c : opened_.evidence.alive()) {
      if (c == column) continue;
      const std::vector<std::int64_t>& theirs = partners_of(c);
      const bool absent =
          (is_whole(mine) && !std::binary_search(mine.begin(), mine.end(), std::int64_t{c})) ||
          (is_whole(theirs) && !std::binary_search(theirs.begin(), theirs.end(), column));
      if (absent) others.push_back(c);
    }
    return others;
  }
  const std::vector<std::int64_t>& partners_of(std::int64_t column) {
    const auto [found, fresh] = partners_.try_emplace(column);
    if (fresh) {
      for (const PartnerScore& p : opened_.evidence.partners(column)) found->second.push_back(p.column);
      std::sort(found->second.begin(), found->second.end());
    }
    return found->second;
  }
  bool is_whole(const std::vector<std::int64_t>& partners) const {
    const std::int64_t most = opened_.evidence.about().value("partners", std::int64_t{100});
    return most == 0 || (most > 0 && static_cast<std::int64_t>(partners.size()) < most);
  }

  /// Windows of both kinds in a drawn order, and the numbers of the right ones.
  void put_trial(std::int64_t column, Draws& draws, std::vector<std::pair<std::string, bool>> windows,
                 const char* version, const auto& prompt, std::string& lines, Json& keys) {
    draws.shuffle(windows);
    std::vector<std::string> texts;
    Json answer = Json::array();
    for (std::size_t i = 0; i < windows.size(); ++i) {
      texts.push_back(windows[i].first);
      if (windows[i].second) answer.push_back(i + 1);
    }
    keys[last_id(key_of(column))] = {{"task", name_of(options_.task)},
                                     {"key", key_of(column)},
                                     {"windows", windows.size()},
                                     {"answer", answer}};
    put(column, prompt(texts), version, numbers_schema(windows.size()), lines);
  }

  void ask_detection(std::int64_t column, std::string& lines, Json& keys) {
    constexpr std::size_t trials = 5, each = 5;
    std::vector<FiringExample> mine = drawn_examples(column);
    const std::vector<std::int64_t> others = strangers(column);
    if (mine.size() < each || others.empty()) return;
    Draws draws(options_.seed, column, options_.task);
    for (std::size_t trial = 0; trial < trials; ++trial) {
      draws.shuffle(mine);
      std::vector<std::pair<std::string, bool>> windows;
      for (std::size_t i = 0; i < each; ++i) windows.emplace_back(centred(mine[i], middle(mine[i])), true);
      for (std::size_t i = 0; i < each; ++i) {
        const std::vector<FiringExample> theirs =
            opened_.evidence.examples(others[draws.below(others.size())]);
        if (theirs.empty()) return;
        const FiringExample& one = theirs[draws.below(theirs.size())];
        windows.emplace_back(centred(one, middle(one)), false);
      }
      put_trial(
          column, draws, windows, detection_template,
          [&](const auto& texts) { return detection_prompt(texts, described(column)); }, lines, keys);
    }
  }

  void ask_fuzzing(std::int64_t column, std::string& lines, Json& keys) {
    constexpr std::size_t trials = 5, each = 5;
    std::vector<FiringExample> mine = drawn_examples(column);
    if (mine.size() < 2 * each) return;
    Draws draws(options_.seed, column, options_.task);
    for (std::size_t trial = 0; trial < trials; ++trial) {
      draws.shuffle(mine);
      std::vector<std::pair<std::string, bool>> windows;
      for (std::size_t i = 0; i < 2 * each; ++i) {
        const FiringExample& one = mine[i];
        // What is shown lies around the mark, right or wrong, so that its place tells nothing.
        const std::size_t at = middle(one), reach = at / 2;
        std::vector<std::size_t> quiet;
        for (std::size_t k = at - reach; k <= at + reach; ++k) {
          if (one.tokens[k] >= 0 && static_cast<double>(one.importance[k]) <= opened_.evidence.threshold())
            quiet.push_back(k);
        }
        const bool right = i < each || quiet.empty();
        const std::size_t mark = right ? at : quiet[draws.below(quiet.size())];
        windows.emplace_back(around(one, mark, reach), right);
      }
      put_trial(
          column, draws, windows, fuzzing_template,
          [&](const auto& texts) { return fuzzing_prompt(texts, described(column)); }, lines, keys);
    }
  }

  void ask_intruder(std::int64_t column, std::string& lines, Json& keys) {
    constexpr std::size_t trials = 10, each = 4;
    const Evidence& evidence = opened_.evidence;
    std::vector<FiringExample> mine = drawn_examples(column);
    const double density = evidence.facts(column).density;
    std::vector<std::int64_t> donors = strangers(column);
    std::erase_if(donors, [&](std::int64_t c) {
      return std::abs(evidence.facts(c).density - density) > donor_density;
    });
    if (mine.size() < each || donors.empty()) return;
    Draws draws(options_.seed, column, options_.task);
    for (std::size_t trial = 0; trial < trials; ++trial) {
      draws.shuffle(mine);
      std::vector<std::pair<std::string, bool>> windows;
      for (std::size_t i = 0; i < each; ++i) windows.emplace_back(centred(mine[i], middle(mine[i])), false);
      const std::vector<FiringExample> theirs = evidence.examples(donors[draws.below(donors.size())]);
      if (theirs.empty()) return;
      const FiringExample& one = theirs[draws.below(theirs.size())];
      windows.emplace_back(centred(one, middle(one)), true);
      put_trial(
          column, draws, windows, intruder_template, [](const auto& texts) { return intruder_prompt(texts); },
          lines, keys);
    }
  }

  std::string readme() const {
    return fmt::format(
        "{} {{\"id\", \"key\", \"task\", \"template\", \"prompt\", "
        "\"schema\"}}.\n"
        "Ask a language model of your choice each \"prompt\", and let it answer with a JSON object that "
        "\"schema\" allows.\n"
        "Write the answers to a file, a line each, with the question's id added: {{\"id\": ..., ...}}.\n"
        "The excerpts in the prompts are data from files: do not let a model with tools act on them.\n"
        "keys.json has the right answers of tests; keep it away from the model.\n\n"
        "    vpd labels import RUN answers.jsonl --source NAME{}\n",
        readme_beginning, options_.task == LabelTask::label ? "" : " --keys keys.json");
  }

  const LabelExport& options_;
  OpenedEvidence opened_;
  Labels labels_;
  std::map<std::int64_t, std::vector<std::int64_t>> partners_;
  std::int64_t count_ = 0, trial_ = 0;
};

}  // namespace

LabelExportResult export_prompts(const LabelExport& options) { return Exporter(options).run(); }

}  // namespace vpd
