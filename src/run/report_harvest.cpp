// What the report's page shows of a harvest: an index of all alive subcomponents, and their details in
// chunks.

#include <algorithm>
#include <cctype>
#include <cmath>
#include <set>

#include "report_data.hpp"
#include "report_wiring.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/decomposition/columns.hpp"
#include "vpd/interpretation/labels.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t tokens_each = 6;  // of a ranking
constexpr std::size_t partners_each = 8;
constexpr std::size_t lens_each = 6;  // of either end
constexpr std::int64_t chunk_subcomponents = 128, small_chunk_subcomponents = 24;

/// Everything of the page that comes from a harvest.
class HarvestPages {
 public:
  HarvestPages(const OpenedEvidence& opened, bool all_examples, std::int64_t at_once)
      : opened_(opened),
        evidence_(opened.evidence),
        all_examples_(all_examples),
        at_once_(at_once),
        labels_(labels_path(opened.directory, opened.checkpoint.step)),
        wiring_(opened) {}

  void add(ReportData& data) {
    for (const char* name : {"column", "firings", "rows", "g", "pos", "neg", "poly", "balance", "a", "abs",
                             "in", "out", "inScore", "outScore", "label"})
      index_[name] = Json::array();
    Json chunk = Json::array();
    for (const std::int32_t column : evidence_.alive()) {
      add_subcomponent(column, chunk);
      if (static_cast<std::int64_t>(chunk.size()) == at_once_) flush(chunk, data);
    }
    if (!chunk.empty()) flush(chunk, data);
    data.subcomponents = static_cast<std::int64_t>(evidence_.alive().size());
    data.index = index_;
    data.meta["harvest"] = about();
    data.meta["sites"] = sites();
    data.meta["highlights"] = highlights();
    if (wiring_) data.meta["wiring"] = wiring_.about();
    data.meta["tokens"] = texts();
    data.meta["chunk"] = at_once_;
  }

 private:
  static void flush(Json& chunk, ReportData& data) {
    data.chunks.push_back(json_text(chunk));
    chunk = Json::array();
  }

  /// A token's number on the page.
  std::int64_t name(std::int64_t token) {
    named_.insert(token);
    return token;
  }

  /// The tokens that say most: the most frequent, and those of the largest PMI.
  std::vector<TokenScore> essential(const std::vector<TokenScore>& all) const {
    std::vector<TokenScore> chosen = ranked(all, TokenRanking::recall, tokens_each);
    for (const TokenScore& token : ranked(all, TokenRanking::pmi, 2 * tokens_each)) {
      if (chosen.size() == 2 * tokens_each) break;
      const bool known = std::any_of(chosen.begin(), chosen.end(),
                                     [&](const TokenScore& t) { return t.token == token.token; });
      if (!known) chosen.push_back(token);
    }
    return chosen;
  }

  Json token_rows(const std::vector<TokenScore>& tokens, bool masses) {
    Json rows = Json::array();
    for (const TokenScore& t : tokens) {
      rows.push_back(name(t.token));
      rows.push_back(masses ? Json(rounded(t.count)) : Json(static_cast<std::int64_t>(t.count)));
      rows.push_back(masses ? Json(rounded(t.positive, 3)) : Json(static_cast<std::int64_t>(t.positive)));
    }
    return rows;
  }

  /// The tokens of an example and, for each, "." or how important it is there: 0 to 9, a to j for activations
  /// below 0.
  Json example_row(const FiringExample& one) {
    std::size_t begin = 0, end = one.tokens.size();
    while (begin < end && one.tokens[begin] < 0) ++begin;
    while (end > begin && one.tokens[end - 1] < 0) --end;
    Json tokens = Json::array();
    std::string marks;
    for (std::size_t i = begin; i < end; ++i) {
      tokens.push_back(name(one.tokens[i]));
      const auto level = static_cast<char>(std::clamp(static_cast<int>(one.importance[i] * 10.0f), 0, 9));
      const bool fires = static_cast<double>(one.importance[i]) > evidence_.threshold();
      marks += !fires ? '.' : static_cast<char>((one.activation[i] < 0 ? 'a' : '0') + level);
    }
    return {static_cast<int>(one.kind), one.row, one.position, one.tokens.size() / 2 - begin, tokens, marks};
  }

  /// Of each sign and the strongest, as many as a page of one file has room for.
  Json example_rows(std::int64_t column) {
    const std::vector<FiringExample> all = evidence_.examples(column);
    Json rows = Json::array();
    if (all_examples_) {
      for (const FiringExample& one : all) rows.push_back(example_row(one));
      return rows;
    }
    const auto first = [&](FiringExample::Kind kind, std::size_t skip) {
      for (const FiringExample& one : all) {
        if (one.kind == kind && skip-- == 0) {
          rows.push_back(example_row(one));
          return true;
        }
      }
      return false;
    };
    using Kind = FiringExample::Kind;
    first(Kind::strongest, 0);
    const bool plus = first(Kind::random_positive, 0), minus = first(Kind::random_negative, 0);
    if (!plus) first(Kind::random_negative, 1);
    if (!minus) first(Kind::random_positive, 1);
    return rows;
  }

  void add_subcomponent(std::int64_t column, Json& chunk) {
    const SubcomponentFacts f = evidence_.facts(column);
    const auto firings = static_cast<double>(f.firings);
    const std::vector<TokenScore> input = evidence_.tokens(column, TokenSide::input),
                                  output = evidence_.tokens(column, TokenSide::output);
    const TellingTokens in = telling_tokens(input, firings), out = telling_tokens(output, firings);
    const std::size_t place = placed_++;
    index_["column"].push_back(column);
    index_["firings"].push_back(f.firings);
    index_["rows"].push_back(f.rows);
    index_["g"].push_back(rounded(f.mean_importance));
    index_["pos"].push_back(f.positive_firings);
    index_["neg"].push_back(f.negative_firings);
    index_["poly"].push_back(f.polysemantic ? 1 : 0);
    index_["balance"].push_back(rounded(f.sign_balance, 3));
    index_["a"].push_back(rounded(f.mean_activation, 3));
    index_["abs"].push_back(rounded(f.mean_absolute_activation, 3));
    const auto put = [&](const TellingTokens& telling, const char* tokens, const char* score) {
      Json ids = Json::array();
      for (const TokenScore& t : telling.tokens) ids.push_back(name(t.token));
      index_[tokens].push_back(ids);
      index_[score].push_back({rounded(telling.scores.hit, 3), rounded(telling.scores.cover, 3)});
    };
    put(in, "in", "inScore");
    put(out, "out", "outScore");
    const std::string key = key_of(column);
    index_["label"].push_back(labels_.label_of(key));
    if (!f.always_on() && f.firings >= least_firings())
      candidates_.push_back(
          {place, column, firings, in.scores.f1, out.scores.f1, first_token(in), first_token(out)});

    Json detail;
    detail["i"] = token_rows(essential(input), false);
    detail["o"] = token_rows(essential(output), true);
    detail["e"] = example_rows(column);
    detail["h"] = evidence_.importance_histogram(column);
    detail["q"] = evidence_.position_firings(column);
    Json partners = Json::array();
    for (const PartnerScore& p : evidence_.partners(column)) {
      if (partners.size() == 2 * partners_each) break;
      partners.push_back(p.column);
      partners.push_back(p.together);
    }
    detail["p"] = partners;
    detail["s"] = {rounded(f.sign_divergence[0], 3), rounded(f.null_divergence[0], 3),
                   rounded(f.sign_divergence[1], 3), rounded(f.null_divergence[1], 3)};
    detail["r"] = {rounded(f.activation_min, 3), rounded(f.activation_max, 3)};
    const std::vector<LensToken> lens = evidence_.lens(column);
    Json pointed = Json::array();
    const std::size_t half = lens.size() / 2;
    for (std::size_t i = 0; i < lens.size(); ++i) {
      if (i % std::max<std::size_t>(half, 1) >= lens_each) continue;
      pointed.push_back(name(lens[i].token));
      pointed.push_back(rounded(lens[i].cosine, 3));
    }
    detail["l"] = pointed;
    if (wiring_) detail["w"] = {ends(wiring_.into(column)), ends(wiring_.out_of(column))};
    chunk.push_back(std::move(detail));
  }

  Json ends(const std::vector<ReportWiring::End>& all) {
    Json flat = Json::array();
    for (const ReportWiring::End& end : all) {
      if (end.other >= wiring_.total_C()) name(end.other - wiring_.total_C());
      flat.push_back(end.other);
      flat.push_back(rounded(end.normalised, 3));
    }
    return flat;
  }

  std::string key_of(std::int64_t column) const { return key_of_column(column, evidence_.sites()); }
  static std::int64_t first_token(const TellingTokens& telling) {
    return telling.tokens.empty() ? -1 : telling.tokens.front().token;
  }
  std::int64_t least_firings() const {
    return std::min<std::int64_t>(30, std::max<std::int64_t>(3, evidence_.positions() / 2000));
  }

  /// Subcomponents that one would show first: whose firings a few tokens tell well, of every kind of site,
  /// and no token twice.
  Json highlights() const {
    constexpr std::size_t most = 12;
    struct Choice {
      double score;
      const Candidate* who;
      bool output;
    };
    std::vector<Choice> choices;
    for (const Candidate& one : candidates_) {
      // What fires often counts for more, up to one position in forty.
      const double often = static_cast<double>(evidence_.positions()) / 40.0;
      const double weight = std::min(1.0, std::log1p(one.firings) / std::log1p(often));
      const auto readable = [&](std::int64_t token) { return is_piece(token) ? 0.7 * weight : weight; };
      choices.push_back({readable(one.input_token) * one.input, &one, false});
      // Few tokens seldom tell well what is said.
      choices.push_back({1.2 * readable(one.output_token) * one.output, &one, true});
    }
    std::stable_sort(choices.begin(), choices.end(),
                     [](const Choice& a, const Choice& b) { return a.score > b.score; });
    std::set<std::int64_t> tokens[2];
    std::set<std::size_t> taken;
    std::map<std::string, std::size_t> of_site;
    Json chosen = Json::array();
    for (const std::size_t limit : {std::size_t{2}, most}) {
      for (const Choice& choice : choices) {
        if (chosen.size() == most) return chosen;
        const std::int64_t token = choice.output ? choice.who->output_token : choice.who->input_token;
        const std::string key = key_of(choice.who->column), site = key.substr(0, key.rfind(':'));
        if (choice.score < 0.3 || token < 0 || taken.contains(choice.who->place) ||
            tokens[choice.output].contains(token) || of_site[site] >= limit)
          continue;
        taken.insert(choice.who->place);
        tokens[choice.output].insert(token);
        ++of_site[site];
        chosen.push_back({choice.who->place, choice.output ? "out" : "in"});
      }
    }
    return chosen;
  }

  /// Whether a token is a piece of a word rather than a word or a mark.
  bool is_piece(std::int64_t token) const {
    if (!opened_.tokenizer || token < 0 || !opened_.tokenizer->has(token)) return false;
    const std::string text = opened_.tokenizer->token_text(token);
    const auto letters =
        std::count_if(text.begin(), text.end(), [](unsigned char c) { return std::isalpha(c) || c >= 0x80; });
    return letters == 1 || (letters > 0 && std::islower(static_cast<unsigned char>(text[0])));
  }

  Json about() const {
    const Json& about = evidence_.about();
    Json harvest = {{"step", opened_.checkpoint.step},
                    {"positions", evidence_.positions()},
                    {"rows", evidence_.rows()},
                    {"length", evidence_.row_length()},
                    {"threshold", evidence_.threshold()},
                    {"window", evidence_.window()},
                    {"alive", evidence_.alive().size()},
                    {"total", evidence_.sites().total_C()},
                    {"outputs", evidence_.has_outputs()},
                    {"texts", opened_.tokenizer.has_value()},
                    {"time", about.value("time", "")},
                    {"outputTokens", about["settings"].value("output_tokens", std::int64_t{0})}};
    Json bins = Json::array();
    const auto count =
        evidence_.alive().empty() ? 0 : evidence_.position_firings(evidence_.alive().front()).size();
    for (std::size_t b = 0; b < count; ++b)
      bins.push_back(first_of_position_bin(static_cast<std::int64_t>(b)));
    harvest["bins"] = bins;
    return harvest;
  }

  Json sites() const {
    Json list = Json::array();
    for (const Site& site : evidence_.sites()) {
      std::vector<double> importance;
      std::vector<std::int64_t> by_position;
      std::int64_t alive = 0, poly = 0, always = 0;
      double firings = 0.0;
      for (std::int64_t c = 0; c < site.C; ++c) {
        const SubcomponentFacts f = evidence_.facts(site.offset + c);
        importance.push_back(rounded(std::max(f.mean_importance, 0.0), 3));
        alive += f.firings > 0;
        poly += f.polysemantic;
        always += f.always_on();
        firings += static_cast<double>(f.firings);
        const std::vector<std::int64_t> bins = evidence_.position_firings(site.offset + c);
        by_position.resize(bins.size());
        for (std::size_t b = 0; b < bins.size(); ++b) by_position[b] += bins[b];
      }
      std::sort(importance.rbegin(), importance.rend());
      // Of large sites every so many-th value.
      Json spectrum = Json::array();
      const std::size_t stride = std::max<std::size_t>(1, importance.size() / 256);
      for (std::size_t i = 0; i < importance.size(); i += stride) spectrum.push_back({i + 1, importance[i]});
      list.push_back({{"name", site.name},
                      {"C", site.C},
                      {"offset", site.offset},
                      {"in", site.d_in},
                      {"out", site.d_out},
                      {"alive", alive},
                      {"poly", poly},
                      {"always", always},
                      {"l0", rounded(firings / static_cast<double>(evidence_.positions()))},
                      {"spectrum", spectrum},
                      {"positions", by_position}});
    }
    return list;
  }

  /// {token: [text, times in the input, mass in the output]} of those that the page names.
  Json texts() const {
    Json all = Json::object();
    const std::vector<double>&in = evidence_.marginal(TokenSide::input),
          &out = evidence_.marginal(TokenSide::output);
    for (const std::int64_t token : named_) {
      const auto v = static_cast<std::size_t>(token);
      const bool known = opened_.tokenizer && opened_.tokenizer->has(token);
      all[std::to_string(token)] = {known ? Json(opened_.tokenizer->token_text(token)) : Json(),
                                    v < in.size() ? Json(static_cast<std::int64_t>(in[v])) : Json(0),
                                    v < out.size() ? Json(rounded(out[v], 5)) : Json(0)};
    }
    return all;
  }

  struct Candidate {
    std::size_t place;
    std::int64_t column;
    double firings;
    double input, output;
    std::int64_t input_token, output_token;
  };

  const OpenedEvidence& opened_;
  const Evidence& evidence_;
  bool all_examples_;
  std::int64_t at_once_;
  Labels labels_;
  ReportWiring wiring_;
  Json index_;
  std::set<std::int64_t> named_;
  std::vector<Candidate> candidates_;
  std::size_t placed_ = 0;
};

}  // namespace

void add_harvest(const OpenedEvidence& opened, bool all_examples, ReportData& data) {
  HarvestPages(opened, all_examples, all_examples ? small_chunk_subcomponents : chunk_subcomponents)
      .add(data);
}

}  // namespace vpd
