#include "vpd/run/run_choice.hpp"

#include <algorithm>
#include <charconv>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/decomposition/opened_run.hpp"
#include "vpd/interpretation/results.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

/// The checkpoint whose harvest is to be read: where there is none, the one that lacks it.
Checkpoint chosen(const RunDirectory& run, std::optional<std::int64_t> wanted) {
  if (const auto step = harvested_step(run, wanted))
    return {.step = *step, .path = run.checkpoint_path(*step)};
  const auto latest = run.latest();
  const std::int64_t step = wanted ? *wanted : latest ? latest->step : 0;
  return {.step = step, .path = run.checkpoint_path(step)};
}

Evidence open_evidence(const fs::path& harvest, const Checkpoint& checkpoint) {
  Evidence evidence(harvest);
  std::error_code error;
  if (fs::is_directory(checkpoint.path, error))
    check_weights(harvest, evidence.about(), weight_hashes(checkpoint.path), checkpoint.path);
  return evidence;
}

std::optional<Tokenizer> open_tokenizer(const RunDirectory& run, const std::optional<fs::path>& path) {
  if (path) return Tokenizer::load(*path);
  return find_tokenizer(load_run_config(run.config_path(), {}, config::Files::may_be_missing));
}

}  // namespace

std::optional<std::int64_t> harvested_step(const RunDirectory& run, std::optional<std::int64_t> wanted) {
  std::error_code error;
  if (wanted) {
    const bool there = fs::is_directory(results_path(run, *wanted) / "harvest", error);
    return there ? wanted : std::nullopt;
  }
  std::optional<std::int64_t> last;
  const fs::path all = results_path(run, 0).parent_path();
  for (fs::directory_iterator i(all, error), end; !error && i != end; i.increment(error)) {
    const std::string name = i->path().filename().string();
    std::int64_t step = -1;
    std::error_code ignored;
    if (!name.starts_with("step_") || !fs::is_directory(i->path() / "harvest", ignored)) continue;
    const auto [rest, failed] = std::from_chars(name.data() + 5, name.data() + name.size(), step);
    if (failed == std::errc() && rest == name.data() + name.size()) last = std::max(last.value_or(-1), step);
  }
  return last;
}

OpenedEvidence::OpenedEvidence(const fs::path& run, std::optional<std::int64_t> step,
                               const std::optional<fs::path>& path)
    : directory(RunDirectory::open(run)),
      checkpoint(chosen(directory, step)),
      harvest(existing_result(directory, checkpoint.step, "harvest", "harvest")),
      evidence(open_evidence(harvest, checkpoint)),
      tokenizer(open_tokenizer(directory, path)) {}

std::string OpenedEvidence::raw_token(std::int64_t token) const {
  if (!tokenizer) return fmt::format("#{} ", token);
  return tokenizer->has(token) ? tokenizer->token_text(token) : "\uFFFD";
}

std::vector<bool> chosen_sites(const Sites& sites, const std::vector<std::string>& patterns,
                               const std::string& option) {
  std::vector<bool> chosen(sites.size(), patterns.empty());
  for (const std::string& pattern : patterns) {
    bool any = false;
    for (std::size_t i = 0; i < sites.size(); ++i) {
      if (!matches_pattern(pattern, sites[i].name)) continue;
      chosen[i] = any = true;
    }
    std::vector<std::string> names;
    for (const Site& site : sites) names.push_back(site.name);
    VPD_CHECK(any, UsageError, "{} {}: expected a site or a pattern of sites, found none that it matches{}",
              option, quote_foreign(pattern), nearest_hint(pattern, names));
  }
  return chosen;
}

std::string visible_token(std::string_view text) {
  std::string shown;
  for (const char letter : printable(text)) {
    if (letter == ' ') {
      shown += "·";
    } else {
      shown += letter;
    }
  }
  return shown;
}

std::string token_text(std::int64_t token, const std::optional<Tokenizer>& tokenizer) {
  if (!tokenizer || !tokenizer->has(token)) return fmt::format("#{}", token);
  return visible_token(tokenizer->token_text(token));
}

std::int64_t token_named(const std::string& text, const std::optional<Tokenizer>& tokenizer,
                         std::int64_t vocabulary) {
  if (const std::size_t sharp = text.find_first_not_of(' ');
      sharp != std::string::npos && text[sharp] == '#') {
    std::int64_t id = -1;
    const auto [end, failed] = std::from_chars(text.data() + sharp + 1, text.data() + text.size(), id);
    VPD_CHECK(failed == std::errc() && end == text.data() + text.size() && id >= 0 && id < vocabulary,
              UsageError, "{}: expected the number of a token, below {}", quote_foreign(text), vocabulary);
    return id;
  }
  VPD_CHECK(
      tokenizer, UsageError,
      "{}: expected #NUMBER, since there is no tokenizer.json beside the target or its tokens; name one with "
      "--tokenizer, or give the token's number",
      quote_foreign(text));
  const std::vector<std::int64_t> ids = tokenizer->encode(text);
  if (ids.size() != 1) {
    std::vector<std::string> pieces;
    for (const std::int64_t piece : ids)
      pieces.push_back(fmt::format("\"{}\" (#{})", vpd::token_text(piece, tokenizer), piece));
    throw UsageError(fmt::format("{}: expected one token, found {}: {}", quote_foreign(text), ids.size(),
                                 join_words(pieces)));
  }
  VPD_CHECK(ids[0] < vocabulary, UsageError,
            "{}: expected a token below {}, which the target knows, found #{}", quote_foreign(text),
            vocabulary, ids[0]);
  return ids[0];
}

std::vector<std::int64_t> tokens_named(const std::string& text, const std::optional<Tokenizer>& tokenizer,
                                       std::int64_t vocabulary) {
  if (text == ",") return {token_named(text, tokenizer, vocabulary)};
  std::vector<std::int64_t> tokens;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, comma - begin);
    begin = comma + 1;
    VPD_CHECK(
        !part.empty(), UsageError,
        "expected tokens between commas, found {}; a comma among others is named by its number, as in #11",
        quote_foreign(text));
    tokens.push_back(token_named(part, tokenizer, vocabulary));
  }
  return tokens;
}

SubcomponentId OpenedEvidence::subcomponent(const std::string& text) const {
  return subcomponent_of(text, evidence.sites());
}

std::string OpenedEvidence::token_text(std::int64_t token) const { return vpd::token_text(token, tokenizer); }

std::vector<std::int64_t> OpenedEvidence::tokens_named(const std::string& text) const {
  return vpd::tokens_named(text, tokenizer,
                           static_cast<std::int64_t>(evidence.marginal(TokenSide::input).size()));
}

}  // namespace vpd
