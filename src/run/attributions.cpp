#include "vpd/run/attributions.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include <ATen/ATen.h>

#include "read_rows.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/base/text.hpp"
#include "vpd/decomposition/columns.hpp"
#include "vpd/interpretation/labels.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"
#include "vpd/machine/memory.hpp"
#include "vpd/run/run_choice.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// A token that comes less often is in no list: its figure would be that of a few positions.
constexpr std::int64_t least_occurrences = 10;
constexpr std::size_t strongest_kept = 200;

std::string rule_of(const AttributionOptions& options) {
  return options.settings.complete ? "complete" : "published";
}

void check_options(const AttributionOptions& options) {
  if (!options.slug.empty()) check_slug(options.slug);
  const double threshold = options.settings.threshold;
  VPD_CHECK(threshold >= 0.0 && threshold < 1.0, UsageError,
            "--threshold: expected a number of at least 0 and below 1, found {:g}", threshold);
}

/// Of each site the subcomponents that the run's harvest saw fire, or all where there is none.
std::vector<at::Tensor> columns_of(const AttributionOptions& options, const OpenedRun& run,
                                   std::vector<std::string>& warnings) {
  const Sites& sites = run.decomposition.sites;
  if (!harvested_step(run.directory, run.checkpoint.step)) {
    warnings.push_back(
        fmt::format("there is no harvest of step {}, so all {} subcomponents are looked at; after `vpd "
                    "harvest {}` those that fire are",
                    run.checkpoint.step, sites.total_C(), shell_quoted(options.run.string())));
    return all_columns(sites);
  }
  const OpenedEvidence opened(options.run, run.checkpoint.step, options.tokenizer);
  std::vector<std::vector<std::int64_t>> alive(sites.size());
  for (const std::int32_t column : opened.evidence.alive()) {
    const SubcomponentId id = subcomponent_at(column, sites);
    alive[id.site].push_back(id.c);
  }
  std::vector<at::Tensor> columns;
  for (const auto& site : alive) columns.push_back(at::tensor(site, at::kLong));
  return columns;
}

void check_memory(const AttributionOptions& options, const Decomposition& d,
                  const std::vector<at::Tensor>& columns) {
  const double needed = AttributionSums::bytes_for(d, options.settings, columns);
  const auto there = static_cast<double>(usable_memory(d.numerics.device).bytes);
  VPD_CHECK(needed <= there, UsageError,
            "expected {} of memory for the sums of all pairs, found {}; harvest first, so that only "
            "subcomponents that fire are summed, or compute where there is more",
            human_bytes(needed), human_bytes(there));
}

/// The edges of all targets, gathered wire by wire.
class EdgeGatherer {
 public:
  EdgeGatherer(const Decomposition& d, const DatasetAttributions& all, std::size_t top)
      : d_(d), all_(all), top_(top), of_target_(static_cast<std::size_t>(d.sites.total_C())) {}

  std::vector<AttributionEdge> gather() {
    for (const SummedWire& one : all_.wires)
      if (one.wire.target) add(one);
    std::vector<AttributionEdge> edges;
    for (std::vector<AttributionEdge>& into : of_target_) {
      const auto tokens = std::stable_partition(into.begin(), into.end(), [&](const AttributionEdge& edge) {
        return edge.source < d_.sites.total_C();
      });
      std::vector<AttributionEdge> kept = strongest_of(into.begin(), tokens);
      const std::vector<AttributionEdge> read = strongest_of(tokens, into.end());
      kept.insert(kept.end(), read.begin(), read.end());
      edges.insert(edges.end(), kept.begin(), kept.end());
      into = {};
    }
    return edges;
  }

 private:
  void add(const SummedWire& one) {
    const at::Tensor normalised = all_.normalised(one).contiguous(), sum = one.sum.contiguous(),
                     absolute = one.absolute.defined() ? one.absolute.contiguous() : at::Tensor();
    const auto* n = normalised.const_data_ptr<double>();
    const auto* s = sum.const_data_ptr<double>();
    const auto* a = absolute.defined() ? absolute.const_data_ptr<double>() : nullptr;
    const std::int64_t C = sum.size(1);
    const std::vector<std::int64_t> targets = columns(*one.wire.target);
    std::vector<std::int64_t> sources;
    if (one.wire.source) sources = columns(*one.wire.source);
    const auto* count = one.wire.source ? nullptr : all_.token_count.const_data_ptr<std::int64_t>();
    for (std::int64_t r = 0; r < sum.size(0); ++r) {
      if (count && count[r] < least_occurrences) continue;
      const std::int64_t source = count ? d_.sites.total_C() + r : sources[static_cast<std::size_t>(r)];
      for (std::int64_t c = 0; c < C; ++c) {
        const std::int64_t k = r * C + c;
        if (s[k] == 0.0 && (!a || a[k] == 0.0)) continue;
        const std::int64_t target = targets[static_cast<std::size_t>(c)];
        of_target_[static_cast<std::size_t>(target)].push_back({source, target, s[k], n[k], a ? a[k] : 0.0});
      }
    }
  }

  std::vector<std::int64_t> columns(std::size_t site) const {
    const at::Tensor all = all_.columns[site] + d_.sites[site].offset;
    return {all.const_data_ptr<std::int64_t>(), all.const_data_ptr<std::int64_t>() + all.numel()};
  }

  using Place = std::vector<AttributionEdge>::iterator;
  /// The largest by either figure, by falling |normalised|.
  std::vector<AttributionEdge> strongest_of(Place begin, Place end) const {
    const auto first = [&](double AttributionEdge::*figure) {
      const Place middle = begin + std::min(static_cast<std::ptrdiff_t>(top_), end - begin);
      std::partial_sort(begin, middle, end, [&](const AttributionEdge& a, const AttributionEdge& b) {
        return std::pair(-std::abs(a.*figure), a.source) < std::pair(-std::abs(b.*figure), b.source);
      });
      return std::vector<AttributionEdge>(begin, middle);
    };
    std::vector<AttributionEdge> kept = first(&AttributionEdge::normalised);
    std::set<std::int64_t> known;
    for (const AttributionEdge& edge : kept) known.insert(edge.source);
    for (const AttributionEdge& edge : first(&AttributionEdge::absolute))
      if (edge.absolute != 0.0 && known.insert(edge.source).second) kept.push_back(edge);
    return kept;
  }

  const Decomposition& d_;
  const DatasetAttributions& all_;
  std::size_t top_;
  std::vector<std::vector<AttributionEdge>> of_target_;
};

/// The strongest edges between subcomponents of all, by |normalised|.
std::vector<AttributionEdge> strongest_of(std::vector<AttributionEdge> edges, std::int64_t total_C) {
  std::erase_if(edges, [&](const AttributionEdge& edge) { return edge.source >= total_C; });
  const std::size_t count = std::min(strongest_kept, edges.size());
  std::partial_sort(edges.begin(), edges.begin() + static_cast<std::ptrdiff_t>(count), edges.end(),
                    [](const AttributionEdge& a, const AttributionEdge& b) {
                      return std::tuple(-std::abs(a.normalised), a.target, a.source) <
                             std::tuple(-std::abs(b.normalised), b.target, b.source);
                    });
  edges.resize(count);
  return edges;
}

/// What sources add to one token's logit.
std::vector<AttributionEdge> into_token(const DatasetAttributions& all, const Sites& sites,
                                        const at::Tensor& head, std::int64_t token, std::size_t most) {
  std::vector<AttributionEdge> edges;
  const at::Tensor row = head[token].to(at::kDouble).cpu();
  const double rms = all.logit_rms[token].item<double>();
  for (const SummedWire& one : all.wires) {
    if (one.wire.target || !one.wire.source) continue;
    const at::Tensor sum = one.sum.matmul(row), weight = all.source_weights(one.wire);
    const at::Tensor columns = all.columns[*one.wire.source] + sites[*one.wire.source].offset;
    for (std::int64_t r = 0; r < sum.size(0); ++r) {
      const double value = sum[r].item<double>(), scale = weight[r].item<double>() * rms;
      if (scale > 0.0) edges.push_back({columns[r].item<std::int64_t>(), token, value, value / scale, 0.0});
    }
  }
  std::sort(edges.begin(), edges.end(), [](const AttributionEdge& a, const AttributionEdge& b) {
    return std::pair(-std::abs(a.normalised), a.source) < std::pair(-std::abs(b.normalised), b.source);
  });
  edges.resize(std::min(most, edges.size()));
  return edges;
}

NamedTensors edge_columns(const std::vector<AttributionEdge>& edges, bool absolute) {
  const auto n = static_cast<std::int64_t>(edges.size());
  const at::Tensor source = at::empty({n}, at::kInt), target = at::empty({n}, at::kInt),
                   sum = at::empty({n}, at::kDouble), normalised = at::empty({n}, at::kFloat),
                   size = at::empty({n}, at::kFloat);
  for (std::int64_t i = 0; i < n; ++i) {
    const AttributionEdge& edge = edges[static_cast<std::size_t>(i)];
    source.data_ptr<std::int32_t>()[i] = static_cast<std::int32_t>(edge.source);
    target.data_ptr<std::int32_t>()[i] = static_cast<std::int32_t>(edge.target);
    sum.data_ptr<double>()[i] = edge.sum;
    normalised.data_ptr<float>()[i] = static_cast<float>(edge.normalised);
    size.data_ptr<float>()[i] = static_cast<float>(edge.absolute);
  }
  NamedTensors columns = {{"target", target}, {"source", source}, {"sum", sum}, {"normalised", normalised}};
  if (absolute) columns.emplace_back("absolute", size);
  return columns;
}

std::string wire_name(const Sites& sites, const Wire& wire) {
  return (wire.source ? sites[*wire.source].name : "embedding") + "->" +
         (wire.target ? sites[*wire.target].name : "output");
}

/// Each wire's sums, whole; `outputs`: only those of subcomponents into the output.
NamedTensors sums_of(const DatasetAttributions& all, const Sites& sites, bool outputs) {
  NamedTensors tensors;
  for (std::size_t i = 0; i < sites.size(); ++i)
    tensors.emplace_back("subcomponents/" + sites[i].name, (all.columns[i] + sites[i].offset).to(at::kInt));
  for (const SummedWire& one : all.wires) {
    if (outputs && (one.wire.target || !one.wire.source)) continue;
    tensors.emplace_back(wire_name(sites, one.wire), one.sum.to(at::kFloat));
    if (one.absolute.defined())
      tensors.emplace_back("absolute/" + wire_name(sites, one.wire), one.absolute.to(at::kFloat));
  }
  return tensors;
}

void name_columns(AttributionResult& result, const OpenedRun& run,
                  const std::optional<Tokenizer>& tokenizer) {
  const Sites& sites = run.decomposition.sites;
  const Labels labels(labels_path(run.directory, result.step));
  for (std::int64_t column = 0; column < sites.total_C(); ++column) {
    result.keys.push_back(key_of_column(column, sites));
    result.labels.push_back(labels.label_of(result.keys.back()));
  }
  result.token_texts.resize(static_cast<std::size_t>(run.decomposition.target->vocabulary_size()));
  for (const AttributionEdge& edge : result.edges) {
    if (edge.source < sites.total_C()) continue;
    std::string& text = result.token_texts[static_cast<std::size_t>(edge.source - sites.total_C())];
    if (text.empty()) text = token_text(edge.source - sites.total_C(), tokenizer);
  }
}

void explain_tokens(AttributionResult& result, const AttributionOptions& options, const OpenedRun& run,
                    const std::optional<Tokenizer>& tokenizer, const DatasetAttributions& all) {
  const Target& target = *run.decomposition.target;
  for (const std::string& text : options.tokens) {
    const std::int64_t token = token_named(text, tokenizer, target.vocabulary_size());
    result.tokens.push_back({token, token_text(token, tokenizer),
                             into_token(all, run.decomposition.sites, target.head()->weight.value, token,
                                        static_cast<std::size_t>(options.most))});
  }
}

}  // namespace

std::string AttributionResult::name(std::int64_t source) const {
  return source < total_C ? keys[static_cast<std::size_t>(source)]
                          : token_texts[static_cast<std::size_t>(source - total_C)];
}

std::string attribution_caveat(bool complete) {
  return complete
             ? "Norms, attention patterns and secants of activation functions are held: edges into a "
               "subcomponent add up, and what queries and keys do to the pattern is left out."
             : "Edges through a norm are derivatives: contrasts that sum to about 0 over all sources, not "
               "shares of an activation.";
}

ReadingForecast forecast_attributions(const AttributionOptions& options, const Observer& observer) {
  check_options(options);
  const RowSource source(options, options.rows, observer);
  std::vector<std::string> warnings;
  const std::vector<at::Tensor> columns = columns_of(options, source.run, warnings);
  check_memory(options, source.run.decomposition, columns);
  AttributionSums sums(source.run.decomposition, options.settings, columns);
  ReadingForecast forecast = source.forecast(observer, [&](const Batch& batch) { sums.add(batch); });
  forecast.warnings.insert(forecast.warnings.end(), warnings.begin(), warnings.end());
  return forecast;
}

AttributionResult attributions_run(const AttributionOptions& options, const Observer& observer) {
  const auto start = std::chrono::steady_clock::now();
  check_options(options);
  const RowSource source(options, options.rows, observer);
  const OpenedRun& run = source.run;
  const Decomposition& d = run.decomposition;
  AttributionResult result{.step = run.checkpoint.step,
                           .complete = options.settings.complete,
                           .absolute = options.settings.absolute,
                           .most = options.most,
                           .total_C = d.sites.total_C(),
                           .warnings = run.warnings};
  const std::optional<Tokenizer> tokenizer =
      options.tokenizer ? std::optional(Tokenizer::load(*options.tokenizer)) : run.tokenizer();
  VPD_CHECK(options.tokens.empty() || d.frozen_head(), UsageError,
            "--token: expected a target of tokens whose head is one matrix that is no site, found another");
  for (const std::string& text : options.tokens)
    static_cast<void>(token_named(text, tokenizer, d.target->vocabulary_size()));
  const std::vector<at::Tensor> columns = columns_of(options, run, result.warnings);
  check_memory(options, d, columns);

  for (const Wire& wire : wires_of(d, options.settings.complete)) {
    ++result.wires;
    result.backward += wire.route == WireRoute::backward;
  }
  VPD_CHECK(result.wires > 0, DataError, "expected sites that feed each other or the output, found none");
  if (!d.target->anatomy())
    result.warnings.push_back(
        "this family of targets is no residual stream: edges of prompts' graphs are summed, with a backward "
        "pass for each target");
  else if (result.backward > 0)
    result.warnings.push_back(fmt::format(
        "{} of {} pairs have matrices between them that are no sites: they take a backward pass for each "
        "target, which is slower",
        result.backward, result.wires));
  AttributionSums sums(d, options.settings, columns);
  source.read("summing up attributions", observer, [&](const Batch& batch) { sums.add(batch); });
  observer.announce("putting edges in order");
  const DatasetAttributions all = sums.attributions();
  result.positions = all.positions;
  result.edges = EdgeGatherer(d, all, static_cast<std::size_t>(options.top)).gather();
  result.strongest = strongest_of(result.edges, result.total_C);
  name_columns(result, run, tokenizer);
  explain_tokens(result, options, run, tokenizer, all);
  result.directory = results_path(run.directory, result.step) / "attributions" /
                     (options.slug.empty() ? rule_of(options) : options.slug);
  result.seconds = seconds_since(start);

  Json about = about_result(options.command_line, result.step, weight_hashes(run.checkpoint.path, observer),
                            result.warnings);
  about["data"] = source.about(observer);
  about["rule"] = rule_of(options);
  about["caveat"] = attribution_caveat(options.settings.complete);
  about["threshold"] = options.settings.threshold;
  about["total_C"] = result.total_C;
  publish_result(result.directory, [&](const fs::path& to) {
    save_safetensors(to / "edges.safetensors", edge_columns(result.edges, options.settings.absolute));
    save_safetensors(to / "norms.safetensors", {{"importance_sum", all.importance_sum},
                                                {"activation_rms", all.activation_rms.to(at::kFloat)},
                                                {"token_count", all.token_count},
                                                {"logit_rms", all.logit_rms.to(at::kFloat)}});
    save_safetensors(to / "outputs.safetensors", sums_of(all, d.sites, /*outputs=*/true));
    if (options.full) save_safetensors(to / "full.safetensors", sums_of(all, d.sites, /*outputs=*/false));
    write_atomically(to / "attributions.json", attributions_json(result));
    write_about(to, about);
  });
  return result;
}

}  // namespace vpd
