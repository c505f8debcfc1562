#include "vpd/kernels/gate.hpp"

#include <algorithm>

#include <ATen/ATen.h>

#include "dispatch.hpp"
#include "gate_kernel.hpp"
#include "on_device.hpp"

namespace vpd {
namespace {

/// A contiguous byte a position, or null where there is none.
const std::uint8_t* flags(const at::Tensor& x, std::int64_t N, const char* what) {
  if (!x.defined()) return nullptr;
  VPD_CHECK(x.scalar_type() == at::kByte && x.is_contiguous() && x.numel() == N, UsageError,
            "gate: expected {} as contiguous uint8 of {} positions, found {} elements", what, N, x.numel());
  return x.const_data_ptr<std::uint8_t>();
}

/// Fills in where sources come from.
class PutSources {
 public:
  PutSources(GateParams& params, at::ScalarType wide) : p(params), wide_(wide) {}

  void operator()(const ConstantSources& s) const {
    p.kind = SourceKind::constant;
    p.value = s.r, p.delta_value = s.delta;
  }

  void operator()(const DrawnSources& s) const {
    p.kind = s.distribution == SourceDistribution::uniform ? SourceKind::uniform : SourceKind::binomial;
    p.key = s.key, p.site = s.site, p.first_row = s.first_row;
  }

  void operator()(const ReadSources& s) const {
    const std::int64_t N = p.all_rows;
    p.kind = SourceKind::read;
    VPD_CHECK(s.time_length > 0 && N % s.time_length == 0, UsageError,
              "gate: expected whole sequences of {}, found {} positions", s.time_length, N);
    VPD_CHECK(s.batch_rows > 0 && s.first_batch >= 0 && (s.time_rows == 1 || s.time_rows >= s.time_length),
              UsageError,
              "gate: expected sources for at least one batch row and for 1 or at least {} positions of it, "
              "found {} and "
              "{}",
              s.time_length, s.batch_rows, s.time_rows);
    p.compact = s.values.scalar_type() == at::kShort;
    VPD_CHECK(!p.compact || wide_ == at::kFloat, UsageError,
              "gate: expected float64 sources beside float64 activations, found compact ones");
    check_matrix(s.values, s.batch_rows * s.time_rows, p.columns + 1, p.compact ? at::kShort : wide_,
                 "gate: sources");
    p.sources = s.values.const_data_ptr(), p.sources_stride = s.values.stride(0);
    p.time_length = s.time_length, p.batch_rows = s.batch_rows, p.time_rows = s.time_rows;
    p.first_batch = s.first_batch % s.batch_rows;
    const bool in_order = s.time_rows == s.time_length && p.first_batch + N / s.time_length <= s.batch_rows;
    p.first_source = in_order ? p.first_batch * s.time_rows : -1;
    p.source_rows_shared = s.time_rows < s.time_length || N / s.time_length > s.batch_rows;
  }

  void operator()(const MixedSources& s) const {
    VPD_CHECK(s.drawn.distribution == SourceDistribution::uniform, UsageError,
              "gate: expected mixed sources to be read or drawn from U(0,1), found binomial draws");
    (*this)(s.drawn);
    (*this)(s.read);
    p.kind = SourceKind::mixed;
    p.from_matrix = flags(s.is_read, p.all_rows, "the choice between sources");
    VPD_CHECK(p.from_matrix, UsageError, "gate: expected a choice between mixed sources, found none");
  }

 private:
  GateParams& p;
  at::ScalarType wide_;
};

GateParams common(const at::Tensor& h, const at::Tensor& importance, const GateSources& s,
                  const GateRouting& routing) {
  const std::int64_t rows = h.size(0), C = h.size(1);
  const std::int64_t N = routing.positions.defined() ? importance.size(0) : rows;
  GateParams p;
  p.rows = rows, p.columns = C, p.all_rows = N;
  p.type = element_type(h, "gate: h");
  const at::ScalarType wide = wide_type(h.scalar_type());
  check_matrix(h, rows, C, h.scalar_type(), "gate: h");
  p.narrow_importance = importance.scalar_type() == h.scalar_type() && h.scalar_type() != wide;
  check_matrix(importance, N, C, p.narrow_importance ? h.scalar_type() : wide, "gate: importance");
  p.h = h.const_data_ptr(), p.h_stride = h.stride(0);
  p.importance = importance.const_data_ptr(), p.importance_stride = importance.stride(0);
  p.routing = flags(routing.masked, N, "routing");
  if (routing.positions.defined()) {
    VPD_CHECK(
        routing.positions.scalar_type() == at::kInt && routing.positions.is_contiguous() &&
            routing.positions.numel() == rows && !routing.masked.defined(),
        UsageError,
        "gate: expected either routing or the positions of {} rows as contiguous int32, found {} of {}{}",
        rows, routing.positions.numel(), at::toString(routing.positions.scalar_type()),
        routing.masked.defined() ? " beside routing" : "");
    p.positions = static_cast<const std::int32_t*>(routing.positions.const_data_ptr());
    if (routing.places.defined()) {
      VPD_CHECK(routing.places.scalar_type() == at::kInt && routing.places.is_contiguous() &&
                    routing.places.numel() == N,
                UsageError,
                "gate: expected a row for each of {} positions as contiguous int32, found {} of {}", N,
                routing.places.numel(), at::toString(routing.places.scalar_type()));
      p.places = static_cast<const std::int32_t*>(routing.places.const_data_ptr());
    }
  }
  std::visit(PutSources(p, wide), s.from);
  p.delta = !s.fixed_delta;
  if (s.fixed_delta) p.delta_value = *s.fixed_delta;
  return p;
}

/// Whether δ is 0 at every position that is masked, whatever is drawn.
bool no_delta(const GateSources& s) {
  if (s.fixed_delta) return *s.fixed_delta == 0.0;
  const auto* constant = std::get_if<ConstantSources>(&s.from);
  return constant && constant->delta == 0.0;
}

/// Adds gradients of positions, per_position [B T, C + 1], to those of the source rows that they share,
/// always in one order.
void add_per_source(const GateParams& p, const at::Tensor& per_position, const at::Tensor& gradient) {
  const std::int64_t B = p.all_rows / p.time_length;
  at::Tensor summed = per_position.view({B, p.time_length, p.columns + 1});
  if (p.time_rows < p.time_length) summed = summed.sum(1, /*keepdim=*/true);
  const at::Tensor rows = gradient.unflatten(0, {p.batch_rows, p.time_rows}).narrow(1, 0, summed.size(1));
  if (p.batch_rows == 1) {
    rows.add_(summed.sum(0, /*keepdim=*/true));
    return;
  }
  // Runs of batch rows that meet each source once.
  for (std::int64_t b = 0; b < B;) {
    const std::int64_t source = (b + p.first_batch) % p.batch_rows;
    const std::int64_t count = std::min(B - b, p.batch_rows - source);
    rows.narrow(0, source, count).add_(summed.narrow(0, b, count));
    b += count;
  }
}

/// Fills in where dL/dr goes, or how the sources climb along it.
class PutDestination {
 public:
  PutDestination(GateParams& params, const ReadSources& sources, at::ScalarType wide)
      : p(params), sources_(sources), wide_(wide) {}

  void operator()(std::monostate) const {}

  void operator()(const SourceGradient& to) const {
    check_once(!to.overwrite, "overwrite it");
    check_matrix(to.sum, rows(), p.columns + 1, wide_, "gate: source gradient");
    p.source_gradient = to.sum.mutable_data_ptr();
    p.source_gradient_stride = to.sum.stride(0);
    p.source_gradient_scale = to.scale;
    p.source_gradient_overwrite = to.overwrite;
  }

  void operator()(const SourceAscent& to) const {
    check_once(false, "climb along each position's");
    p.climbing = sources_.values.mutable_data_ptr();
    p.source_gradient_scale = to.scale;
    p.ascent = to.rule;
    if (!p.ascent.adam) return;
    for (const at::Tensor& moment : {to.m, to.v}) {
      check_matrix(moment, rows(), p.columns + 1, p.compact ? at::kBFloat16 : wide_,
                   "gate: moment of sources");
      VPD_CHECK(moment.stride(0) == p.sources_stride, UsageError,
                "gate: expected moments with the sources' stride of {}, found {}", p.sources_stride,
                moment.stride(0));
    }
    p.source_m = to.m.mutable_data_ptr(), p.source_v = to.v.mutable_data_ptr();
  }

 private:
  std::int64_t rows() const { return sources_.batch_rows * sources_.time_rows; }
  void check_once(bool adds, const char* wish) const {
    VPD_CHECK(adds || !p.source_rows_shared, UsageError,
              "gate: expected to add to the gradient of sources that positions share, found the wish to {}",
              wish);
  }

  GateParams& p;
  const ReadSources& sources_;
  at::ScalarType wide_;
};

/// All tensors that sources are made of, some undefined.
struct SourceTensors {
  at::Tensor is_read, values, gradient, m, v;
};

SourceTensors tensors_of(const GateSources& s) {
  SourceTensors all;
  if (const auto* mixed = std::get_if<MixedSources>(&s.from)) all.is_read = mixed->is_read;
  const ReadSources* read = s.read();
  if (!read) return all;
  all.values = read->values;
  if (const auto* to = std::get_if<SourceGradient>(&read->destination)) all.gradient = to->sum;
  if (const auto* to = std::get_if<SourceAscent>(&read->destination)) all.m = to->m, all.v = to->v;
  return all;
}

}  // namespace

GateOutput gate_forward(const at::Tensor& h, const at::Tensor& importance, const GateSources& sources,
                        const GateRouting& routing) {
  GateParams p = common(h, importance, sources, routing);
  GateOutput out{at::empty({p.rows, p.columns}, h.options()), {}};
  if (!no_delta(sources) || routing.masked.defined() || routing.positions.defined()) {
    out.scale = at::empty({p.rows}, h.options().dtype(wide_type(h.scalar_type())));
    p.scale = out.scale.mutable_data_ptr();
  }
  p.gated = out.gated.mutable_data_ptr();
  const SourceTensors of_sources = tensors_of(sources);
  on_device(
      {h, importance, routing.masked, routing.positions, of_sources.is_read, of_sources.values},
      [&] { gate_forward_cpu(p); }, [&](void* stream) { gate_forward_cuda(p, stream); });
  return out;
}

GateGradients gate_backward(const at::Tensor& gradient, const at::Tensor& h, const at::Tensor& importance,
                            const GateSources& sources, const GateRouting& routing,
                            const at::Tensor& scale_gradient, const at::Tensor& importance_gradient,
                            bool want_gated) {
  GateParams p = common(h, importance, sources, routing);
  const at::ScalarType wide = wide_type(h.scalar_type());
  VPD_CHECK(gradient.is_contiguous(), UsageError, "gate: expected a contiguous gradient");
  check_matrix(gradient, p.rows, p.columns, h.scalar_type(), "gate: gradient");
  p.gradient = gradient.const_data_ptr();
  GateGradients out{at::empty({p.rows, p.columns}, h.options()), {}};
  p.h_gradient = out.h.mutable_data_ptr();
  if (want_gated) {
    out.gated = at::empty_like(out.h);
    p.gated = out.gated.mutable_data_ptr();
  }
  if (importance_gradient.defined()) {
    check_matrix(importance_gradient, importance.size(0), p.columns, wide, "gate: importance gradient");
    p.importance_gradient = importance_gradient.mutable_data_ptr();
    p.importance_gradient_stride = importance_gradient.stride(0);
  }
  if (sources.wants_gradient()) {
    VPD_CHECK(!routing.positions.defined() || p.places, UsageError,
              "gate: expected each position's row beside {} listed positions, since a gradient of sources is "
              "wanted, found none",
              p.rows);
    std::visit(PutDestination(p, *sources.read(), wide), sources.read()->destination);
    if (!sources.fixed_delta) {
      VPD_CHECK(scale_gradient.defined() && scale_gradient.is_contiguous() &&
                    scale_gradient.numel() == p.rows && scale_gradient.scalar_type() == wide,
                UsageError,
                "gate: the gradient of sources needs the contiguous {} gradient of the scale at {} positions",
                at::toString(wide), p.rows);
      p.scale_gradient = scale_gradient.const_data_ptr();
    }
  }
  const SourceTensors of_sources = tensors_of(sources);
  on_device(
      {h, importance, routing.masked, routing.positions, routing.places, of_sources.is_read,
       of_sources.values, of_sources.gradient, of_sources.m, of_sources.v, gradient, scale_gradient,
       importance_gradient},
      [&] { gate_backward_cpu(p); },
      [&](void* stream) {
        if (!p.source_gradient || !p.source_rows_shared) return gate_backward_cuda(p, stream);
        const at::Tensor per_position = at::empty({p.all_rows, p.columns + 1}, of_sources.gradient.options());
        p.source_gradient = per_position.mutable_data_ptr();
        p.source_gradient_stride = per_position.stride(0);
        p.source_gradient_overwrite = p.source_gradient_per_position = true;
        gate_backward_cuda(p, stream);
        add_per_source(p, per_position, of_sources.gradient);
      });
  return out;
}

}  // namespace vpd
