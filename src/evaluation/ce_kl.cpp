// Cross-entropy of the next token and KL from the target under every way of masking (VPD, section
// "Evaluation").

#include <algorithm>
#include <map>

#include <ATen/ATen.h>
#include <spdlog/fmt/fmt.h>

#include "metrics.hpp"
#include "vpd/passes/divergence.hpp"
#include "window.hpp"

namespace vpd {
namespace {

/// Σ over predictions of -log softmax(logits)[next token]: position t predicts token t + 1 of its row, T - 1
/// predictions a row.
at::Tensor cross_entropy_sum(const at::Tensor& logits, const at::Tensor& tokens) {
  constexpr std::int64_t most_elements = std::int64_t{1} << 26;  // of a float32 copy at a time
  const std::int64_t B = tokens.size(0), T = tokens.size(1), V = logits.size(1);
  const at::Tensor rows = logits.view({B, T, V});
  const std::int64_t at_once = std::max<std::int64_t>(1, most_elements / (T * V));
  at::Tensor sum = at::zeros({}, logits.options().dtype(at::kDouble));
  for (std::int64_t first = 0; first < B; first += at_once) {
    const std::int64_t count = std::min(at_once, B - first);
    const at::Tensor predictions = rows.narrow(0, first, count)
                                       .narrow(1, 0, T - 1)
                                       .to(logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
    const at::Tensor next = tokens.narrow(0, first, count).narrow(1, 1, T - 1);
    sum.sub_(at::log_softmax(predictions, -1).gather(2, next.unsqueeze(2)).sum(at::kDouble));
  }
  return sum;
}

class CeKl final : public Gatherer {
 public:
  explicit CeKl(const CeKlMetric& config) : thresholds_(config.rounding_thresholds) {}

  void add(const Batch& batch) override {
    positions_ += static_cast<double>(batch.compared());
    // Behind the last position of a row nothing is known.
    const double predictions =
        batch.compared() == batch.positions() ? static_cast<double>(batch.B * (batch.T - 1)) : 0.0;
    predictions_ += predictions;
    if (predictions > 0.0) {
      target_ += batch.sum(
          [](const LaneBatch& lane) { return cross_entropy_sum(lane.clean.output, lane.clean.input); });
    }
    const auto zeros = [](const LaneBatch& lane) { return at::zeros_like(lane.importance.lower); };
    const auto own = [](const LaneBatch& lane) { return lane.importance.lower; };
    measure("unmasked", batch, own, [](const PassContext&) { return constant_sources(1.0, 0.0); });
    measure("ci_masked", batch, own, [](const PassContext&) { return constant_sources(0.0, 0.0); });
    measure("stochastic", batch, own, [&](const PassContext& context) {
      return random_sources(context, SourceDistribution::uniform, batch.key(RandomPurpose::evaluation, 1));
    });
    measure("random", batch, zeros, [&](const PassContext& context) -> SourceOf {
      return [uniform = random_sources(context, SourceDistribution::uniform,
                                       batch.key(RandomPurpose::evaluation, 2))](std::size_t site) {
        GateSources sources = uniform(site);
        sources.fixed_delta = 0.0;
        return sources;
      };
    });
    for (const double threshold : thresholds_) {
      measure(
          fmt::format("rounded_{:g}", threshold), batch,
          [threshold](const LaneBatch& lane) {
            return lane.importance.lower.gt(threshold).to(lane.importance.lower.scalar_type());
          },
          [](const PassContext&) { return constant_sources(0.0, 0.0); });
    }
    measure("zero", batch, zeros, [](const PassContext&) { return constant_sources(0.0, 0.0); });
  }

  void report(MetricValues& values) const override {
    if (predictions_ > 0.0) values.emplace_back("ce_kl/ce_target", target_ / predictions_);
    for (const std::string& name : order_) {
      values.emplace_back("ce_kl/kl_" + name, kl_.at(name) / positions_);
      if (predictions_ > 0.0) values.emplace_back("ce_kl/ce_" + name, ce_.at(name) / predictions_);
    }
    for (const auto& [name, windows] : windows_) {
      windows.kl.report("ce_kl/kl_" + name, values);
      if (predictions_ > 0.0) windows.ce.report("ce_kl/ce_" + name, values);
    }
  }

 private:
  template <class ImportanceOf, class Sources>
  void measure(const std::string& name, const Batch& batch, const ImportanceOf& importance,
               const Sources& sources) {
    if (!kl_.contains(name)) order_.push_back(name);
    std::vector<at::Tensor> kl(batch.lanes.size());
    const double ce = batch.sum([&](const LaneBatch& lane) {
      const PassContext context = batch.context(lane, importance(lane));
      const std::vector<SitePass> passes = site_passes(context, sources(context), {}, 0);
      MaskedExecutor executor(batch.decomposition.sites, passes);
      const at::Tensor logits =
          batch.decomposition.target->forward(lane.clean.input, executor, lane.clean.start);
      kl[lane.number] = divergence_of_output(Divergence::kl, lane.clean.output,
                                             lane.clean.at_compared(logits).contiguous());
      if (lane.clean.P() < lane.clean.N()) return at::zeros({}, logits.options().dtype(at::kDouble));
      return cross_entropy_sum(logits, lane.clean.input);
    });
    ce_[name] += ce;
    double kl_sum = 0.0;
    for (const at::Tensor& part : kl) {
      kl_[name] += part.item<double>();
      kl_sum += part.item<double>();
    }
    if (name != "stochastic" && name != "random") return;  // the others draw nothing
    windows_[name].kl.add(kl_sum / static_cast<double>(batch.compared()));
    if (batch.compared() == batch.positions())
      windows_[name].ce.add(ce / static_cast<double>(batch.B * (batch.T - 1)));
  }

  std::vector<double> thresholds_;
  double positions_ = 0.0, predictions_ = 0.0, target_ = 0.0;
  std::vector<std::string> order_;
  std::map<std::string, double> kl_, ce_;
  struct Windows {
    Window kl, ce;
  };
  std::map<std::string, Windows> windows_;
};

}  // namespace

std::unique_ptr<Gatherer> make_ce_kl(const CeKlMetric& config) { return std::make_unique<CeKl>(config); }

}  // namespace vpd
