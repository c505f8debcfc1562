#include "vpd/run/interactions.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <numeric>

#include <ATen/ATen.h>

#include "cluster_numbers.hpp"
#include "read_rows.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/base/text.hpp"
#include "vpd/decomposition/columns.hpp"
#include "vpd/interpretation/labels.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"
#include "vpd/run/run_choice.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using ClusterNumbers = std::map<std::string, std::int64_t>;

void check_options(const InteractionOptions& options) {
  VPD_CHECK(options.order == "columns" || options.order == "clusters", UsageError,
            "--order: expected columns or clusters, found {}", quote_foreign(options.order));
  VPD_CHECK(options.threshold >= 0.0 && options.threshold < 1.0, UsageError,
            "--threshold: expected a number of at least 0 and below 1, found {:g}", options.threshold);
}

/// Sites of `pattern`, or all, whose outputs an elementwise function reads.
std::vector<std::size_t> feeding_sites(const Decomposition& d, const std::string& pattern) {
  const std::vector<bool> named =
      chosen_sites(d.sites, pattern.empty() ? std::vector<std::string>() : std::vector{pattern}, "--site");
  std::vector<std::size_t> chosen;
  std::vector<std::string> names, feeding;
  for (std::size_t i = 0; i < d.sites.size(); ++i) {
    const bool feeds = activation_input(*d.target, d.sites[i].matrix).has_value();
    if (feeds) feeding.push_back(d.sites[i].name);
    if (!named[i]) continue;
    names.push_back(d.sites[i].name);
    if (feeds) chosen.push_back(i);
  }
  VPD_CHECK(!feeding.empty(), DataError,
            "expected a site whose outputs an elementwise function reads, found none: no first matrix of an "
            "MLP is decomposed, or this family of targets has none");
  VPD_CHECK(!chosen.empty(), UsageError,
            "--site {}: expected sites whose outputs an elementwise function reads ({}), found {}, which "
            "feed none",
            quote_foreign(pattern), join_words(feeding), join_words(names));
  return chosen;
}

/// Each site with itself, and each gate with what it gates where both were chosen.
std::vector<InteractionSums::Pair> pairs_of(const Decomposition& d, const std::vector<std::size_t>& sites) {
  std::vector<InteractionSums::Pair> pairs;
  for (const std::size_t site : sites) {
    pairs.push_back({site, site});
    const ActivationInput input = *activation_input(*d.target, d.sites[site].matrix);
    if (!input.gate) continue;
    for (const std::size_t other : sites)
      if (d.sites[other].matrix == *input.other) pairs.push_back({site, other});
  }
  return pairs;
}

void check_curvature(const Decomposition& d, const std::vector<std::size_t>& sites) {
  for (const std::size_t site : sites)
    VPD_CHECK(activation_input(*d.target, d.sites[site].matrix)->kind != Activation::relu, UsageError,
              "--curvature: expected a function with a second derivative behind {}, found ReLU, which bends "
              "at 0 alone",
              d.sites[site].name);
}

/// The subcomponents of a site that fired, in the order that was asked for.
std::vector<std::int64_t> order_of(const Site& site, const at::Tensor& firings,
                                   const ClusterNumbers* clusters) {
  std::vector<std::int64_t> fired;
  const auto* counts = firings.const_data_ptr<std::int64_t>();
  for (std::int64_t c = 0; c < site.C; ++c)
    if (counts[c] > 0) fired.push_back(c);
  if (!clusters) return fired;
  const auto number = [&](std::int64_t c) {
    const auto found = clusters->find(fmt::format("{}:{}", site.name, c));
    return found == clusters->end() ? std::numeric_limits<std::int64_t>::max() : found->second;
  };
  std::stable_sort(fired.begin(), fired.end(),
                   [&](std::int64_t a, std::int64_t b) { return number(a) < number(b); });
  return fired;
}

class TableMaker {
 public:
  TableMaker(const Sites& sites, const Labels& labels, const std::optional<ClusterNumbers>& clusters,
             bool by_cluster)
      : sites_(sites), labels_(labels), clusters_(clusters), by_cluster_(by_cluster) {}

  InteractionTable make(const Interactions& all) const {
    const Site &rows = sites_[all.rows], &columns = sites_[all.columns];
    const ClusterNumbers* order = by_cluster_ ? &*clusters_ : nullptr;
    const std::vector<std::int64_t> r = order_of(rows, all.row_firings, order),
                                    c = order_of(columns, all.column_firings, order);
    InteractionTable table{.rows_site = rows.name, .columns_site = columns.name};
    name(rows, r, all.row_firings, table.rows, table.row_keys, table.row_labels, table.row_firings);
    name(columns, c, all.column_firings, table.columns, table.column_keys, table.column_labels,
         table.column_firings);
    const at::Tensor ri = at::tensor(r, at::kLong), ci = at::tensor(c, at::kLong);
    table.interactions = all;
    for (at::Tensor Interactions::*part : {&Interactions::weight_overlap, &Interactions::activation_overlap,
                                           &Interactions::strength, &Interactions::curvature}) {
      at::Tensor& one = table.interactions.*part;
      if (one.defined()) one = one.index_select(0, ri).index_select(1, ci).contiguous();
    }
    summarise(table);
    return table;
  }

 private:
  void name(const Site& site, const std::vector<std::int64_t>& chosen, const at::Tensor& counts,
            std::vector<std::int64_t>& columns, std::vector<std::string>& keys,
            std::vector<std::string>& labels, std::vector<std::int64_t>& firings) const {
    for (const std::int64_t c : chosen) {
      columns.push_back(site.offset + c);
      keys.push_back(fmt::format("{}:{}", site.name, c));
      labels.push_back(labels_.label_of(keys.back()));
      firings.push_back(counts.const_data_ptr<std::int64_t>()[c]);
    }
  }

  bool same_cluster(const std::string& a, const std::string& b) const {
    const auto first = clusters_->find(a), second = clusters_->find(b);
    return first != clusters_->end() && second != clusters_->end() && first->second == second->second;
  }

  void summarise(InteractionTable& table) const {
    const std::vector<double> bins = interaction_bins();
    table.histogram.assign(bins.size() + 1, 0);
    table.row_stripes.assign(table.rows.size(), 0.0);
    table.column_stripes.assign(table.columns.size(), 0.0);
    const auto* strength = table.interactions.strength.const_data_ptr<double>();
    double total = 0.0, inside = 0.0;
    std::int64_t tenth = 0, one = 0, pairs_inside = 0;
    for (std::size_t i = 0; i < table.rows.size(); ++i) {
      const bool few = table.row_firings[i] < few_firings;
      table.few += few;
      for (std::size_t j = 0; j < table.columns.size(); ++j) {
        if (few || (table.square() && i == j)) continue;
        const double x = strength[i * table.columns.size() + j];
        ++table.pairs;
        total += x;
        tenth += x > 0.1;
        one += x > 1.0;
        table.row_stripes[i] += x;
        table.column_stripes[j] += x;
        ++table.histogram[static_cast<std::size_t>(std::lower_bound(bins.begin(), bins.end(), x) -
                                                   bins.begin())];
        if (x > 0.0)
          table.strongest.push_back({static_cast<std::int64_t>(i), static_cast<std::int64_t>(j), x});
        if (clusters_ && same_cluster(table.row_keys[i], table.column_keys[j])) {
          inside += x;
          ++pairs_inside;
        }
      }
    }
    const double pairs = static_cast<double>(std::max<std::int64_t>(1, table.pairs));
    table.mean = total / pairs;
    table.above_tenth = static_cast<double>(tenth) / pairs;
    table.above_one = static_cast<double>(one) / pairs;
    const auto largest = [&](const std::vector<double>& stripes) {
      return total > 0.0 ? *std::max_element(stripes.begin(), stripes.end()) / total : 0.0;
    };
    table.row_stripe = largest(table.row_stripes);
    table.column_stripe = largest(table.column_stripes);
    if (clusters_) {
      table.inside_clusters = total > 0.0 ? inside / total : 0.0;
      table.pairs_in_cluster = static_cast<double>(pairs_inside) / pairs;
    }
    constexpr std::size_t kept = 200;
    const std::size_t count = std::min(kept, table.strongest.size());
    std::partial_sort(table.strongest.begin(), table.strongest.begin() + static_cast<std::ptrdiff_t>(count),
                      table.strongest.end(), [](const InteractingPair& a, const InteractingPair& b) {
                        return std::tuple(-a.strength, a.row, a.column) <
                               std::tuple(-b.strength, b.row, b.column);
                      });
    table.strongest.resize(count);
  }

  const Sites& sites_;
  const Labels& labels_;
  const std::optional<ClusterNumbers>& clusters_;
  bool by_cluster_;
};

at::Tensor int32_of(const std::vector<std::int64_t>& values) {
  return at::tensor(values, at::kLong).to(at::kInt);
}
at::Tensor float_of(const std::vector<double>& values) {
  return at::tensor(values, at::kDouble).to(at::kFloat);
}

/// Tensors of one site: of its table with itself and, of a gate, of that with what it gates.
NamedTensors tensors_of(const std::vector<InteractionTable>& tables, const std::string& site) {
  NamedTensors tensors;
  for (const InteractionTable& table : tables) {
    if (table.rows_site != site) continue;
    const std::string prefix = table.square() ? "" : "gated_";
    if (table.square()) {
      tensors.emplace_back("subcomponent", int32_of(table.rows));
      tensors.emplace_back("firings", at::tensor(table.row_firings, at::kLong));
    } else {
      tensors.emplace_back(prefix + "subcomponent", int32_of(table.columns));
    }
    for (const auto& [name, part] : {std::pair("strength", &Interactions::strength),
                                     std::pair("weight_overlap", &Interactions::weight_overlap),
                                     std::pair("activation_overlap", &Interactions::activation_overlap),
                                     std::pair("curvature", &Interactions::curvature)}) {
      const at::Tensor& one = table.interactions.*part;
      if (one.defined()) tensors.emplace_back(prefix + name, one.to(at::kFloat));
    }
    tensors.emplace_back(prefix + "row_sum", float_of(table.row_stripes));
    tensors.emplace_back(prefix + "column_sum", float_of(table.column_stripes));
  }
  return tensors;
}

}  // namespace

std::vector<double> interaction_bins() {
  std::vector<double> edges = {0.0};
  for (int k = -12; k <= 4; ++k) edges.push_back(std::pow(10.0, 0.5 * k));
  return edges;
}

ReadingForecast forecast_interactions(const InteractionOptions& options, const Observer& observer) {
  check_options(options);
  const RowSource source(options, options.rows, observer);
  const Decomposition& d = source.run.decomposition;
  const std::vector<std::size_t> sites = feeding_sites(d, options.site);
  if (options.curvature) check_curvature(d, sites);
  InteractionSums sums(d, pairs_of(d, sites), options.threshold, options.curvature);
  return source.forecast(observer, [&](const Batch& batch) { sums.add(batch); });
}

InteractionResult interactions_run(const InteractionOptions& options, const Observer& observer) {
  const auto start = std::chrono::steady_clock::now();
  check_options(options);
  const RowSource source(options, options.rows, observer);
  const OpenedRun& run = source.run;
  const Decomposition& d = run.decomposition;
  InteractionResult result{
      .step = run.checkpoint.step, .order = options.order, .most = options.most, .warnings = run.warnings};
  const std::vector<std::size_t> sites = feeding_sites(d, options.site);
  if (options.curvature) check_curvature(d, sites);
  const Json weights = weight_hashes(run.checkpoint.path, observer);
  const std::optional<ClusterNumbers> clusters = cluster_numbers(run, &weights);
  VPD_CHECK(clusters || options.order != "clusters", DataError,
            "--order clusters: expected clusters of step {}, found none: run `vpd cluster {}` first",
            result.step, shell_quoted(options.run.string()));

  InteractionSums sums(d, pairs_of(d, sites), options.threshold, options.curvature);
  source.read("summing up interactions", observer, [&](const Batch& batch) { sums.add(batch); });
  result.positions = source.positions();
  const Labels labels(labels_path(run.directory, result.step));
  const TableMaker maker(d.sites, labels, clusters, options.order == "clusters");
  for (const Interactions& one : sums.interactions()) {
    result.tables.push_back(maker.make(one));
    const InteractionTable& table = result.tables.back();
    if (table.square() && table.rows.empty())
      result.warnings.push_back(fmt::format("{}: none of its {} subcomponents fires at these {} positions",
                                            table.rows_site, d.sites[one.rows].C, result.positions));
  }
  result.directory = results_path(run.directory, result.step) / "interactions";
  result.seconds = seconds_since(start);
  Json about = about_result(options.command_line, result.step, weights, result.warnings);
  about["data"] = source.about(observer);
  about["threshold"] = options.threshold;
  about["order"] = options.order;
  publish_result(result.directory, [&](const fs::path& to) {
    for (const std::size_t site : sites)
      save_safetensors(to / (d.sites[site].name + ".safetensors"),
                       tensors_of(result.tables, d.sites[site].name));
    write_atomically(to / "interactions.json", interactions_json(result));
    write_about(to, about);
  });
  return result;
}

}  // namespace vpd
