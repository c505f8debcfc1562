#include "vpd/adversary/persistent.hpp"

#include <algorithm>
#include <utility>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/kernels/ascent.hpp"
#include "vpd/kernels/random_fill.hpp"

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
    case PersistentScope::pooled:
      return make_layout(sites, B, 1);
  }
  throw UsageError("unknown scope of persistent sources");
}

/// What state() saved, as float32 or float64, whether it was compact or not.
at::Tensor load_saved(const SafetensorsFile& file, const std::string& name, at::IntArrayRef shape,
                      at::ScalarType type) {
  const TensorInfo* info = file.find(name);
  if (!info || info->scalar_type != at::kShort) return load_checked(file, name, shape, type);
  VPD_CHECK(shape.equals(info->shape), DataError, "{}: tensor '{}': expected the shape [{}], found [{}]",
            file.path().string(), name, fmt::join(shape.begin(), shape.end(), ", "),
            fmt::join(info->shape, ", "));
  const at::Tensor compact = file.load(name);
  VPD_CHECK(compact.numel() == 0 || compact.min().item<std::int64_t>() >= 0, DataError,
            "{}: tensor '{}': expected sources of at least 0, found {}", file.path().string(), name,
            compact.min().item<std::int64_t>());
  return widened(compact);
}

}  // namespace

bool climbs_in_pass(const PersistentAdversaryConfig& config, const RoutingConfig& routing) {
  return config.scope == PersistentScope::per_position &&
         config.parametrization == SourceParametrization::clamped &&
         !std::holds_alternative<LayerwiseRoutingConfig>(routing);
}

PersistentAdversary::PersistentAdversary(const PersistentAdversaryConfig& config, const Sites& sites,
                                         std::int64_t B, std::int64_t T, const Numerics& numerics,
                                         std::uint64_t seed, std::uint64_t term, std::optional<Range> rows)
    : config_(config),
      rows_(rows.value_or(Range{0, B})),
      whole_(layout_for(config, sites, B, T)),
      layout_(layout_for(config, sites, rows_.size(), T)),
      length_(layout_.time_rows) {
  const bool pooled = config.scope == PersistentScope::pooled;
  const std::int64_t pool = pooled ? config.sources.value() : 1;
  const bool compact = config.storage == SourceStorage::compact;
  const at::TensorOptions options = numerics.options();
  VPD_CHECK(!compact || options.dtype() == at::kFloat, UsageError,
            "persistent sources: expected storage float32 beside float64 importances, found compact");
  const at::Tensor values =
      at::zeros({layout_.rows() * pool, layout_.columns}, compact ? options.dtype(at::kShort) : options);
  const RandomKey key = make_key(seed, RandomPurpose::initial_sources, term);
  const std::int64_t first = local() ? rows_.begin * layout_.time_rows * pool : 0;
  const bool sigmoid = config.parametrization == SourceParametrization::sigmoid;
  if (const auto* constant = std::get_if<ConstantInitConfig>(&config.init)) {
    values.copy_(compact ? compacted(at::full({}, constant->value)) : at::full({}, constant->value, options));
    if (sigmoid) values.logit_(1e-6);
  } else if (sigmoid) {
    // Normal draws come one after another: whoever wants the last ones has to draw all.
    const at::Tensor all = at::empty({whole_.rows() * pool, whole_.channels()}, numerics.options());
    fill_normal(all, 1.0, key);
    copy_channels(values, layout_, all.narrow(0, first, values.size(0)));
  } else {
    draw_sources(values, layout_, key, first);
  }
  const bool adam = std::holds_alternative<AdamAscentConfig>(config.optimizer);
  values_ = pooled ? at::zeros({layout_.rows(), layout_.columns}, numerics.options()) : values;
  if (adam) {
    m_ = at::zeros_like(values_, compact ? options.dtype(at::kBFloat16) : options);
    v_ = at::zeros_like(m_);
  }
  if (!pooled) return;
  pool_.values = values;
  if (adam) pool_.m = at::zeros_like(values), pool_.v = at::zeros_like(values);
  pool_.counts = at::zeros({values.size(0)}, numerics.options().dtype(at::kLong));
}

void PersistentAdversary::begin_step(const LateKey& key) {
  if (!pool_.values.defined()) return;
  // From counters on the device: row b takes source floor(u_b K) of its own K.
  const std::int64_t B = layout_.batch_rows, K = config_.sources.value();
  const at::Tensor u = at::empty({B, 1}, pool_.values.options());
  fill_uniform(u, key, rows_.begin);
  const at::Tensor first = at::arange(0, B * K, K, pool_.counts.options());
  pool_.drawn = u.view({B}).mul_(static_cast<double>(K)).to(at::kLong).clamp_max_(K - 1).add_(first);
  at::index_select_out(values_, pool_.values, 0, pool_.drawn);
  if (m_.defined()) {
    at::index_select_out(m_, pool_.m, 0, pool_.drawn);
    at::index_select_out(v_, pool_.v, 0, pool_.drawn);
  }
  counts_ = pool_.counts.index_select(0, pool_.drawn);
}

void PersistentAdversary::end_step() {
  if (!pool_.values.defined()) return;
  pool_.values.index_copy_(0, pool_.drawn, values_);
  if (m_.defined()) {
    pool_.m.index_copy_(0, pool_.drawn, m_);
    pool_.v.index_copy_(0, pool_.drawn, v_);
  }
  pool_.counts.index_copy_(0, pool_.drawn, counts_);
}

at::Tensor PersistentAdversary::make_gradient() const { return at::zeros_like(values_); }

SourceOf PersistentAdversary::use(std::int64_t first, std::int64_t count, std::int64_t T,
                                  const at::Tensor& gradient, double gradient_scale, bool once) const {
  SourceGradient destination{.sum = gradient, .scale = gradient_scale};
  const Range own = local() ? rows_of_batch(first, count) : Range{0, layout_.rows()};
  if (local()) {
    destination.overwrite = once && layout_.time_rows == T;  // each entry is met exactly once
    if (!destination.overwrite) gradient.narrow(0, own.begin, own.size()).zero_();
  }
  at::Tensor values = values_;
  if (config_.parametrization == SourceParametrization::sigmoid) {
    // A lane computes its own rows alone; the others' are never read.
    values = at::empty_like(values_);
    values.narrow(0, own.begin, own.size()).copy_(values_.narrow(0, own.begin, own.size()).sigmoid());
  }
  return read_sources(layout_, values, T, first, destination);
}

SourceOf PersistentAdversary::climb_in_pass(std::int64_t first, std::int64_t T, double gradient_scale,
                                            const AscentRule& rule) const {
  VPD_CHECK(climbs_in_pass(config_, AllRoutingConfig{}) && T <= layout_.time_rows, UsageError,
            "persistent sources: expected clamped ones of each of {} positions to climb in a pass", T);
  return read_sources(layout_, values_, T, first, SourceAscent{rule, m_, v_, gradient_scale});
}

AscentRule PersistentAdversary::rule(double rate, std::int64_t count) const {
  const bool clamp = config_.parametrization == SourceParametrization::clamped;
  const auto* adam = std::get_if<AdamAscentConfig>(&config_.optimizer);
  if (!adam) return {.adam = false, .rate = rate, .clamp = clamp};
  return {.beta1 = adam->beta1,
          .beta2 = adam->beta2,
          .eps = adam->eps,
          .rate = rate,
          .unbias1 = bias_correction(adam->beta1, count),
          .unbias2 = bias_correction(adam->beta2, count),
          .clamp = clamp};
}

void PersistentAdversary::ascend(const at::Tensor& gradient, std::int64_t begin, std::int64_t end,
                                 const AscentRule& rule) {
  // Of shorter rows some sources are met alone; the others stay.
  at::Tensor met;
  if (length_ < layout_.time_rows) {
    met = at::arange(begin, end, at::kLong).remainder(layout_.time_rows).lt(length_).nonzero().flatten();
    if (met.numel() == 0) return;
    met = met.to(values_.device());
  }
  const auto own = [&](const at::Tensor& x) { return x.narrow(0, begin, end - begin); };
  const auto rows = [&](const at::Tensor& x) {
    if (!x.defined()) return x;
    return met.defined() ? own(x).index_select(0, met) : own(x);
  };
  const at::Tensor values = rows(values_), m = rows(m_), v = rows(v_);
  at::Tensor direction = rows(gradient);
  const bool sigmoid = config_.parametrization == SourceParametrization::sigmoid;
  if (sigmoid) {
    const at::Tensor r = values.sigmoid();
    direction = direction * r * (1.0 - r);
  }
  at::Tensor counts;
  if (counts_.defined() && m_.defined()) counts = own(counts_).add_(1);
  vpd::ascend(values, direction, m, v, rule, counts);
  if (!met.defined()) return;
  own(values_).index_copy_(0, met, values);
  if (m_.defined()) own(m_).index_copy_(0, met, m), own(v_).index_copy_(0, met, v);
}

at::Tensor PersistentAdversary::saturated() const {
  constexpr std::int64_t at_once = std::int64_t{1} << 24;  // elements of what is computed on the way
  constexpr double margin = 0.01;
  const at::Tensor values = buffers().front().second;  // all of a pool
  const std::int64_t rows = values.size(0);
  at::Tensor count = at::zeros({}, values_.options().dtype(at::kDouble));
  for (std::size_t i = 0; i < layout_.sites.size(); ++i) {
    const std::int64_t part = std::max(at_once / layout_.sites[i].size(), std::int64_t{1});
    for (std::int64_t first = 0; first < rows; first += part) {
      at::Tensor r = site_columns(values, layout_, i).narrow(0, first, std::min(part, rows - first));
      if (config_.parametrization == SourceParametrization::sigmoid) r = r.sigmoid();
      if (is_compact(r)) r = widened(r);
      count.add_(r.sub(0.5).abs_().ge_(0.5 - margin).sum(at::kDouble));
    }
  }
  return count.div_(static_cast<double>(rows * layout_.channels()));
}

NamedTensors PersistentAdversary::buffers() const {
  const bool pooled = pool_.values.defined();
  NamedTensors buffers = {{"source", pooled ? pool_.values : values_}};
  if (m_.defined()) {
    buffers.emplace_back("m", pooled ? pool_.m : m_);
    buffers.emplace_back("v", pooled ? pool_.v : v_);
  }
  return buffers;
}

/// Buffers as [B, T or K, C + 1] of each site, of all processes together. Nothing where another process has
/// them.
NamedTensors PersistentAdversary::parts(const Sites& sites, Processes& processes) const {
  NamedTensors tensors;
  for (const auto& [kind, buffer] : buffers()) {
    // As bytes, since what carries them between processes does not know every type.
    at::Tensor all = local() ? processes.gather_rows(buffer.view(at::kByte)) : buffer;
    if (!all.defined()) continue;
    all = all.view(buffer.scalar_type());
    const std::int64_t rows = local() ? layout_.batch_rows * processes.count() : layout_.batch_rows;
    const at::Tensor shaped = all.view({rows, -1, layout_.columns});
    for (std::size_t i = 0; i < sites.size(); ++i) {
      tensors.emplace_back(kind + "/" + sites[i].name,
                           shaped.narrow(2, layout_.sites[i].begin, layout_.sites[i].size()));
    }
  }
  return tensors;
}

void PersistentAdversary::share(Processes& processes) const {
  if (local()) return;
  for (const auto& [kind, buffer] : buffers()) processes.broadcast(buffer);
}

NamedTensors PersistentAdversary::state(const Sites& sites, Processes& processes) const {
  NamedTensors tensors = parts(sites, processes);
  if (pool_.counts.defined()) {
    const at::Tensor counts =
        processes.gather_rows(pool_.counts.view({layout_.batch_rows, -1}).to(at::kDouble));
    if (counts.defined()) tensors.emplace_back("ascents", counts);
  }
  return tensors;
}

void PersistentAdversary::load(const SafetensorsFile& file, const std::string& prefix, const Sites& sites) {
  const std::int64_t first = local() ? rows_.begin : 0;
  const auto own = [&](const std::string& name, const at::Tensor& target, at::ScalarType type) {
    std::vector<std::int64_t> shape = target.sizes().vec();
    shape[0] = whole_.batch_rows;
    const at::Tensor loaded = load_saved(file, prefix + name, shape, type).narrow(0, first, target.size(0));
    at::Tensor(target).copy_(is_compact(target) ? compacted(loaded) : loaded);
  };
  for (const auto& [name, target] : parts(sites, Processes::none())) own(name, target, at::kFloat);
  if (pool_.counts.defined()) own("ascents", pool_.counts.view({layout_.batch_rows, -1}), at::kDouble);
}

}  // namespace vpd
