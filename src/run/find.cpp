#include "vpd/run/find.hpp"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/interpretation/labels.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/run/run_choice.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;

std::vector<FoundSubcomponent> candidates(const OpenedEvidence& opened, const FindOptions& options,
                                          const Labels& labels) {
  const Sites& sites = opened.evidence.sites();
  const std::vector<bool> chosen = chosen_sites(sites, options.sites, "--sites");
  std::vector<FoundSubcomponent> all;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    for (std::int64_t c = 0; chosen[i] && c < sites[i].C; ++c) {
      FoundSubcomponent one{.key = to_text({i, c}, sites),
                            .facts = opened.evidence.facts(sites[i].offset + c)};
      if (one.facts.firings < options.least_firings) continue;
      one.label = labels.label_of(one.key);
      all.push_back(std::move(one));
    }
  }
  return all;
}

/// Best first; what is always on tells nothing of any token.
void keep_best(std::vector<FoundSubcomponent>& all, std::int64_t most, const auto& value) {
  std::stable_sort(all.begin(), all.end(), [&](const FoundSubcomponent& a, const FoundSubcomponent& b) {
    if (a.facts.always_on() != b.facts.always_on()) return b.facts.always_on();
    return value(a) > value(b);
  });
  if (static_cast<std::int64_t>(all.size()) > most) all.resize(static_cast<std::size_t>(most));
}

void rank_by_tokens(const OpenedEvidence& opened, const FindOptions& options, FindResult& result) {
  const Evidence& evidence = opened.evidence;
  VPD_CHECK(options.side == TokenSide::input || evidence.has_outputs(), DataError,
            "{}: expected a target that says tokens, found one of features, which has no output side; leave "
            "--side out",
            opened.harvest.string());
  result.tokens = opened.tokens_named(options.tokens);
  std::sort(result.tokens.begin(), result.tokens.end());
  result.tokens.erase(std::unique(result.tokens.begin(), result.tokens.end()), result.tokens.end());
  double total = 0.0;
  for (const std::int64_t token : result.tokens) {
    result.token_texts.push_back(opened.token_text(token));
    total += evidence.marginal(options.side)[static_cast<std::size_t>(token)];
  }
  for (FoundSubcomponent& one : result.found) {
    double count = 0.0;
    for (const TokenScore& token : evidence.tokens(one.facts.column, options.side)) {
      if (std::binary_search(result.tokens.begin(), result.tokens.end(), token.token)) count += token.count;
    }
    one.scores = set_scores(count, static_cast<double>(one.facts.firings), total);
  }
  std::erase_if(result.found, [](const FoundSubcomponent& one) { return one.scores.f1 <= 0.0; });
  keep_best(result.found, options.most, [](const FoundSubcomponent& one) { return one.scores.f1; });
}

/// Vectors of a site as rows [C, d].
at::Tensor vectors(const SafetensorsFile& file, const Site& site, bool U) {
  const at::Tensor x = file.load(site.name + (U ? ".U" : ".V")).to(at::kDouble);
  return U ? x : x.t();
}

/// Whether two sites both write, or both read, the residual stream: elsewhere vectors of one length may be of
/// spaces that have nothing to do with each other. "writes" and "reads" stand in about.json where the target
/// has a stream.
bool share_a_space(const Evidence& evidence, std::size_t a, std::size_t b, bool U) {
  const char* role = U ? "writes" : "reads";
  const auto& sites = evidence.about()["sites"];
  return sites[a].value("stream", "") == role && sites[b].value("stream", "") == role;
}

void rank_by_likeness(const OpenedEvidence& opened, const FindOptions& options, FindResult& result) {
  const Sites& sites = opened.evidence.sites();
  const SubcomponentId like = opened.subcomponent(options.like);
  const std::int64_t column = column_of(like, sites);
  const SafetensorsFile file(opened.checkpoint.path / components_file);
  std::map<std::int64_t, double> jaccard;
  for (const PartnerScore& partner : opened.evidence.partners(column))
    jaccard[partner.column] = partner.scores.jaccard;
  std::map<std::string, std::array<at::Tensor, 2>> cosines;  // by site: of U, of V
  for (const bool U : {true, false}) {
    const at::Tensor mine = vectors(file, sites[like.site], U)[like.c];
    for (std::size_t i = 0; i < sites.size(); ++i) {
      if (i != like.site && !share_a_space(opened.evidence, like.site, i, U)) continue;
      const at::Tensor rows = vectors(file, sites[i], U);
      if (rows.size(1) != mine.size(0)) continue;
      cosines[sites[i].name][U ? 0 : 1] =
          (rows.matmul(mine) / (rows.norm(2, {1}) * mine.norm()).clamp_min(1e-30)).contiguous();
    }
  }
  std::erase_if(result.found, [&](const FoundSubcomponent& one) { return one.facts.column == column; });
  for (FoundSubcomponent& one : result.found) {
    const SubcomponentId id = opened.subcomponent(one.key);
    const auto& both = cosines[sites[id.site].name];
    if (both[0].defined()) one.U = both[0].const_data_ptr<double>()[id.c];
    if (both[1].defined()) one.V = both[1].const_data_ptr<double>()[id.c];
    if (const auto found = jaccard.find(one.facts.column); found != jaccard.end())
      one.jaccard = found->second;
  }
  const bool U = options.vector == "U";
  std::erase_if(result.found, [&](const FoundSubcomponent& one) { return !(U ? one.U : one.V); });
  keep_best(result.found, options.most,
            [&](const FoundSubcomponent& one) { return std::abs(*(U ? one.U : one.V)); });
}

std::string number_or_dash(const std::optional<double>& value) {
  return value ? fmt::format("{:.3f}", *value) : "-";
}

}  // namespace

FindResult find_subcomponents(const FindOptions& options) {
  VPD_CHECK(options.tokens.empty() != options.like.empty(), UsageError,
            "expected --tokens or --like, found {}", options.tokens.empty() ? "neither" : "both");
  VPD_CHECK(options.vector == "U" || options.vector == "V", UsageError, "--by: expected U or V, found {}",
            quote_foreign(options.vector));
  const OpenedEvidence opened(options.run, options.checkpoint, options.tokenizer);
  FindResult result{.step = opened.checkpoint.step,
                    .by_tokens = options.like.empty(),
                    .side = options.side,
                    .like = options.like,
                    .vector = options.vector};
  result.found = candidates(opened, options, Labels(labels_path(opened.directory, opened.checkpoint.step)));
  if (result.by_tokens) {
    rank_by_tokens(opened, options, result);
  } else {
    rank_by_likeness(opened, options, result);
  }
  return result;
}

std::string find_text(const FindResult& result) {
  std::string text;
  if (result.by_tokens) {
    std::vector<std::string> quoted;
    for (const std::string& token : result.token_texts) quoted.push_back("\"" + token + "\"");
    text = fmt::format("step {}, {} {}\n\n", result.step,
                       result.side == TokenSide::output ? "where the model says" : "firings at",
                       join_words(quoted));
    text += fmt::format("{:<28} {:>6} {:>6} {:>6} {:>9} {:>9}  {}\n", "subcomponent", "F1", "hit", "cover",
                        "firings", "mean g", "");
  } else {
    text = fmt::format("step {}, like {} by {}\n\n", result.step, result.like, result.vector);
    text += fmt::format("{:<28} {:>7} {:>7} {:>8} {:>9} {:>9}  {}\n", "subcomponent", "cos U", "cos V",
                        "Jaccard", "firings", "mean g", "");
  }
  if (result.found.empty()) return text + "none of those that were looked at\n";
  for (const FoundSubcomponent& one : result.found) {
    const std::string note = one.facts.always_on() ? "always on" : printable(one.label);
    text += result.by_tokens
                ? fmt::format("{:<28} {:>6.3f} {:>6.3f} {:>6.3f} {:>9} {:>9.4f}  {}\n", one.key,
                              one.scores.f1, one.scores.hit, one.scores.cover, one.facts.firings,
                              one.facts.mean_importance, note)
                : fmt::format("{:<28} {:>7} {:>7} {:>8} {:>9} {:>9.4f}  {}\n", one.key, number_or_dash(one.U),
                              number_or_dash(one.V), number_or_dash(one.jaccard), one.facts.firings,
                              one.facts.mean_importance, note);
  }
  if (result.by_tokens && result.side == TokenSide::input)
    text +=
        "\nhit: the part of its firings that is there; cover: the part of those positions where it fires\n";
  if (result.by_tokens && result.side == TokenSide::output)
    text +=
        "\nhit: the part of the model's probability, where it fires, that is theirs; cover: the part of all "
        "of theirs\n";
  if (!result.by_tokens)
    text +=
        "\nby |cosine|, among vectors of one space; Jaccard of firings where it was kept (-: not kept, or "
        "never together)\n";
  return text;
}

std::string find_json(const FindResult& result) {
  Json document = {{"step", result.step}};
  if (result.by_tokens) {
    document["tokens"] = result.tokens;
    document["texts"] = result.token_texts;
  } else {
    document["like"] = result.like;
    document["by"] = result.vector;
  }
  const auto maybe = [](const std::optional<double>& value) { return value ? Json(*value) : Json(); };
  Json found = Json::array();
  for (const FoundSubcomponent& one : result.found) {
    Json entry = {{"key", one.key}};
    if (result.by_tokens) {
      entry.update({{"f1", one.scores.f1}, {"hit", one.scores.hit}, {"cover", one.scores.cover}});
    } else {
      entry.update({{"cosine_U", maybe(one.U)}, {"cosine_V", maybe(one.V)}, {"jaccard", maybe(one.jaccard)}});
    }
    entry.update({{"firings", one.facts.firings},
                  {"density", one.facts.density},
                  {"mean_importance", one.facts.mean_importance},
                  {"always_on", one.facts.always_on()},
                  {"label", one.label}});
    found.push_back(entry);
  }
  document["found"] = found;
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
