#include "vpd/interpretation/evidence.hpp"

#include <algorithm>

#include <ATen/ATen.h>

#include "lens.hpp"
#include "table_builder.hpp"
#include "vpd/base/error.hpp"
#include "vpd/interpretation/results.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

template <class T>
std::vector<T> whole(const SafetensorsFile& file, const std::string& name) {
  return vector_of<T>(file.load(name), file.path().string() + ": " + name);
}
template <class T>
std::vector<T> part(const SafetensorsFile& file, const std::string& name, std::int64_t first,
                    std::int64_t count) {
  return vector_of<T>(file.load_rows(name, first, count), file.path().string() + ": " + name);
}

Sites sites_of(const Json& about, const fs::path& where) {
  std::vector<Site> sites;
  try {
    for (const Json& site : about.at("sites"))
      sites.push_back({.name = site.at("name"),
                       .matrix = sites.size(),
                       .d_in = site.at("d_in"),
                       .d_out = site.at("d_out"),
                       .C = site.at("C"),
                       .offset = site.at("offset")});
  } catch (const nlohmann::json::exception&) {
    throw DataError(fmt::format(
        "{}: expected the sites of a harvest in about.json, found none; harvest again", where.string()));
  }
  const std::size_t count = sites.size();
  return Sites(std::move(sites), count);
}

std::int64_t number(const Json& about, const char* key, const fs::path& where) {
  VPD_CHECK(about.contains(key) && about[key].is_number(), DataError,
            "{}: expected a number under \"{}\" in about.json, found none; harvest again", where.string(),
            key);
  return about[key].get<std::int64_t>();
}

}  // namespace

struct Evidence::Tables {
  explicit Tables(const fs::path& harvest)
      : about(read_about(harvest)),
        sites(sites_of(about, harvest)),
        positions(number(about, "positions", harvest)),
        rows(number(about, "rows", harvest)),
        row_length(number(about, "row_length", harvest)),
        facts(harvest / "subcomponents.safetensors"),
        input(harvest / "input_tokens.safetensors"),
        output(harvest / "output_tokens.safetensors"),
        lens(harvest / "lens.safetensors"),
        examples(harvest / "examples.safetensors") {
    std::error_code error;
    if (fs::exists(harvest / "coactivation.safetensors", error))
      together.emplace(harvest / "coactivation.safetensors");
    alive = whole<std::int32_t>(input, "subcomponent");
    firings = whole<std::int64_t>(facts, "firings");
    VPD_CHECK(static_cast<std::int64_t>(firings.size()) == sites.total_C(), DataError,
              "{}: expected {} subcomponents, found {}; harvest again", facts.path().string(),
              sites.total_C(), firings.size());
    input_offsets = whole<std::int64_t>(input, "offsets");
    if (output.find("offsets")) output_offsets = whole<std::int64_t>(output, "offsets");
    if (together) together_offsets = whole<std::int64_t>(*together, "offsets");
    example_offsets = whole<std::int64_t>(examples, "offsets");
    const auto counts = whole<std::int64_t>(input, "marginal");
    marginals[0].assign(counts.begin(), counts.end());
    marginals[1] = whole<double>(output, "marginal");
    for (const char* name :
         {"importance_histogram", "position_firings", "sign_divergence", "null_divergence"})
      wide.emplace(name, facts.load(name));
    for (const char* name : {"positive_firings", "negative_firings", "rows"})
      counts_of.emplace(name, whole<std::int64_t>(facts, name));
    for (const char* name : {"importance_sum", "firing_activation_sum", "firing_activation_abs_sum"})
      sums_of.emplace(name, whole<double>(facts, name));
    for (const char* name : {"activation_min", "activation_max", "sign_balance"})
      numbers_of.emplace(name, whole<float>(facts, name));
    polysemantic = whole<std::uint8_t>(facts, "polysemantic");
  }

  /// Its place among those that fired, or nothing.
  std::optional<std::size_t> place(std::int64_t column) const {
    const auto found = std::lower_bound(alive.begin(), alive.end(), column);
    if (found == alive.end() || *found != column) return std::nullopt;
    return static_cast<std::size_t>(found - alive.begin());
  }

  Json about;
  Sites sites;
  std::int64_t positions, rows, row_length;
  SafetensorsFile facts, input, output, lens, examples;
  std::optional<SafetensorsFile> together;
  std::vector<std::int32_t> alive;
  std::vector<std::int64_t> firings, input_offsets, output_offsets, together_offsets, example_offsets;
  std::array<std::vector<double>, 2> marginals;
  std::map<std::string, at::Tensor, std::less<>> wide;
  std::map<std::string, std::vector<std::int64_t>, std::less<>> counts_of;
  std::map<std::string, std::vector<double>, std::less<>> sums_of;
  std::map<std::string, std::vector<float>, std::less<>> numbers_of;
  std::vector<std::uint8_t> polysemantic;
};

Evidence::Evidence(const fs::path& harvest) : tables_(std::make_unique<Tables>(harvest)) {}
Evidence::Evidence(Evidence&&) noexcept = default;
Evidence::~Evidence() = default;

const Json& Evidence::about() const { return tables_->about; }
const Sites& Evidence::sites() const { return tables_->sites; }
std::int64_t Evidence::positions() const { return tables_->positions; }
std::int64_t Evidence::rows() const { return tables_->rows; }
std::int64_t Evidence::row_length() const { return tables_->row_length; }
double Evidence::threshold() const { return tables_->about["settings"].value("threshold", 0.0); }
std::int64_t Evidence::window() const { return tables_->about["settings"].value("window", std::int64_t{20}); }
const std::vector<std::int32_t>& Evidence::alive() const { return tables_->alive; }
bool Evidence::is_alive(std::int64_t column) const { return tables_->place(column).has_value(); }
bool Evidence::has_outputs() const { return !tables_->marginals[1].empty(); }
const std::vector<double>& Evidence::marginal(TokenSide side) const {
  return tables_->marginals[side == TokenSide::output];
}

SubcomponentFacts Evidence::facts(std::int64_t column) const {
  const Tables& t = *tables_;
  const auto c = static_cast<std::size_t>(column);
  SubcomponentFacts facts{.column = column,
                          .firings = t.firings.at(c),
                          .positive_firings = t.counts_of.at("positive_firings").at(c),
                          .negative_firings = t.counts_of.at("negative_firings").at(c),
                          .rows = t.counts_of.at("rows").at(c)};
  const auto positions = static_cast<double>(t.positions);
  const double firings = std::max<double>(1.0, static_cast<double>(facts.firings));
  facts.density = static_cast<double>(facts.firings) / positions;
  facts.mean_importance = t.sums_of.at("importance_sum").at(c) / positions;
  const double sum = t.sums_of.at("firing_activation_sum").at(c);
  facts.mean_activation = sum / firings;
  facts.mean_absolute_activation = t.sums_of.at("firing_activation_abs_sum").at(c) / firings;
  facts.activation_min = t.numbers_of.at("activation_min").at(c);
  facts.activation_max = t.numbers_of.at("activation_max").at(c);
  facts.polysemantic = t.polysemantic.at(c) != 0;
  facts.sign_balance = t.numbers_of.at("sign_balance").at(c);
  facts.sign = sum < 0.0 ? -1 : 1;
  for (std::size_t side = 0; side < 2; ++side) {
    const std::size_t at = side * t.firings.size() + c;
    facts.sign_divergence[side] = t.wide.at("sign_divergence").const_data_ptr<float>()[at];
    facts.null_divergence[side] = t.wide.at("null_divergence").const_data_ptr<float>()[at];
  }
  return facts;
}

std::vector<TokenScore> Evidence::tokens(std::int64_t column, TokenSide side) const {
  const Tables& t = *tables_;
  const auto place = t.place(column);
  std::vector<TokenScore> tokens;
  if (!place || (side == TokenSide::output && !has_outputs())) return tokens;
  const auto row = static_cast<std::int64_t>(*place);
  const std::vector<double>& marginal = t.marginals[side == TokenSide::output];
  const auto add = [&](std::int64_t token, double count, double positive) {
    TokenScore score{.token = token,
                     .count = count,
                     .positive = positive,
                     .total = marginal.at(static_cast<std::size_t>(token))};
    score.scores = token_scores(count, static_cast<double>(t.firings[static_cast<std::size_t>(column)]),
                                score.total, static_cast<double>(t.positions));
    tokens.push_back(score);
  };
  if (side == TokenSide::output && t.output_offsets.empty()) {
    const auto mass = part<float>(t.output, "mass", row, 1),
               positive = part<float>(t.output, "positive", row, 1);
    for (std::size_t v = 0; v < mass.size(); ++v)
      if (mass[v] > 0.0f) add(static_cast<std::int64_t>(v), mass[v], positive[v]);
    return tokens;
  }
  const SafetensorsFile& file = side == TokenSide::input ? t.input : t.output;
  const auto& offsets = side == TokenSide::input ? t.input_offsets : t.output_offsets;
  const std::int64_t first = offsets.at(*place), count = offsets.at(*place + 1) - first;
  const auto ids = part<std::int32_t>(file, "token", first, count);
  const auto numbers = [&](const char* name) {
    return vector_of<double>(file.load_rows(name, first, count).to(at::kDouble), name);
  };
  const auto counts = numbers(side == TokenSide::input ? "count" : "mass"), positive = numbers("positive");
  for (std::size_t i = 0; i < ids.size(); ++i) add(ids[i], counts[i], positive[i]);
  return tokens;
}

std::vector<PartnerScore> Evidence::partners(std::int64_t column) const {
  const Tables& t = *tables_;
  const auto place = t.place(column);
  std::vector<PartnerScore> partners;
  if (!place || !t.together) return partners;
  const std::int64_t first = t.together_offsets.at(*place), count = t.together_offsets.at(*place + 1) - first;
  const auto columns = part<std::int32_t>(*t.together, "partner", first, count),
             both = part<std::int32_t>(*t.together, "count", first, count);
  for (std::size_t i = 0; i < columns.size(); ++i) {
    partners.push_back(
        {.column = columns[i],
         .together = both[i],
         .scores = partner_scores(both[i], static_cast<double>(t.firings[static_cast<std::size_t>(column)]),
                                  static_cast<double>(t.firings.at(static_cast<std::size_t>(columns[i]))),
                                  static_cast<double>(t.positions))});
  }
  std::stable_sort(partners.begin(), partners.end(), [](const PartnerScore& a, const PartnerScore& b) {
    return a.scores.jaccard > b.scores.jaccard;
  });
  return partners;
}

std::vector<FiringExample> Evidence::examples(std::int64_t column) const {
  const Tables& t = *tables_;
  const auto place = t.place(column);
  std::vector<FiringExample> examples;
  if (!place) return examples;
  const std::int64_t first = t.example_offsets.at(*place), count = t.example_offsets.at(*place + 1) - first;
  const auto rows = part<std::int64_t>(t.examples, "row", first, count);
  const auto centres = part<std::int32_t>(t.examples, "centre", first, count);
  const auto kinds = part<std::uint8_t>(t.examples, "kind", first, count);
  const at::Tensor tokens = t.examples.load_rows("token", first, count);
  const at::Tensor importance = t.examples.load_rows("importance", first, count).to(at::kFloat);
  const at::Tensor activation = t.examples.load_rows("activation", first, count).to(at::kFloat);
  const std::int64_t width = tokens.size(1);
  for (std::int64_t e = 0; e < count; ++e) {
    const auto i = static_cast<std::size_t>(e);
    const auto* ids = tokens.const_data_ptr<std::int32_t>() + e * width;
    const auto* g = importance.const_data_ptr<float>() + e * width;
    const auto* a = activation.const_data_ptr<float>() + e * width;
    examples.push_back({.kind = static_cast<FiringExample::Kind>(kinds[i]),
                        .row = rows[i],
                        .position = centres[i],
                        .tokens = {ids, ids + width},
                        .importance = {g, g + width},
                        .activation = {a, a + width}});
  }
  return examples;
}

std::vector<LensToken> Evidence::lens(std::int64_t column) const {
  const Tables& t = *tables_;
  const auto ids = part<std::int32_t>(t.lens, "token", column, 1);
  const auto dots = part<float>(t.lens, "dot", column, 1), cosines = part<float>(t.lens, "cosine", column, 1);
  std::vector<LensToken> tokens;
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (ids[i] >= 0) tokens.push_back({.token = ids[i], .dot = dots[i], .cosine = cosines[i]});
  return tokens;
}

std::vector<std::int64_t> Evidence::importance_histogram(std::int64_t column) const {
  const at::Tensor counts = tables_->wide.at("importance_histogram").select(1, column).contiguous();
  return vector_of<std::int64_t>(counts, "importance_histogram");
}

std::vector<std::int64_t> Evidence::position_firings(std::int64_t column) const {
  const at::Tensor counts = tables_->wide.at("position_firings").select(1, column).contiguous();
  return vector_of<std::int64_t>(counts, "position_firings");
}

double value_of(const TokenScore& token, TokenRanking ranking) {
  switch (ranking) {
    case TokenRanking::recall:
      return token.scores.recall;
    case TokenRanking::precision:
      return token.scores.precision;
    case TokenRanking::lift:
      return token.scores.lift;
    case TokenRanking::pmi:
      return token.scores.pmi;
  }
  return 0.0;
}

std::vector<TokenScore> ranked(std::vector<TokenScore> tokens, TokenRanking ranking, std::size_t most,
                               std::int64_t min_count, bool bottom) {
  std::erase_if(tokens, [&](const TokenScore& t) { return t.total < static_cast<double>(min_count); });
  std::stable_sort(tokens.begin(), tokens.end(), [&](const TokenScore& a, const TokenScore& b) {
    const double x = value_of(a, ranking), y = value_of(b, ranking);
    return x != y ? (bottom ? x < y : x > y) : a.token < b.token;
  });
  if (tokens.size() > most) tokens.resize(most);
  return tokens;
}

TellingTokens telling_tokens(const std::vector<TokenScore>& tokens, double firings, std::size_t most,
                             std::int64_t min_count) {
  constexpr double least_gain = 0.01;
  TellingTokens best;
  std::vector<bool> taken(tokens.size());
  double count = 0.0, total = 0.0;
  while (best.tokens.size() < most) {
    std::size_t chosen = tokens.size();
    SetScores scores = best.scores;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (taken[i] || tokens[i].total < static_cast<double>(min_count)) continue;
      const SetScores with = set_scores(count + tokens[i].count, firings, total + tokens[i].total);
      if (with.f1 <= scores.f1) continue;
      scores = with;
      chosen = i;
    }
    if (chosen == tokens.size() || scores.f1 < best.scores.f1 + least_gain) break;
    taken[chosen] = true;
    count += tokens[chosen].count;
    total += tokens[chosen].total;
    best.tokens.push_back(tokens[chosen]);
    best.scores = scores;
  }
  return best;
}

std::int64_t first_of_position_bin(std::int64_t bin) {
  if (bin < 4) return bin;
  const std::int64_t octave = bin / 4 + 1, start = std::int64_t{1} << octave;
  return start + (bin % 4) * start / 4;
}

}  // namespace vpd
