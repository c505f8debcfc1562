// Metrics of toy models whose mechanisms are known (method, section 8). They look at the decomposition itself
// and at probes with one active feature each, not at the evaluation's rows.

#include <algorithm>

#include <ATen/ATen.h>

#include "ground_truth.hpp"
#include "metrics.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/passes/attribution.hpp"

namespace vpd {
namespace {

std::vector<std::size_t> matching_sites(const Sites& sites, const std::string& pattern,
                                        const std::string& where) {
  std::vector<std::size_t> found;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    names.push_back(sites[i].name);
    if (matches_pattern(pattern, sites[i].name)) found.push_back(i);
  }
  VPD_CHECK(!found.empty(), ConfigError,
            "{}.sites: expected a shell pattern over the sites ({}), but \"{}\" matches none", where,
            join_words(names), pattern);
  return found;
}

std::vector<std::size_t> matching_sites(const Sites& sites, const std::vector<std::string>& patterns,
                                        const std::string& where) {
  std::vector<std::size_t> found;
  for (const std::string& pattern : patterns) {
    for (const std::size_t site : matching_sites(sites, pattern, where)) {
      if (std::find(found.begin(), found.end(), site) == found.end()) found.push_back(site);
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

void need_features(const Decomposition& d, std::string_view kind, const std::string& where) {
  VPD_CHECK(
      d.target->features() > 0, ConfigError,
      "{}.type: expected a metric of language models, found {}, which needs a target that reads features "
      "(tms, residual_mlp): remove it",
      where, kind);
}

/// Importances of all sites on probes in which one feature each is `input`: [n, Σ C]. Lower-leaky ones of the
/// causal-importance function, or what topk_attribution_recon keeps of them.
at::Tensor probe(const Probed& probed, double input) {
  const at::NoGradGuard no_grad;
  const Decomposition& d = probed.decomposition;
  const at::Tensor rows = at::eye(d.target->features(), d.numerics.options()) * input;
  const CleanPass clean = clean_pass(d, rows);
  const BoundSubcomponents components = d.components.bind({});
  if (!probed.kept) return causal_importance(d, clean, d.ci_parameters.bind({}), components).lower;
  const at::Tensor scores = at::zeros({clean.N(), d.sites.total_C()}, d.numerics.options());
  attribute_squared_norm(d, clean, components, scores);
  keep_largest(scores, kept_count(*probed.kept, clean.N(), d.sites));
  return scores;
}

class IdentityCiError final : public Gatherer {
 public:
  IdentityCiError(const IdentityCiErrorMetric& config, const Probed& probed, const std::string& where)
      : config_(config), probed_(probed), d_(probed.decomposition) {
    const Decomposition& d = d_;
    need_features(d, config.kind, where);
    sites_ = matching_sites(d.sites, config.sites, where);
    for (const std::size_t i : sites_) {
      VPD_CHECK(d.sites[i].C >= d.target->features(), ConfigError,
                "{}.sites: expected sites with a subcomponent for each of the {} features, found {} with {}",
                where, d.target->features(), d.sites[i].name, d.sites[i].C);
    }
  }

  bool needs_batches() const override { return false; }
  void add(const Batch&) override {}

  void report(MetricValues& values) const override {
    const at::Tensor g = probe(probed_, config_.input);
    const std::size_t first = values.size();
    values.emplace_back("identity_ci_error/total", 0.0);
    for (const std::size_t i : sites_) {
      const Site& site = d_.sites[i];
      const auto error = static_cast<double>(identity_error(site.columns(g), config_.tolerance));
      values[first].second += error;
      values.emplace_back("identity_ci_error/" + site.name, error);
    }
  }

 private:
  IdentityCiErrorMetric config_;
  Probed probed_;
  const Decomposition& d_;
  std::vector<std::size_t> sites_;
};

class DenseCiError final : public Gatherer {
 public:
  DenseCiError(const DenseCiErrorMetric& config, const Probed& probed, const std::string& where)
      : config_(config), probed_(probed), d_(probed.decomposition) {
    const Decomposition& d = d_;
    need_features(d, config.kind, where);
    for (const auto& [pattern, k] : config.sites) {
      for (const std::size_t i : matching_sites(d.sites, pattern, where)) {
        VPD_CHECK(d.sites[i].C >= k, ConfigError,
                  "{}.sites: expected sites with at least the {} subcomponents of \"{}\", found {} with {}",
                  where, k, pattern, d.sites[i].name, d.sites[i].C);
        const bool taken =
            std::any_of(sites_.begin(), sites_.end(), [&](const auto& s) { return s.first == i; });
        VPD_CHECK(!taken, ConfigError,
                  "{}.sites: expected patterns that share no site, found two that match {}", where,
                  d.sites[i].name);
        sites_.emplace_back(i, k);
      }
    }
  }

  bool needs_batches() const override { return false; }
  void add(const Batch&) override {}

  void report(MetricValues& values) const override {
    const at::Tensor g = probe(probed_, config_.input);
    const std::size_t first = values.size();
    values.emplace_back("dense_ci_error/total", 0.0);
    for (const auto& [i, k] : sites_) {
      const Site& site = d_.sites[i];
      const auto error = static_cast<double>(dense_error(site.columns(g), k, config_.tolerance));
      values[first].second += error;
      values.emplace_back("dense_ci_error/" + site.name, error);
    }
  }

 private:
  DenseCiErrorMetric config_;
  Probed probed_;
  const Decomposition& d_;
  std::vector<std::pair<std::size_t, std::int64_t>> sites_;
};

/// `mmcs` and `l2_ratio`: one figure for columns as SPD has it, one for whole matrices.
class FeatureMatch final : public Gatherer {
 public:
  template <class Config>
  FeatureMatch(double BestMatch::*figure, const Config& config, const Probed& probed,
               const std::string& where)
      : name_(Config::kind),
        figure_(figure),
        input_(config.input),
        tolerance_(config.tolerance),
        probed_(probed),
        d_(probed.decomposition) {
    const Decomposition& d = d_;
    need_features(d, name_, where);
    sites_ = matching_sites(d.sites, config.sites, where);
    for (const std::size_t i : sites_) {
      const Site& site = d.sites[i];
      VPD_CHECK(site.d_in == d.target->features() || site.d_out == d.target->features(), ConfigError,
                "{}.sites: expected sites that read or write the {} features, found {}, which is {} x {}",
                where, d.target->features(), site.name, site.d_out, site.d_in);
    }
  }

  bool needs_batches() const override { return false; }
  void add(const Batch&) override {}

  void report(MetricValues& values) const override {
    const at::Tensor needed = std::get<0>(probe(probed_, input_).gt(tolerance_).max(0));
    for (const std::size_t i : sites_) {
      const Site& site = d_.sites[i];
      at::Tensor W = d_.matrix(i).master, V = d_.components.V(i), U = d_.components.U(i);
      if (site.d_in != d_.target->features()) {  // a row for each feature: the same of the transposed matrix
        const at::Tensor rows = V;
        W = W.t(), V = U.t(), U = rows.t();
      }
      for (const bool whole : {false, true}) {
        values.emplace_back(name_ + "/" + site.name + (whole ? "/whole" : ""),
                            best_match(W, V, U, site.columns(needed), whole).*figure_);
      }
    }
  }

 private:
  std::string name_;
  double BestMatch::*figure_;
  double input_, tolerance_;
  Probed probed_;
  const Decomposition& d_;
  std::vector<std::size_t> sites_;
};

}  // namespace

std::unique_ptr<Gatherer> make_identity_ci_error(const IdentityCiErrorMetric& config, const Probed& probed,
                                                 const std::string& where) {
  return std::make_unique<IdentityCiError>(config, probed, where);
}
std::unique_ptr<Gatherer> make_dense_ci_error(const DenseCiErrorMetric& config, const Probed& probed,
                                              const std::string& where) {
  return std::make_unique<DenseCiError>(config, probed, where);
}
std::unique_ptr<Gatherer> make_mmcs(const MmcsMetric& config, const Probed& probed,
                                    const std::string& where) {
  return std::make_unique<FeatureMatch>(&BestMatch::cosine, config, probed, where);
}
std::unique_ptr<Gatherer> make_l2_ratio(const L2RatioMetric& config, const Probed& probed,
                                        const std::string& where) {
  return std::make_unique<FeatureMatch>(&BestMatch::ratio, config, probed, where);
}

}  // namespace vpd
