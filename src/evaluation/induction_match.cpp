// Whether a decomposition of the induction-head toy found what its head is made of (method, section 8). In
// rows [BOS] t … S m t … S the last block's query at the end says "what followed S?", and its key at m, which
// the block before told that S stands in front, answers. So the subcomponents of that block's q_proj that are
// important at the end, and those of its k_proj that are important at m, should be few, should do the match
// alone, and without them there should be none.

#include <ATen/ATen.h>

#include "metrics.hpp"
#include "vpd/base/error.hpp"
#include "vpd/target/induction.hpp"

namespace vpd {
namespace {

class InductionMatch final : public Gatherer {
 public:
  InductionMatch(const InductionMatchMetric& config, const Decomposition& d, const std::string& where)
      : config_(config), target_(dynamic_cast<const InductionTransformer*>(d.target.get())) {
    VPD_CHECK(target_, ConfigError,
              "{}.type: expected a metric of this target, found {}, which needs type induction", where,
              config.kind);
    const std::string block = fmt::format("blocks.{}.attn.", target_->config().n_layers - 1);
    query_ = find(d.sites, block + "q_proj", where);
    key_ = find(d.sites, block + "k_proj", where);
  }

  void add(const Batch& batch) override {
    const auto rows = static_cast<double>(batch.B);
    const at::Tensor query = mean_importance(batch, query_, /*at_end=*/true),
                     key = mean_importance(batch, key_, /*at_end=*/false);
    const at::Tensor chosen = at::zeros({batch.decomposition.sites.total_C()}, query.options());
    choose(chosen, batch.decomposition.sites[query_], query);
    choose(chosen, batch.decomposition.sites[key_], key);
    query_count_ += rows * query.gt(config_.threshold).sum().item<double>();
    key_count_ += rows * key.gt(config_.threshold).sum().item<double>();
    rows_ += rows;
    const auto answered = [&](const at::Tensor& kept, double delta) {
      return batch.sum_tensors([&](const LaneBatch& lane) { return score(batch, lane, kept, delta); }).cpu();
    };
    target_score_.add_(
        batch.sum_tensors([&](const LaneBatch& lane) { return score(lane, lane.clean.output); }).cpu());
    alone_score_.add_(answered(chosen, 0.0));
    without_score_.add_(answered(1.0 - chosen, 1.0));
  }

  void report(MetricValues& values) const override {
    values.emplace_back("induction_match/query_subcomponents", query_count_ / rows_);
    values.emplace_back("induction_match/key_subcomponents", key_count_ / rows_);
    const auto both = [&](const char* name, const at::Tensor& score) {
      values.emplace_back(fmt::format("induction_match/accuracy_{}", name), score[0].item<double>() / rows_);
      values.emplace_back(fmt::format("induction_match/ce_{}", name), score[1].item<double>() / rows_);
    };
    both("target", target_score_);
    both("alone", alone_score_);
    both("without", without_score_);
  }

 private:
  static std::size_t find(const Sites& sites, const std::string& name, const std::string& where) {
    if (const auto site = sites.find(name)) return *site;
    throw ConfigError(
        fmt::format("{}.type: expected {} among the sites, which induction_match looks at, found it "
                    "undecomposed",
                    where, name));
  }

  /// Over the batch's rows, at each row's last position or at its m: float64 [C].
  at::Tensor mean_importance(const Batch& batch, std::size_t i, bool at_end) const {
    const Site& site = batch.decomposition.sites[i];
    return batch.sum_tensors([&](const LaneBatch& lane) {
      const std::int64_t B = lane.clean.B(), T = lane.clean.T();
      const at::Tensor at = at_end ? at::full({B}, T - 1, lane.clean.input.options())
                                   : induction_first_positions(lane.clean.input, target_->config()) + 1;
      const at::Tensor numbers = at::arange(B, at.options()) * T + at;
      return site.columns(lane.importance.lower).index_select(0, numbers).sum(0, false, at::kDouble);
    }) / static_cast<double>(batch.B);
  }

  void choose(const at::Tensor& chosen, const Site& site, const at::Tensor& importance) const {
    site.columns(chosen).copy_(importance.gt(config_.threshold));
  }

  /// Rows whose answer is right, and the sum of their cross-entropies in nats: float64 [2]. output [N, V].
  at::Tensor score(const LaneBatch& lane, const at::Tensor& output) const {
    const std::int64_t B = lane.clean.B(), T = lane.clean.T();
    const at::Tensor logits = output.view({B, T, output.size(1)}).select(1, T - 1).to(at::kDouble),
                     m = induction_answers(lane.clean.input, target_->config());
    return at::stack({logits.argmax(1).eq(m).sum().to(at::kDouble),
                      -at::log_softmax(logits, 1).gather(1, m.unsqueeze(1)).sum()});
  }

  /// The same where the two sites keep the subcomponents with a 1 in `kept` [Σ C] and `delta` of the rest.
  at::Tensor score(const Batch& batch, const LaneBatch& lane, const at::Tensor& kept, double delta) const {
    const Decomposition& d = batch.decomposition;
    std::vector<SitePass> passes;
    for (std::size_t i = 0; i < d.sites.size(); ++i) {
      const Site& site = d.sites[i];
      passes.push_back(
          {.V = batch.components.V(i),
           .U = batch.components.U(i),
           .importance = site.columns(kept).to(d.numerics.wide).expand({lane.clean.N(), site.C}).contiguous(),
           .importance_gradient = {},
           .sources = {ConstantSources{0.0, delta}},
           .routing = {},
           .masked = i == query_ || i == key_});
    }
    MaskedExecutor executor(d.sites, passes);
    return score(lane, d.target->forward(lane.clean.input, executor, lane.clean.start));
  }

  InductionMatchMetric config_;
  const InductionTransformer* target_;
  std::size_t query_ = 0, key_ = 0;
  double rows_ = 0.0, query_count_ = 0.0, key_count_ = 0.0;
  at::Tensor target_score_ = at::zeros({2}, at::kDouble), alone_score_ = at::zeros({2}, at::kDouble),
             without_score_ = at::zeros({2}, at::kDouble);
};

}  // namespace

std::unique_ptr<Gatherer> make_induction_match(const InductionMatchMetric& config, const Decomposition& d,
                                               const std::string& where) {
  return std::make_unique<InductionMatch>(config, d, where);
}

}  // namespace vpd
