#include "vpd/run/attention.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <ATen/ATen.h>

#include "attention_files.hpp"
#include "token_rows.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/base/text.hpp"
#include "vpd/decomposition/columns.hpp"
#include "vpd/interpretation/harvest.hpp"
#include "vpd/interpretation/labels.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/passes/clean_pass.hpp"

namespace vpd {
namespace {

constexpr std::int64_t default_offsets = 32, random_positions = 8192;
constexpr std::size_t values_shown = 5;  // of a head, those that are most aligned
constexpr std::size_t tokens_of_note = 4;

RunToEdit opened_with_tokens(const AttentionOptions& options) {
  RunToEdit run = options;
  if (options.tokens) {
    const std::vector<std::string> rows = tokens_in_place(options.run, *options.tokens);
    run.overrides.insert(run.overrides.end(), rows.begin(), rows.end());
  }
  return run;
}

/// The work of one command, in the order of its steps.
class AttentionJob {
 public:
  AttentionJob(const AttentionOptions& options, const Observer& observer)
      : options_(options),
        observer_(observer),
        source_(opened_with_tokens(options), observer),
        d_(source_.run.decomposition),
        block_(attention_of(d_, options.layer)) {
    if (options.split == "train") train_ = source_.run.open_train();
  }

  AttentionResult run() {
    const auto start = std::chrono::steady_clock::now();
    describe();
    choose_prompt();
    const std::int64_t at_once = rows_at_once();
    source_.run.compute_with(at_once);
    const BatchReader reader(d_, data(), *source_.run.lanes,
                             {.rows = at_once, .limit = result_.rows, .stop = observer_.stop});
    const ColumnFacts facts = facts_of(reader);
    const AttentionTerms terms(d_, block_, alive(block_.q, facts), alive(block_.k, facts));
    VPD_CHECK(terms.query.columns() + terms.key.columns() > 0, UsageError,
              "--min-importance: expected subcomponents of {} or {} with a mean importance above {:g}, found "
              "none",
              result_.q, result_.k, options_.min_importance);
    result_.query_terms = terms.query.terms();
    result_.key_terms = terms.key.terms();
    result_.query_columns = terms.query.columns();
    result_.key_columns = terms.key.columns();
    if (terms.query.columns() > 0 && terms.key.columns() > 0)
      result_.statics = static_interactions(terms, facts.sign, result_.offsets);
    read_data(reader, terms);
    look_at_random_tokens();
    look_at_values(facts);
    if (result_.prompt) split_prompt(terms);
    note_what_is_shown();
    result_.directory = results_path(source_.run.directory, result_.step) / "attention" /
                        fmt::format("block_{}", block_.number);
    result_.seconds = seconds_since(start);
    observer_.announce("writing the files");
    write_attention(result_, options_, source_, hashes_of_rows(source_.run, options_.split, observer_));
    return std::move(result_);
  }

 private:
  const Dataset& data() const { return train_ ? *train_ : *source_.run.eval; }

  std::int64_t column_of_key(const std::string& option, const std::string& key) const {
    try {
      return column_of(subcomponent_of(key, d_.sites), d_.sites);
    } catch (const UsageError& error) {
      throw UsageError(option + ": " + error.what());
    }
  }

  /// What is asked, checked before anything takes long.
  void describe() {
    const AttentionShape& shape = block_.parts.shape;
    const auto& matrices = d_.target->matrices();
    result_.step = source_.run.checkpoint.step;
    result_.warnings = source_.run.warnings;
    result_.block = static_cast<std::int64_t>(block_.number);
    result_.heads = shape.heads;
    result_.key_heads = shape.key_heads;
    result_.head_width = shape.head_width;
    result_.q = matrices[block_.parts.q].name, result_.k = matrices[block_.parts.k].name;
    result_.v = matrices[block_.parts.v].name, result_.o = matrices[block_.parts.o].name;
    result_.q_site = block_.q, result_.k_site = block_.k;
    result_.v_site = block_.v, result_.o_site = block_.o;
    result_.sites = d_.sites;
    result_.query_all = block_.q ? d_.sites[*block_.q].C : 0;
    result_.key_all = block_.k ? d_.sites[*block_.k].C : 0;
    for (const auto& [site, name] : {std::pair(block_.q, result_.q), std::pair(block_.k, result_.k)})
      if (!site)
        result_.warnings.push_back(fmt::format(
            "{} is not decomposed: it enters as one term, and there are no static interactions", name));
    result_.most = options_.pairs;
    result_.threshold = options_.threshold;
    result_.min_importance = options_.min_importance;
    result_.slug = options_.slug;
    result_.head = options_.head;
    VPD_CHECK(!options_.head || (*options_.head >= 0 && *options_.head < shape.heads), UsageError,
              "--head: expected a head from 0 to {}, found {}", shape.heads - 1, options_.head.value_or(0));
    require_one_length(data(), source_.run.config.data);
    result_.T = data().length();
    const auto [first, end] =
        options_.offsets.value_or(std::pair(std::int64_t{0}, std::min(default_offsets, result_.T)));
    VPD_CHECK(first >= 0 && first < end && end <= result_.T, UsageError,
              "--offsets: expected a range a:b of distances with 0 <= a < b <= {}, the length of a row, "
              "found {}:{}",
              result_.T, first, end);
    for (std::int64_t offset = first; offset < end; ++offset) result_.offsets.push_back(offset);
    for (const std::string& key : options_.ablate) result_.ablated.push_back(column_of_key("--ablate", key));
    if (!options_.given.empty()) result_.given = column_of_key("--given", options_.given);
    const std::int64_t wanted = (options_.positions + result_.T - 1) / result_.T;
    result_.rows = std::min(wanted, data().rows().value_or(wanted));
    VPD_CHECK(result_.rows > 0, DataError, "{}: expected rows to read, found none", data().describe());
  }

  void choose_prompt() {
    if (options_.prompt.empty() && options_.prompt_tokens.empty()) return;
    AttentionPrompt prompt{
        .tokens = source_.prompt_of(options_.prompt, options_.prompt_tokens), .texts = {}, .pairs = {}};
    VPD_CHECK(static_cast<std::int64_t>(prompt.tokens.size()) <= longest_attention_prompt, UsageError,
              "the prompt: expected at most {} tokens, since every pair has a number for each two of them, "
              "found {}",
              longest_attention_prompt, prompt.tokens.size());
    for (const std::int64_t token : prompt.tokens) prompt.texts.push_back(source_.token_text(token));
    result_.prompt = std::move(prompt);
  }

  std::int64_t rows_at_once() const {
    return std::min(result_.rows,
                    suitable_harvest_rows(d_.sites.total_C(), result_.T, d_.target->vocabulary_size()));
  }

  void read_all(const BatchReader& reader, const char* what,
                const std::function<void(const Batch&)>& look) const {
    std::int64_t seen = 0;
    for (std::int64_t k = 0; reader.rows_of(k) > 0; ++k) {
      end_if_asked(observer_.stop, "reading attention");
      observer_.announce(fmt::format("{}: {} of {} rows", what, seen, result_.rows));
      const Batch batch = reader.read(k);
      look(batch);
      seen += batch.B;
    }
  }

  /// Who is alive, and the usual signs: of the harvest, or from a first pass over the rows.
  ColumnFacts facts_of(const BatchReader& reader) const {
    if (source_.evidence) return column_facts(source_.evidence->evidence);
    ColumnMeasure measure(options_.threshold);
    read_all(reader, "looking for what is alive, since there is no harvest",
             [&](const Batch& batch) { measure.add(batch); });
    return measure.facts();
  }

  std::vector<std::int64_t> alive(std::optional<std::size_t> site, const ColumnFacts& facts) const {
    std::vector<std::int64_t> columns = columns_of(d_.sites, site);
    std::erase_if(columns, [&](std::int64_t column) {
      return !(facts.importance[column].item<double>() > options_.min_importance);
    });
    return columns;
  }

  void read_data(const BatchReader& reader, const AttentionTerms& terms) {
    PairSummary summary(terms, result_.T, result_.offsets, options_.threshold);
    ReadCovariance covariance(block_, d_.sites[block_.reader()].d_in, result_.given, options_.threshold);
    std::vector<AttentionByOffset> looks(1 + result_.ablated.size(),
                                         AttentionByOffset(d_, block_.number, result_.T, looked_at()));
    read_all(reader, "adding up pairs", [&](const Batch& batch) {
      summary.add(batch);
      covariance.add(batch);
      for (std::size_t i = 0; i < looks.size(); ++i) looks[i].add(batch, edits_of(i));
    });
    covariance_ = covariance.covariance();
    result_.weighted_positions = static_cast<std::int64_t>(covariance.positions());
    result_.mean = summary.mean().cpu();
    result_.share = summary.share().cpu();
    result_.share_within = summary.share_within().cpu();
    result_.both_mean = summary.both_mean().cpu();
    result_.both_count = summary.both_count().cpu();
    result_.score_mean = summary.score_mean().cpu();
    result_.score_deviation = summary.score_deviation().cpu();
    result_.without.resize(result_.ablated.size());
    for (std::size_t i = 0; i < looks.size(); ++i) {
      const at::Tensor mean = looks[i].mean();
      look(i).data = mean.narrow(1, 0, listed());
      look(i).previous = mean.select(1, listed());
    }
  }

  /// The offsets that are asked for, and behind them that of the token before.
  std::vector<std::int64_t> looked_at() const {
    std::vector<std::int64_t> offsets = result_.offsets;
    offsets.push_back(std::min<std::int64_t>(1, result_.T - 1));
    return offsets;
  }
  std::int64_t listed() const { return static_cast<std::int64_t>(result_.offsets.size()); }
  /// Of the target, and then of it without each of the subcomponents to be ablated.
  HeadLooks& look(std::size_t i) { return i == 0 ? result_.looks : result_.without[i - 1]; }
  std::vector<RankOneEdit> edits_of(std::size_t i) const {
    return i == 0 ? std::vector<RankOneEdit>() : ablations_of({result_.ablated[i - 1]}, d_);
  }

  void look_at_random_tokens() {
    const std::int64_t T = result_.T, rows = std::max<std::int64_t>(1, random_positions / T);
    const RandomTokens random = random_tokens(rows, T, d_.target->vocabulary_size(), options_.seed);
    const at::Device device = d_.numerics.device;
    for (std::size_t i = 0; i <= result_.ablated.size(); ++i) {
      end_if_asked(observer_.stop, "reading attention");
      observer_.announce("looking at random tokens");
      AttentionByOffset looks(d_, block_.number, T, looked_at());
      looks.add(random.any.to(device), edits_of(i));
      const at::Tensor mean = looks.mean();
      look(i).random = mean.narrow(1, 0, listed());
      look(i).random_previous = mean.select(1, listed());
      if (T >= 4)
        look(i).induction = induction_scores(d_, block_.number, random.repeated.to(device), edits_of(i));
    }
  }

  void look_at_values(const ColumnFacts& facts) {
    observer_.announce("weighing what heads move");
    const std::int64_t width = block_.parts.shape.head_width;
    if (block_.q) result_.norm_q = head_norms(d_, *block_.q, width, false).cpu();
    if (block_.k) result_.norm_k = head_norms(d_, *block_.k, width, false).cpu();
    if (block_.v) result_.norm_v = head_norms(d_, *block_.v, width, false).cpu();
    if (block_.o) result_.norm_o = head_norms(d_, *block_.o, width, true).cpu();
    result_.moved = output_value(d_, block_, covariance_);
    result_.chance = random_cosines(width, covariance_, options_.seed);
    result_.importance = facts.importance;
    if (block_.v && block_.k && source_.evidence) match_keys();
  }

  /// For each head's most aligned values: which keys fire at the same positions.
  void match_keys() {
    const Evidence& evidence = source_.evidence->evidence;
    const Site& keys = d_.sites[*block_.k];
    std::vector<std::int64_t> chosen;
    for (std::int64_t head = 0; head < result_.heads; ++head)
      for (const auto& [column, ignored] :
           most_aligned(result_, result_.moved.value_alignment[1][head], *block_.v, values_shown))
        chosen.push_back(column);
    std::sort(chosen.begin(), chosen.end());
    chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
    for (const std::int64_t value : chosen) {
      const auto firings = static_cast<double>(evidence.facts(value).firings);
      std::vector<KeyOfValue> found;
      for (const PartnerScore& partner : evidence.partners(value)) {
        if (partner.column < keys.offset || partner.column >= keys.offset + keys.C) continue;
        const auto together = static_cast<double>(partner.together),
                   other = static_cast<double>(evidence.facts(partner.column).firings);
        found.push_back({partner.column, value, together / firings, together / other});
      }
      std::stable_sort(found.begin(), found.end(), [](const KeyOfValue& a, const KeyOfValue& b) {
        return a.key_given_value > b.key_given_value;
      });
      found.resize(std::min(found.size(), values_shown));
      result_.keys_of_values.insert(result_.keys_of_values.end(), found.begin(), found.end());
    }
  }

  void split_prompt(const AttentionTerms& terms) {
    const at::NoGradGuard no_grad;
    observer_.announce("taking the prompt apart");
    const at::Tensor tokens = at::tensor(result_.prompt->tokens, at::kLong).unsqueeze(0);
    const CleanPass clean = clean_pass(d_, tokens.to(d_.numerics.device));
    LargestPairs& pairs = result_.prompt->pairs;
    pairs = largest_pairs(terms, clean.inputs[block_.reader()], stored_pairs);
    pairs.score = pairs.score.cpu();
    pairs.contribution = pairs.contribution.cpu();
    pairs.rest = pairs.rest.cpu();
  }

  /// Labels of what the tables name, or the tokens that tell best where it fires.
  void note_what_is_shown() {
    const Labels labels(labels_path(source_.run.directory, result_.step));
    const auto note = [&](std::int64_t column) {
      if (column < 0 || result_.notes.contains(column)) return;
      std::string text = printable(labels.label_of(key_of_column(column, d_.sites)));
      if (text.empty() && source_.evidence) {
        const Evidence& evidence = source_.evidence->evidence;
        const SubcomponentFacts facts = evidence.facts(column);
        if (facts.always_on()) {
          text = "always on";
        } else if (facts.firings > 0) {
          for (const TokenScore& token : telling_tokens(evidence.tokens(column, TokenSide::input),
                                                        static_cast<double>(facts.firings), tokens_of_note)
                                             .tokens)
            text += (text.empty() ? "" : " ") + source_.token_text(token.token);
        }
      }
      result_.notes[column] = text;
    };
    for (std::int64_t head = 0; head < result_.heads; ++head)
      for (const ShownPair& pair : strongest_pairs(result_, head)) note(pair.query), note(pair.key);
    for (const KeyOfValue& one : result_.keys_of_values) note(one.value), note(one.key);
    if (result_.prompt)
      for (const std::vector<std::int64_t>* side : {&result_.prompt->pairs.query, &result_.prompt->pairs.key})
        for (const std::int64_t column : *side) note(column);
  }

  const AttentionOptions& options_;
  const Observer& observer_;
  EditSource source_;
  const Decomposition& d_;
  AttentionBlock block_;
  std::unique_ptr<Dataset> train_;
  AttentionResult result_;
  at::Tensor covariance_;
};

}  // namespace

void check_attention_options(const AttentionOptions& options) {
  check_slug(options.slug);
  VPD_CHECK(options.split == "eval" || options.split == "train", UsageError,
            "--split: expected eval or train, found {}", quote_foreign(options.split));
  VPD_CHECK(!options.tokens || options.split == "eval", UsageError,
            "--tokens and --split train exclude each other");
  VPD_CHECK(options.threshold >= 0.0 && options.threshold < 1.0, UsageError,
            "--threshold: expected a number of at least 0 and below 1, found {:g}", options.threshold);
  VPD_CHECK(options.min_importance >= 0.0 && options.min_importance < 1.0, UsageError,
            "--min-importance: expected a number of at least 0 and below 1, found {:g}",
            options.min_importance);
}

std::string AttentionResult::name_of_term(std::int64_t term, bool query) const {
  if (term >= 0) return key_of_column(term, sites);
  switch (static_cast<OtherTerm>(term)) {
    case OtherTerm::delta:
      return (query ? q_site : k_site) ? "Δ" : "all of " + (query ? q : k);
    case OtherTerm::bias:
      return "bias";
    case OtherTerm::position:
      return "position";
    case OtherTerm::rest:
      return "other subcomponents";
  }
  return {};
}

AttentionResult attention_run(const AttentionOptions& options, const Observer& observer) {
  check_attention_options(options);
  return AttentionJob(options, observer).run();
}

}  // namespace vpd
