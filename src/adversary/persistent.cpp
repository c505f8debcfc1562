#include "vpd/adversary/persistent.hpp"

#include <algorithm>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/decomposition/subcomponents.hpp"
#include "vpd/kernels/ascent.hpp"

namespace vpd {
namespace {

SourceLayout layout_for(const PersistentAdversaryConfig& config, const Sites& sites, std::int64_t B,
                        std::int64_t T) {
  switch (config.scope) {
    case PersistentScope::per_position:
      return make_layout(sites, B, T);
    case PersistentScope::shared_across_batch:
      return make_layout(sites, 1, config.shared_across_positions ? 1 : T);
    case PersistentScope::n_sources:
      return make_layout(sites, config.sources.value(), T);
  }
  throw UsageError("unknown scope of persistent sources");
}

}  // namespace

PersistentAdversary::PersistentAdversary(const PersistentAdversaryConfig& config, const Sites& sites,
                                         std::int64_t B, std::int64_t T, const Numerics& numerics,
                                         std::uint64_t seed, std::uint64_t term)
    : config_(config), layout_(layout_for(config, sites, B, T)) {
  values_ = at::empty({layout_.rows(), layout_.columns}, numerics.options());
  const RandomKey key = make_key(seed, RandomPurpose::initial_sources, term);
  const bool sigmoid = config.parametrization == SourceParametrization::sigmoid;
  if (const auto* constant = std::get_if<ConstantInitConfig>(&config.init)) {
    values_.fill_(constant->value);
    if (sigmoid) values_.logit_(1e-6);
  } else if (sigmoid) {
    fill_normal(values_, 1.0, key);
  } else {
    fill_uniform(values_, key);
  }
  if (std::holds_alternative<AdamAscentConfig>(config.optimizer)) {
    m_ = at::zeros_like(values_);
    v_ = at::zeros_like(values_);
  }
}

at::Tensor PersistentAdversary::make_gradient() const { return at::zeros_like(values_); }

SourceUse PersistentAdversary::use(std::int64_t first, std::int64_t count, std::int64_t T,
                                   const at::Tensor& gradient, double gradient_scale, bool overwrite) const {
  SourceUse use{.layout = layout_,
                .values = values_,
                .gradient = gradient,
                .gradient_scale = gradient_scale,
                .overwrite = overwrite,
                .first_batch = first,
                .T = T};
  if (config_.parametrization == SourceParametrization::sigmoid) {
    if (local()) {  // a lane computes its own rows alone; the others' are never read
      use.values = at::empty_like(values_);
      use.values.narrow(0, first * T, count * T).copy_(values_.narrow(0, first * T, count * T).sigmoid());
    } else {
      use.values = values_.sigmoid();
    }
  }
  return use;
}

void PersistentAdversary::ascend(const at::Tensor& gradient, std::int64_t begin, std::int64_t end,
                                 double rate, std::int64_t count) {
  const auto rows = [&](const at::Tensor& x) { return x.defined() ? x.narrow(0, begin, end - begin) : x; };
  const at::Tensor values = rows(values_);
  at::Tensor direction = rows(gradient);
  const bool sigmoid = config_.parametrization == SourceParametrization::sigmoid;
  if (sigmoid) {
    const at::Tensor r = values.sigmoid();
    direction = direction * r * (1.0 - r);
  }
  AscentRule rule{.adam = m_.defined(), .rate = rate, .count = count, .clamp = !sigmoid};
  if (const auto* adam = std::get_if<AdamAscentConfig>(&config_.optimizer)) {
    rule.beta1 = adam->beta1, rule.beta2 = adam->beta2, rule.eps = adam->eps;
  }
  vpd::ascend(values, direction, rows(m_), rows(v_), rule);
}

at::Tensor PersistentAdversary::saturated() const {
  constexpr std::int64_t at_once = std::int64_t{1} << 22;  // elements of what is computed on the way
  constexpr double margin = 0.01;
  const at::Tensor values = values_.view({-1});
  at::Tensor count = at::zeros({}, values_.options().dtype(at::kDouble));
  for (std::int64_t first = 0; first < values.numel(); first += at_once) {
    at::Tensor r = values.narrow(0, first, std::min(at_once, values.numel() - first));
    if (config_.parametrization == SourceParametrization::sigmoid) r = r.sigmoid();
    count.add_(r.sub(0.5).abs_().ge_(0.5 - margin).sum(at::kDouble));
  }
  return count.div_(static_cast<double>(values.numel()));
}

NamedTensors PersistentAdversary::buffers() const {
  NamedTensors buffers = {{"source", values_}};
  if (m_.defined()) buffers.insert(buffers.end(), {{"m", m_}, {"v", v_}});
  return buffers;
}

NamedTensors PersistentAdversary::state(const Sites& sites) const {
  NamedTensors tensors;
  for (const auto& [kind, buffer] : buffers()) {
    const at::Tensor shaped = buffer.view({layout_.batch_rows, layout_.time_rows, layout_.columns});
    for (std::size_t i = 0; i < sites.size(); ++i) {
      tensors.emplace_back(kind + "/" + sites[i].name,
                           shaped.narrow(2, sites[i].offset + static_cast<std::int64_t>(i), sites[i].C + 1));
    }
  }
  return tensors;
}

void PersistentAdversary::load(const SafetensorsFile& file, const std::string& prefix, const Sites& sites) {
  for (const auto& [name, target] : state(sites)) {
    at::Tensor(target).copy_(load_checked(file, prefix + name, target.sizes()));
  }
}

}  // namespace vpd
