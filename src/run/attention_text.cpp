// Attention for people and for programs.

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "attention_files.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/decomposition/columns.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;

double number(const at::Tensor& x, std::int64_t i) { return x[i].item<double>(); }

std::vector<double> numbers(const at::Tensor& x) {
  const at::Tensor wide = x.to(at::kDouble).contiguous();
  const auto* first = wide.const_data_ptr<double>();
  return {first, first + wide.numel()};
}

Json matrix(const at::Tensor& x) {
  Json rows = Json::array();
  for (std::int64_t i = 0; i < x.size(0); ++i) rows.push_back(numbers(x[i]));
  return rows;
}

/// The heads that tables have.
std::vector<std::int64_t> shown_heads(const AttentionResult& r) {
  if (r.head) return {*r.head};
  std::vector<std::int64_t> heads;
  for (std::int64_t head = 0; head < r.heads; ++head) heads.push_back(head);
  return heads;
}

std::string noted(const AttentionResult& r, std::int64_t term, bool query) {
  const auto note = r.notes.find(term);
  const std::string name = r.name_of_term(term, query);
  return note == r.notes.end() || note->second.empty() ? name : fmt::format("{} ({})", name, note->second);
}

/// The largest cosine of a head with another one, of read_cosine or write_cosine [H, H].
std::pair<std::int64_t, double> nearest_head(const at::Tensor& cosine, std::int64_t head) {
  std::int64_t nearest = -1;
  double best = 0.0;
  for (std::int64_t other = 0; other < cosine.size(0); ++other) {
    if (other == head) continue;
    const double value = cosine[head][other].item<double>();
    if (nearest < 0 || value > best) nearest = other, best = value;
  }
  return {nearest, best};
}

std::string looks_text(const AttentionResult& r) {
  std::string text = fmt::format("\n{:<28} {:>9} {:>9} {:>16} {:>14} {:>10}\n", "head", "score", "sd",
                                 "previous token", "random tokens", "induction");
  const auto line = [&](const std::string& name, const HeadLooks& looks, std::int64_t head, bool scores) {
    text +=
        fmt::format("{:<28} {:>9} {:>9} {:>16.3f} {:>14.3f} {:>10}\n", name,
                    scores ? fmt::format("{:.2f}", number(r.score_mean, head)) : "",
                    scores ? fmt::format("{:.2f}", number(r.score_deviation, head)) : "",
                    number(looks.previous, head), number(looks.random_previous, head),
                    looks.induction.defined() ? fmt::format("{:.3f}", number(looks.induction, head)) : "–");
  };
  for (const std::int64_t head : shown_heads(r)) {
    line(fmt::format("{}", head), r.looks, head, true);
    for (std::size_t i = 0; i < r.ablated.size(); ++i)
      line("  without " + key_of_column(r.ablated[i], r.sites), r.without[i], head, false);
  }
  return text;
}

std::string pairs_text(const AttentionResult& r, std::int64_t head) {
  std::string text = fmt::format("\nhead {}: of the variance of its scores within queries", head);
  for (const auto& [kind, share] : shares_by_kind(r, head))
    text += fmt::format("{} {:.1f} % {}", kind == "subcomponents" ? "" : ",", 100.0 * share,
                        kind == "subcomponents" ? "pairs of subcomponents"
                                                : "with " + (kind == "rest" ? "other subcomponents" : kind));
  text += fmt::format("\n{:>8} {:>8} {:>15} {:>10} {:>9} {:>13}  query, key\n", "share", "of all",
                      "largest mean", "where both", "times", "static, sd");
  for (const ShownPair& pair : strongest_pairs(r, head)) {
    const bool both = pair.query >= 0 && pair.key >= 0;
    text += fmt::format(
        "{:>6.1f} % {:>6.1f} % {:>+9.3f} at {:>2} {:>10} {:>9} {:>13}  {}, {}\n", 100.0 * pair.share,
        100.0 * pair.share_of_all, pair.mean, pair.offset,
        both && pair.both_count > 0 ? fmt::format("{:+.3f}", pair.both_mean) : "–",
        both ? std::to_string(pair.both_count) : "–",
        pair.statics ? fmt::format("{:+.1f} at {:>2}", pair.statics->first, pair.statics->second) : "–",
        noted(r, pair.query, true), noted(r, pair.key, false));
  }
  return text;
}

std::string moved_text(const AttentionResult& r) {
  std::string text = fmt::format(
      "\nwhat heads move, weighted by what {} read{} ({} positions); by chance cosines of {:.2f} ± {:.2f} "
      "(read) and "
      "{:.2f} ± {:.2f} (written)\n",
      r.q, r.given ? " where " + key_of_column(*r.given, r.sites) + " is important" : "",
      r.weighted_positions, number(r.chance.read_mean, 1), number(r.chance.read_deviation, 1),
      number(r.chance.write_mean, 1), number(r.chance.write_deviation, 1));
  for (const std::int64_t head : shown_heads(r)) {
    text += fmt::format("head {}:", head);
    if (r.heads > 1) {
      const auto [reader, read] = nearest_head(r.moved.read_cosine[1], head);
      const auto [writer, write] = nearest_head(r.moved.write_cosine[1], head);
      text += fmt::format(" reads most like head {} ({:.2f}), writes most like head {} ({:.2f})", reader,
                          read, writer, write);
    }
    text += "\n";
    const auto list = [&](const char* what, const at::Tensor& alignment,
                          const std::optional<std::size_t>& site) {
      if (!site) return;
      text += fmt::format("  {}", what);
      for (const auto& [column, value] : most_aligned(r, alignment[1][head], *site, 5))
        text += fmt::format("  {} {:.2f}", key_of_column(column, r.sites), value);
      text += "\n";
    };
    list("v:", r.moved.value_alignment, r.v_site);
    list("o:", r.moved.output_alignment, r.o_site);
  }
  std::vector<std::int64_t> done;
  for (const KeyOfValue& one : r.keys_of_values) {
    if (std::find(done.begin(), done.end(), one.value) != done.end()) continue;
    if (done.empty()) text += "\nkeys at the positions of values: P(k | v), P(v | k)\n";
    done.push_back(one.value);
    text += fmt::format("{:>6.2f} {:>6.2f}  {}, {}\n", one.key_given_value, one.value_given_key,
                        noted(r, one.key, false), noted(r, one.value, false));
  }
  return text;
}

std::string prompt_text(const AttentionResult& r) {
  const LargestPairs& pairs = r.prompt->pairs;
  const at::Tensor pattern = causal_pattern(pairs.score);
  std::string text = fmt::format("\n{}: pairs that give most\n{:>5} {:>9} {:>9} {:>9}  query, key\n", r.slug,
                                 "head", "D", "attends", "without");
  const auto token = [&](std::int64_t t) {
    return fmt::format("{}@{}", printable(r.prompt->texts[static_cast<std::size_t>(t)]), t);
  };
  std::int64_t shown = 0;
  for (std::size_t p = 0; p < pairs.query.size() && shown < r.most; ++p) {
    const auto i = static_cast<std::int64_t>(p);
    at::Tensor given = pairs.contribution[i].abs();
    if (r.head) given = given.narrow(0, *r.head, 1);
    const auto place = given.argmax().item<std::int64_t>(), T = given.size(1);
    const std::int64_t head = r.head.value_or(place / (T * T)), t = place / T % T, u = place % T;
    const at::Tensor without = causal_pattern(pairs.score[head] - pairs.contribution[i][head]);
    text += fmt::format("{:>5} {:>+9.3f} {:>9.3f} {:>9.3f}  {} to {}: {}, {}\n", head,
                        pairs.contribution[i][head][t][u].item<double>(), pattern[head][t][u].item<double>(),
                        without[t][u].item<double>(), token(t), token(u), noted(r, pairs.query[p], true),
                        noted(r, pairs.key[p], false));
    ++shown;
  }
  return text;
}

Json looks_json(const HeadLooks& looks, std::int64_t head) {
  return {{"previous_token", number(looks.previous, head)},
          {"previous_token_random", number(looks.random_previous, head)},
          {"induction", looks.induction.defined() ? Json(number(looks.induction, head)) : Json()}};
}

Json aligned_json(const AttentionResult& r, const at::Tensor& alignment,
                  const std::optional<std::size_t>& site, std::int64_t head) {
  Json list = Json::array();
  if (!site) return list;
  for (const auto& [column, value] :
       most_aligned(r, alignment[1][head], *site, static_cast<std::size_t>(r.most)))
    list.push_back({{"key", key_of_column(column, r.sites)},
                    {"weighted", value},
                    {"plain", number(alignment[0][head], column - r.sites[*site].offset)}});
  return list;
}

Json head_json(const AttentionResult& r, std::int64_t head) {
  Json json = {{"head", head},
               {"score_mean", number(r.score_mean, head)},
               {"score_sd", number(r.score_deviation, head)}};
  json.update(looks_json(r.looks, head));
  Json shares = Json::object();
  for (const auto& [kind, share] : shares_by_kind(r, head)) shares[kind] = share;
  json["shares"] = shares;
  json["without"] = Json::array();
  for (std::size_t i = 0; i < r.ablated.size(); ++i) {
    Json one = {{"key", key_of_column(r.ablated[i], r.sites)}};
    one.update(looks_json(r.without[i], head));
    json["without"].push_back(one);
  }
  json["pairs"] = Json::array();
  for (const ShownPair& pair : strongest_pairs(r, head)) {
    Json one = {{"query", r.name_of_term(pair.query, true)},
                {"key", r.name_of_term(pair.key, false)},
                {"share", pair.share},
                {"share_of_all", pair.share_of_all},
                {"mean", pair.mean},
                {"offset", pair.offset}};
    if (pair.query >= 0 && pair.key >= 0)
      one.update({{"both_mean", pair.both_mean}, {"both_count", pair.both_count}});
    if (pair.statics) one.update({{"static", pair.statics->first}, {"static_offset", pair.statics->second}});
    json["pairs"].push_back(one);
  }
  json["values"] = aligned_json(r, r.moved.value_alignment, r.v_site, head);
  json["outputs"] = aligned_json(r, r.moved.output_alignment, r.o_site, head);
  return json;
}

}  // namespace

std::vector<std::pair<std::int64_t, double>> most_aligned(const AttentionResult& r,
                                                          const at::Tensor& alignment, std::size_t site,
                                                          std::size_t most) {
  std::vector<std::pair<std::int64_t, double>> all;
  for (std::int64_t c = 0; c < alignment.size(0); ++c) {
    const std::int64_t column = r.sites[site].offset + c;
    if (number(r.importance, column) > r.min_importance) all.emplace_back(column, number(alignment, c));
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  all.resize(std::min(most, all.size()));
  return all;
}

std::string attention_text(const AttentionResult& r) {
  std::string text = fmt::format("step         {}\n", r.step);
  text += fmt::format("attention    block {}: {} heads of width {}{}\n", r.block, r.heads, r.head_width,
                      r.key_heads == r.heads ? "" : fmt::format(", {} of keys and values", r.key_heads));
  const auto side = [&](const char* name, const std::string& matrix, std::int64_t kept, std::int64_t all) {
    text += fmt::format("{:<12} {}: {}\n", name, matrix,
                        all == 0 ? "not decomposed, one term"
                                 : fmt::format("{} of {} subcomponents, of mean importance above {:g}", kept,
                                               all, r.min_importance));
  };
  side("queries", r.q, r.query_columns, r.query_all);
  side("keys", r.k, r.key_columns, r.key_all);
  text += fmt::format("data         {} positions in {} rows of {}\n", r.rows * r.T, r.rows, r.T);
  text += looks_text(r);
  for (const std::int64_t head : shown_heads(r)) text += pairs_text(r, head);
  text += moved_text(r);
  if (r.prompt) text += prompt_text(r);
  return text +
         fmt::format("\ntime         {}\nresult       {}\n", human_duration(r.seconds), r.directory.string());
}

std::string attention_json(const AttentionResult& r) {
  Json json = {{"step", r.step},
               {"block", r.block},
               {"heads", r.heads},
               {"key_heads", r.key_heads},
               {"head_width", r.head_width},
               {"matrices", {{"q", r.q}, {"k", r.k}, {"v", r.v}, {"o", r.o}}},
               {"positions", r.rows * r.T},
               {"row_length", r.T},
               {"threshold", r.threshold},
               {"min_importance", r.min_importance},
               {"offsets", r.offsets},
               {"query_subcomponents", r.query_columns},
               {"key_subcomponents", r.key_columns}};
  json["by_head"] = Json::array();
  for (std::int64_t head = 0; head < r.heads; ++head) json["by_head"].push_back(head_json(r, head));
  json["ov"] = {{"given", r.given ? Json(key_of_column(*r.given, r.sites)) : Json()},
                {"positions", r.weighted_positions},
                {"read_cosine", matrix(r.moved.read_cosine[1])},
                {"write_cosine", matrix(r.moved.write_cosine[1])},
                {"chance",
                 {{"pairs", r.chance.pairs},
                  {"read", {number(r.chance.read_mean, 1), number(r.chance.read_deviation, 1)}},
                  {"write", {number(r.chance.write_mean, 1), number(r.chance.write_deviation, 1)}},
                  {"read_plain", {number(r.chance.read_mean, 0), number(r.chance.read_deviation, 0)}},
                  {"write_plain", {number(r.chance.write_mean, 0), number(r.chance.write_deviation, 0)}}}}};
  json["keys_of_values"] = Json::array();
  for (const KeyOfValue& one : r.keys_of_values)
    json["keys_of_values"].push_back({{"value", key_of_column(one.value, r.sites)},
                                      {"key", key_of_column(one.key, r.sites)},
                                      {"key_given_value", one.key_given_value},
                                      {"value_given_key", one.value_given_key}});
  json["prompt"] = r.prompt ? Json(r.slug) : Json();
  json["directory"] = r.directory.string();
  json["seconds"] = r.seconds;
  json["warnings"] = r.warnings;
  return json_text(json, 1) + "\n";
}

}  // namespace vpd
