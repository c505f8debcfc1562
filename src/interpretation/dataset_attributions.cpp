#include "vpd/interpretation/dataset_attributions.hpp"

#include <atomic>
#include <map>

#include <ATen/ATen.h>

#include "attribution_forms.hpp"
#include "vpd/base/error.hpp"

namespace vpd {
namespace {

/// Where a target reads the stream, as wires.cpp counts.
std::size_t part_of(const AttributionContext& context, const Wire& wire) {
  const Anatomy& anatomy = *context.anatomy;
  if (!wire.target) return 2 * anatomy.blocks.size();
  const std::size_t matrix = context.d.sites[*wire.target].matrix;
  for (std::size_t b = 0; b < anatomy.blocks.size(); ++b) {
    const BlockParts& block = anatomy.blocks[b];
    if (block.attention &&
        (block.attention->q == matrix || block.attention->k == matrix || block.attention->v == matrix))
      return 2 * b;
    if (block.mlp && (block.mlp->in == matrix || block.mlp->gate == matrix)) return 2 * b + 1;
  }
  return 2 * anatomy.blocks.size();  // the head
}

std::vector<std::unique_ptr<AttributionForm>> forms_of(const AttributionContext& context) {
  std::vector<std::unique_ptr<AttributionForm>> forms;
  std::map<std::pair<std::optional<std::size_t>, std::size_t>, std::vector<Wire>> streams;  // source, part
  std::map<std::optional<std::size_t>, std::vector<Wire>> backward;                         // target
  for (const Wire& wire : wires_of(context.d, context.settings.complete)) {
    switch (wire.route) {
      case WireRoute::stream:
        streams[{wire.source, part_of(context, wire)}].push_back(wire);
        break;
      case WireRoute::mlp:
        forms.push_back(mlp_form(context, wire));
        break;
      case WireRoute::values:
        forms.push_back(values_form(context, wire));
        break;
      case WireRoute::backward:
        backward[wire.target].push_back(wire);
        break;
      default:
        forms.push_back(scores_form(context, wire));
    }
  }
  for (const auto& [where, wires] : streams) forms.push_back(stream_form(context, wires, where.second));
  for (const auto& [target, wires] : backward) forms.push_back(backward_form(context, wires));
  return forms;
}

AttributionContext context_of(const Decomposition& d, const DatasetAttributionSettings& settings,
                              const std::vector<at::Tensor>& columns) {
  AttributionContext context{.d = d, .settings = settings, .sites = {}, .anatomy = d.target->anatomy()};
  for (std::size_t i = 0; i < d.sites.size(); ++i) {
    const at::Tensor which = columns[i].to(d.numerics.device);
    const at::Tensor U = d.components.U(i).index_select(0, which).contiguous();
    context.sites.push_back(
        {which, U, d.components.V(i).index_select(1, which).contiguous(), U.norm(2, {1})});
  }
  return context;
}

}  // namespace

struct AttributionSums::State {
  AttributionContext context;
  std::vector<at::Tensor> columns;
  std::vector<std::unique_ptr<AttributionForm>> forms;
  std::int64_t positions = 0;
  at::Tensor importance, activation_square, logit_square, tokens;
};

AttributionSums::AttributionSums(const Decomposition& d, const DatasetAttributionSettings& settings,
                                 std::vector<at::Tensor> columns)
    : state_(std::make_unique<State>(State{context_of(d, settings, columns), std::move(columns), {}})) {
  State& s = *state_;
  s.forms = forms_of(s.context);
  s.importance = at::zeros({d.sites.total_C()}, at::kDouble);
  s.activation_square = at::zeros({d.sites.total_C()}, at::kDouble);
  s.tokens = at::zeros({d.target->vocabulary_size()}, at::kLong);
}
AttributionSums::~AttributionSums() = default;

void AttributionSums::add(const Batch& batch) {
  State& s = *state_;
  const Decomposition& d = s.context.d;
  std::vector<std::unique_ptr<AttributionRows>> rows(batch.lanes.size());
  batch.pool.run([&](int i) {
    const at::NoGradGuard no_grad;
    const auto lane = static_cast<std::size_t>(i);
    if (lane < rows.size())
      rows[lane] = std::make_unique<AttributionRows>(s.context, batch.lanes[lane], batch.T);
  });
  s.importance +=
      batch
          .sum_tensors([](const LaneBatch& lane) { return lane.importance.lower.sum(0, false, at::kDouble); })
          .cpu();
  const at::Tensor logits = batch.sum_tensors([&](const LaneBatch& lane) {
    return lane.clean.output.to(d.numerics.wide).square().sum(0, false, at::kDouble);
  });
  s.logit_square = s.logit_square.defined() ? s.logit_square + logits.cpu() : logits.cpu();
  for (const auto& lane : rows) {
    for (std::size_t i = 0; i < d.sites.size(); ++i)
      d.sites.columns(s.activation_square, i)
          .index_add_(0, s.columns[i],
                      ((lane->h[i] * s.context.sites[i].length).square()).sum(0, false, at::kDouble).cpu());
    if (lane->tokens.defined() && s.tokens.numel() > 0)
      s.tokens += at::bincount(lane->tokens.cpu(), {}, s.tokens.numel());
  }
  // One form is summed by one lane, always over all rows in the same order.
  std::atomic<std::size_t> next{0};
  batch.pool.run([&](int) {
    const at::NoGradGuard no_grad;
    for (std::size_t k = next++; k < s.forms.size(); k = next++) {
      for (const auto& lane : rows) {
        end_if_asked(batch.stop, "summing up attributions");
        s.forms[k]->add(*lane);
      }
    }
  });
  s.positions += batch.positions();
}

DatasetAttributions AttributionSums::attributions() const {
  const State& s = *state_;
  const double N = static_cast<double>(std::max<std::int64_t>(1, s.positions));
  DatasetAttributions all{.positions = s.positions,
                          .columns = s.columns,
                          .importance_sum = s.importance,
                          .activation_rms = (s.activation_square / N).sqrt(),
                          .token_count = s.tokens,
                          .logit_rms = (s.logit_square / N).sqrt()};
  for (const Site& site : s.context.d.sites.all()) all.offsets.push_back(site.offset);
  for (const auto& form : s.forms) form->finish(all.wires);
  for (SummedWire& one : all.wires) {
    one.sum = one.sum.cpu();
    if (one.absolute.defined()) one.absolute = one.absolute.cpu();
  }
  return all;
}

double AttributionSums::bytes_for(const Decomposition& d, const DatasetAttributionSettings& settings,
                                  const std::vector<at::Tensor>& columns) {
  double entries = 0.0;
  for (const Wire& wire : wires_of(d, settings.complete)) {
    const double sources = wire.source ? static_cast<double>(columns[*wire.source].numel())
                                       : static_cast<double>(d.target->vocabulary_size());
    const double targets = wire.target ? static_cast<double>(columns[*wire.target].numel()) : 0.0;
    entries += sources * targets * (settings.absolute ? 3.0 : 1.0);
  }
  return 2.0 * 8.0 * entries;  // once more when they are put together
}

at::Tensor DatasetAttributions::source_weights(const Wire& wire) const {
  if (!wire.source) return token_count.to(at::kDouble);
  return importance_sum.index_select(0, columns[*wire.source] + offsets[*wire.source]);
}

at::Tensor DatasetAttributions::normalised(const SummedWire& one) const {
  if (!one.wire.target) return {};
  const std::size_t target = *one.wire.target;
  const at::Tensor scale = source_weights(one.wire).unsqueeze(1) *
                           activation_rms.index_select(0, columns[target] + offsets[target]).unsqueeze(0);
  return at::where(scale.gt(0.0), one.sum / at::where(scale.gt(0.0), scale, at::ones_like(scale)),
                   at::zeros_like(scale));
}

at::Tensor DatasetAttributions::to_logits(const SummedWire& one, const at::Tensor& head) const {
  VPD_CHECK(!one.wire.target, UsageError, "to_logits(): expected a wire into the output, found another");
  const at::Tensor scale = source_weights(one.wire).unsqueeze(1) * logit_rms.unsqueeze(0);
  const at::Tensor logits = one.sum.matmul(head.to(at::kDouble).t());
  return at::where(scale.gt(0.0), logits / at::where(scale.gt(0.0), scale, at::ones_like(scale)),
                   at::zeros_like(scale));
}

std::vector<at::Tensor> all_columns(const Sites& sites) {
  std::vector<at::Tensor> all;
  for (const Site& site : sites.all()) all.push_back(at::arange(site.C, at::kLong));
  return all;
}

}  // namespace vpd
