// Each fused kernel alone, at the sizes of a training step: time, and the bytes that it must move (each input
// read once, each output written once) or the operations that it must do per second, beside the copy
// bandwidth and the matrix-product rate of the same device in the same run. Activations are of the type that
// a run has there: bfloat16 on CUDA, float32 on a CPU, where one thread runs, as in a lane. Google
// Benchmark's own options choose and print:
// --benchmark_filter, --benchmark_format=json, --benchmark_out.

#include <chrono>
#include <functional>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <torch/csrc/autograd/autograd.h>

#ifdef VPD_WITH_CUDA
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAStream.h>
#endif

#include "median.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/base/version.hpp"
#include "vpd/kernels/adamw.hpp"
#include "vpd/kernels/ascent.hpp"
#include "vpd/kernels/bfloat16_parts.hpp"
#include "vpd/kernels/gate.hpp"
#include "vpd/kernels/kl.hpp"
#include "vpd/kernels/matrix_product.hpp"
#include "vpd/kernels/norm.hpp"
#include "vpd/kernels/positions.hpp"
#include "vpd/kernels/rotary.hpp"
#include "vpd/kernels/routing.hpp"
#include "vpd/kernels/row_scale.hpp"
#include "vpd/kernels/squash.hpp"
#include "vpd/machine/numerics.hpp"
#include "vpd/ops/differentiable.hpp"
#include "vpd/ops/head_kl.hpp"
#include "vpd/ops/parallel_mlp.hpp"
#include "vpd/passes/sources.hpp"

namespace {

using benchmark::State;
using vpd::RandomKey;

/// CUDA where there is one, with products and attention as in a run.
at::Device device() {
  static const at::Device chosen = vpd::resolve_numerics("auto", vpd::Precision::automatic).device;
  return chosen;
}

at::ScalarType compute() { return device().is_cuda() ? at::kBFloat16 : at::kFloat; }
double compute_bytes() { return static_cast<double>(c10::elementSize(compute())); }

at::Tensor wide(std::int64_t rows, std::int64_t columns) {
  return at::rand({rows, columns}, at::TensorOptions().device(device()));
}
at::Tensor real(std::int64_t rows, std::int64_t columns) { return wide(rows, columns).to(compute()); }

/// More than any cache holds: written between two timings so that neither finds its inputs there.
void flush_caches() {
  static const at::Tensor large = at::zeros({device().is_cuda() ? 64 << 20 : 8 << 20}, device());
  at::Tensor(large).add_(1.0);
}

/// Seconds of one call. On CUDA by events on the stream, so that launches and waits of the host are not part
/// of it.
double seconds(const std::function<void()>& work) {
#ifdef VPD_WITH_CUDA
  if (device().is_cuda()) {
    at::cuda::CUDAEvent start(cudaEventDefault), end(cudaEventDefault);
    flush_caches();
    start.record();
    work();
    end.record();
    end.synchronize();
    return 1e-3 * static_cast<double>(start.elapsed_time(end));
  }
#endif
  const auto start = std::chrono::steady_clock::now();
  work();
  return vpd::seconds_since(start);
}

double median_seconds(const std::function<void()>& work) {
  std::vector<double> times;
  for (int i = 0; i < 12; ++i) {
    const double time = seconds(work);
    if (i > 1) times.push_back(time);
  }
  return vpd::median(times);
}

/// Bytes a second of a large copy, read and written both counted.
double copy_bandwidth() {
  static const double bandwidth = [] {
    const at::Tensor from = wide(device().is_cuda() ? 1 << 16 : 1 << 13, 4096), to = at::empty_like(from);
    return 8.0 * static_cast<double>(from.numel()) / median_seconds([&] { at::Tensor(to).copy_(from); });
  }();
  return bandwidth;
}

double product_rate() {
  static const double rate = [] {
    const std::int64_t n = device().is_cuda() ? 8192 : 1024;
    const at::Tensor a = real(n, n), b = real(n, n), out = at::empty_like(a);
    return 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) /
           median_seconds([&] { vpd::matrix_product_into(out, a, b, false); });
  }();
  return rate;
}

/// Times `work`; rates are those of the median. It must move `bytes` and do `operations` (0: not counted).
void measure(State& state, double bytes, double operations, const std::function<void()>& work) {
  const at::NoGradGuard no_grad;
  work();
  std::vector<double> times;
  for (auto _ : state) {
    times.push_back(seconds(work));
    state.SetIterationTime(times.back());
  }
  const double typical = vpd::median(times);
  if (bytes > 0.0) {
    state.counters["GB/s"] = 1e-9 * bytes / typical;
    state.counters["of_copy"] = bytes / typical / copy_bandwidth();
  }
  if (operations > 0.0) {
    state.counters["GFLOP/s"] = 1e-9 * operations / typical;
    state.counters["of_product"] = operations / typical / product_rate();
  }
}

double size(const State& state) { return static_cast<double>(state.range(0) * state.range(1)); }

void copy(State& state) {
  const at::Tensor from = wide(state.range(0), state.range(1)), to = at::empty_like(from);
  measure(state, 8.0 * size(state), 0.0, [&] { at::Tensor(to).copy_(from); });
}

// ---- Masks ----

void gate_forward_uniform(State& state) {
  const at::Tensor h = real(state.range(0), state.range(1)), g = real(state.range(0), state.range(1));
  const vpd::GateSources sources{vpd::DrawnSources{.key = RandomKey{1, 2}}};
  measure(state, 3.0 * compute_bytes() * size(state), 0.0,
          [&] { benchmark::DoNotOptimize(vpd::gate_forward(h, g, sources, {})); });
}

void gate_backward_uniform(State& state) {
  const std::int64_t N = state.range(0), C = state.range(1);
  const at::Tensor h = real(N, C), g = real(N, C), dy = real(N, C), dg = wide(N, C);
  const vpd::GateSources sources{vpd::DrawnSources{.key = RandomKey{1, 2}}};
  // reads h, dy, g and dg; writes dh, the gated h and dg
  measure(state, (5.0 * compute_bytes() + 8.0) * size(state), 0.0,
          [&] { benchmark::DoNotOptimize(vpd::gate_backward(dy, h, g, sources, {}, {}, dg, true)); });
}

/// Routing bytes of N positions and L sites under which about half of them are masked.
at::Tensor drawn_routing(std::int64_t N, std::int64_t L) {
  return vpd::draw_subset_routing(RandomKey{1, 2}, L, N, 0, device());
}

/// A site that is masked at about half of N positions.
vpd::MaskedPositions half_of(std::int64_t N) {
  vpd::MaskedPositions site = vpd::masked_positions(drawn_routing(N, 1000), N).front();
  site.positions = site.positions.narrow(0, 0, at::count_nonzero(site.places.ge(0)).item<std::int64_t>());
  return site;
}

/// The adversarial pass: the gradient of importances, and sources that climb, kept in float32 or compact. An
/// ascent wants the latter alone. `listed`: about half of the positions are masked, and listed.
void gate_backward_adversarial(State& state, bool ascent, bool compact, bool listed = false) {
  const std::int64_t N = state.range(0), C = state.range(1);
  vpd::GateRouting routing;
  if (listed) {
    const vpd::MaskedPositions site = half_of(N);
    routing.positions = site.positions, routing.places = site.places;
  }
  const std::int64_t M = listed ? routing.positions.numel() : N;
  const at::Tensor h = real(M, C), g = real(N, C), dy = real(M, C), dg = ascent ? at::Tensor() : wide(N, C),
                   ds = wide(M, 1).view({M});
  // In rows as the adversary's, which begin on aligned columns.
  const auto kept = [&](at::ScalarType narrow, double scale) {
    const at::Tensor rows =
        wide(N, (C + vpd::source_alignment) / vpd::source_alignment * vpd::source_alignment);
    return (compact ? rows.mul(scale).to(narrow) : rows).narrow(1, 0, C + 1);
  };
  const vpd::SourceAscent climb{{.rate = 1e-3}, kept(at::kBFloat16, 1.0), kept(at::kBFloat16, 1.0)};
  const vpd::GateSources sources{vpd::ReadSources{
      .values = kept(at::kShort, 32767.0), .time_length = N, .time_rows = N, .destination = climb}};
  // reads h, dy, g, r and both moments; writes dh, r and the moments; r and the moments of every position
  const double of_masked = 4.0 * compute_bytes() + (ascent ? 0.0 : compute_bytes() + 8.0),
               of_all = compact ? 12.0 : 24.0;
  measure(state,
          static_cast<double>(C) * (of_masked * static_cast<double>(M) + of_all * static_cast<double>(N)),
          0.0,
          [&] { benchmark::DoNotOptimize(vpd::gate_backward(dy, h, g, sources, routing, ds, dg, !ascent)); });
}
void gate_backward_loss(State& state) { gate_backward_adversarial(state, false, false); }
void gate_backward_ascent(State& state) { gate_backward_adversarial(state, true, false); }
void gate_backward_loss_compact(State& state) { gate_backward_adversarial(state, false, true); }
void gate_backward_ascent_compact(State& state) { gate_backward_adversarial(state, true, true); }
void gate_backward_ascent_listed(State& state) { gate_backward_adversarial(state, true, true, true); }

/// Reads a byte, writes a place, and a position where there is one.
void masked_positions(State& state) {
  const std::int64_t N = state.range(0), L = state.range(1);
  const at::Tensor routing = drawn_routing(N, L);
  measure(state, 7.0 * size(state), 0.0,
          [&] { benchmark::DoNotOptimize(vpd::masked_positions(routing, N)); });
}

/// Of every second row or so.
void select_rows(State& state) {
  const at::Tensor x = real(state.range(0), state.range(1));
  const at::Tensor positions = half_of(state.range(0)).positions;
  measure(state, 2.0 * compute_bytes() * static_cast<double>(positions.numel() * state.range(1)), 0.0,
          [&] { benchmark::DoNotOptimize(vpd::select_rows(x, positions)); });
}

void dot_rows(State& state) {
  const at::Tensor a = real(state.range(0), state.range(1)), b = real(state.range(0), state.range(1));
  const at::Tensor positions = half_of(state.range(0)).positions;
  measure(state, 2.0 * compute_bytes() * static_cast<double>(positions.numel() * state.range(1)), 0.0,
          [&] { benchmark::DoNotOptimize(vpd::dot_rows(a, b, positions)); });
}

/// Every second row or so.
void combine_rows(State& state) {
  const std::int64_t N = state.range(0), d = state.range(1);
  const at::Tensor y = real(N, d);
  const vpd::MaskedPositions site = half_of(N);
  const std::int64_t listed = site.positions.numel();
  const at::Tensor part = real(listed, d), scale = wide(listed, 1).view({listed});
  measure(state, 3.0 * compute_bytes() * static_cast<double>(listed * d), 0.0,
          [&] { vpd::combine_rows(y, scale, part, site.places); });
}

void scale_rows(State& state) {
  const at::Tensor y = real(state.range(0), state.range(1)), x = real(state.range(0), state.range(1)),
                   scale = wide(state.range(0), 1).view({state.range(0)});
  measure(state, 3.0 * compute_bytes() * size(state), 0.0,
          [&] { benchmark::DoNotOptimize(vpd::scale_rows(y, scale, x)); });
}

void subset_routing(State& state) {
  measure(state, size(state), 0.0, [&] {
    benchmark::DoNotOptimize(
        vpd::draw_subset_routing(RandomKey{1, 2}, state.range(1), state.range(0), 0, device()));
  });
}

// ---- Causal importances and sources ----

/// Importances' pre-activations of which one in 32 is active.
at::Tensor pre_activations(const State& state) {
  return wide(state.range(0), state.range(1)).sub_(31.0 / 32.0).to(compute());
}

void power_sums(State& state) {
  const at::Tensor z = pre_activations(state);
  measure(state, compute_bytes() * size(state), 0.0,
          [&] { benchmark::DoNotOptimize(vpd::penalty_sums(z, {.p = 0.9, .eps = 1e-12})); });
}

void squash_backward(State& state) {
  const at::Tensor z = pre_activations(state), dg = wide(state.range(0), state.range(1));
  const vpd::PenaltyGradient power{at::ones({state.range(1)}, z.options().dtype(at::kDouble)),
                                   {.p = 0.9, .eps = 1e-12}};
  measure(state, (4.0 + 2.0 * compute_bytes()) * size(state), 0.0,
          [&] { benchmark::DoNotOptimize(vpd::squash_backward(z, dg, &power, 1)); });
}

void ascend(State& state) {
  const std::int64_t N = state.range(0), C = state.range(1);
  const at::Tensor x = wide(N, C), d = wide(N, C), m = wide(N, C), v = wide(N, C);
  measure(state, 28.0 * size(state), 0.0, [&] { vpd::ascend(x, d, m, v, {}); });
}

void fill_uniform(State& state) {
  const at::Tensor x = wide(state.range(0), state.range(1));
  measure(state, 4.0 * size(state), 0.0, [&] { vpd::fill_uniform(x, RandomKey{1, 2}); });
}

// ---- The target ----

/// Logits in rows as a training step has them.
at::Tensor logits(std::int64_t rows, std::int64_t vocabulary) {
  const at::Tensor values = real(rows, vocabulary), out = vpd::empty_rows(rows, vocabulary, values.options());
  return out.copy_(values);
}

void kl(State& state) {
  const at::Tensor target = logits(state.range(0), state.range(1)),
                   prediction = logits(state.range(0), state.range(1));
  measure(state, 3.0 * compute_bytes() * size(state), 0.0,
          [&] { benchmark::DoNotOptimize(vpd::kl_from_logits(target, prediction, true, 1.0, true)); });
}

void kl_through_head(State& state) {
  const std::int64_t N = state.range(0), d = state.range(1), V = state.range(2);
  const at::Tensor target = logits(N, V), x = real(N, d), weight = real(V, d);
  measure(state, 0.0, 4.0 * static_cast<double>(N * d * V),
          [&] { benchmark::DoNotOptimize(vpd::kl_through_head(target, x, weight, {}, true, 1.0)); });
}

void rms_norm(State& state) {
  const at::Tensor x = real(state.range(0), state.range(1));
  measure(state, 2.0 * compute_bytes() * size(state), 0.0,
          [&] { benchmark::DoNotOptimize(vpd::rms_norm_forward(x, {}, 1e-6, compute(), nullptr)); });
}

void add_rms_norm(State& state) {
  const at::Tensor x = wide(state.range(0), state.range(1)), added = real(state.range(0), state.range(1));
  measure(state, (8.0 + 2.0 * compute_bytes()) * size(state), 0.0, [&] {
    at::Tensor sum;
    benchmark::DoNotOptimize(vpd::add_rms_norm_forward(x, added, {}, 1e-6, compute(), nullptr, sum));
  });
}

void add_rms_norm_backward(State& state) {
  const at::Tensor sum = wide(state.range(0), state.range(1)), dsum = wide(state.range(0), state.range(1)),
                   dy = real(state.range(0), state.range(1));
  at::Tensor reciprocal;
  vpd::rms_norm_forward(sum, {}, 1e-6, compute(), &reciprocal);
  const double narrow = compute() == at::kFloat ? 1.0 : 2.0;  // the gradient once more where it is narrower
  measure(state, (12.0 + narrow * compute_bytes()) * size(state), 0.0,
          [&] { benchmark::DoNotOptimize(vpd::add_rms_norm_backward(dy, dsum, sum, {}, reciprocal, {})); });
}

void adamw(State& state) {
  const at::Tensor x = wide(state.range(0), state.range(1)), gradient = wide(state.range(0), state.range(1)),
                   m = wide(state.range(0), state.range(1)), v = wide(state.range(0), state.range(1));
  const bool narrows = compute() != at::kFloat;
  const at::Tensor narrow = narrows ? x.to(compute()) : at::Tensor();
  vpd::AdamWUpdate update;
  update.numbers.rate = 1e-3;
  measure(state, (28.0 + (narrows ? 2.0 : 0.0)) * size(state), 0.0,
          [&] { vpd::adamw(x, gradient, m, v, narrow, update); });
}

void bfloat16_parts(State& state) {
  const at::Tensor x = wide(state.range(0), state.range(1));
  measure(state, 10.0 * size(state), 0.0, [&] { benchmark::DoNotOptimize(vpd::bfloat16_parts(x, 3)); });
}

void difference_parts(State& state) {
  const at::Tensor a = wide(state.range(0), state.range(1)), b = wide(state.range(0), state.range(1));
  measure(state, 12.0 * size(state), 0.0,
          [&] { benchmark::DoNotOptimize(vpd::difference_parts(a, b, 2.0, 2)); });
}

void rms_norm_backward(State& state) {
  const at::Tensor x = real(state.range(0), state.range(1)), dy = real(state.range(0), state.range(1));
  at::Tensor reciprocal;
  vpd::rms_norm_forward(x, {}, 1e-6, compute(), &reciprocal);
  measure(state, 3.0 * compute_bytes() * size(state), 0.0,
          [&] { benchmark::DoNotOptimize(vpd::rms_norm_backward(dy, x, {}, reciprocal, {})); });
}

void rotary(State& state) {
  const std::int64_t T = 64, d_head = 64;
  const at::Tensor x = real(state.range(0), state.range(1));
  const vpd::RotaryTable table = vpd::make_rotary_table(T, d_head, 10000.0, false, at::kFloat, device());
  measure(state, 2.0 * compute_bytes() * size(state), 0.0,
          [&] { benchmark::DoNotOptimize(vpd::rotate(x, table, false)); });
}

void matrix_product(State& state) {
  const at::Tensor a = real(state.range(0), state.range(1)), b = real(state.range(1), state.range(2));
  measure(state, 0.0, 2.0 * static_cast<double>(state.range(0) * state.range(1) * state.range(2)),
          [&] { benchmark::DoNotOptimize(vpd::matrix_product(a, b)); });
}

/// N positions of C networks of one input and one hidden layer, forward and backward.
void scalar_networks(State& state) {
  const std::int64_t N = state.range(0), C = state.range(1), hidden = state.range(2);
  const auto parameter = [](at::IntArrayRef sizes) {
    const at::Tensor value = at::randn(sizes, at::TensorOptions().device(device()));
    return vpd::Parameter{value.to(compute()), at::zeros_like(value)};
  };
  const std::vector<vpd::ParallelLayer> layers = {{parameter({C, 1, hidden}), parameter({C, hidden})},
                                                  {parameter({C, hidden, 1}), parameter({C, 1})}};
  const at::Tensor x = real(N, C).requires_grad_(true), dz = real(N, C);
  measure(state, 5.0 * compute_bytes() * size(state), 0.0, [&] {
    const at::AutoGradMode record(true);
    const at::Tensor z = vpd::parallel_mlp(x, layers, vpd::ParallelInput::column);
    benchmark::DoNotOptimize(torch::autograd::grad({z}, {x}, {dz}));
  });
  state.counters["units"] = static_cast<double>(N * C * hidden);
}

using Arguments = std::vector<std::int64_t>;

void add(const char* name, void (*function)(State&), const std::vector<Arguments>& cpu,
         const std::vector<Arguments>& cuda) {
  auto* registered = benchmark::RegisterBenchmark(name, function);
  for (const Arguments& sizes : device().is_cuda() ? cuda : cpu) registered->Args(sizes);
  registered->UseManualTime()->Unit(benchmark::kMicrosecond);
}

void add_all() {
  // On the CPU one lane of the demo, one of ss_2l at 2 x 128, and a wide site; on CUDA the sites of pile_4l
  // at 16 x 512, all of them side by side, and rows that no vector fits.
  const std::vector<Arguments> cpu = {{128, 160}, {128, 1152}, {2048, 3072}};
  const std::vector<Arguments> sites = {{8192, 512}, {8192, 3584}, {8192, 1021}}, all = {{8192, 38912}};
  const std::vector<Arguments> rows = {{8192, 768}, {8192, 3072}, {8192, 27648}};
  add("copy", copy, cpu, all);
  add("gate_forward_uniform", gate_forward_uniform, cpu, sites);
  add("gate_backward_uniform", gate_backward_uniform, cpu, sites);
  add("gate_backward_loss", gate_backward_loss, cpu, sites);
  add("gate_backward_ascent", gate_backward_ascent, cpu, sites);
  add("gate_backward_loss_compact", gate_backward_loss_compact, cpu, sites);
  add("gate_backward_ascent_compact", gate_backward_ascent_compact, cpu, sites);
  add("gate_backward_ascent_listed", gate_backward_ascent_listed, cpu, sites);
  add("subset_routing", subset_routing, {{128, 12}, {2048, 24}}, {{8192, 24}, {32768, 24}});
  add("masked_positions", masked_positions, {{128, 12}, {2048, 24}}, {{8192, 24}, {32768, 24}});
  add("select_rows", select_rows, {{128, 128}, {2048, 768}}, rows);
  add("dot_rows", dot_rows, {{128, 128}, {2048, 768}}, rows);
  add("combine_rows", combine_rows, {{128, 128}, {2048, 768}}, rows);
  add("scale_rows", scale_rows, {{128, 128}, {2048, 768}}, rows);
  add("power_sums", power_sums, cpu, all);
  add("squash_backward", squash_backward, cpu, all);
  add("scalar_networks", scalar_networks, {{2048, 20, 16}, {1024, 100, 16}, {1024, 100, 100}},
      {{4096, 20, 16}, {2048, 100, 16}, {2048, 500, 128}});
  add("ascend", ascend, cpu, all);
  add("fill_uniform", fill_uniform, cpu, all);
  add("kl", kl, {{128, 1024}, {128, 4019}, {512, 50277}}, {{8192, 50277}, {16384, 4019}});
  add("kl_through_head", kl_through_head, {{128, 64, 1024}, {128, 128, 4019}},
      {{8192, 768, 50277}, {16384, 128, 4019}});
  add("rms_norm", rms_norm, {{128, 64}, {128, 128}, {2048, 768}}, rows);
  add("rms_norm_backward", rms_norm_backward, {{128, 64}, {128, 128}, {2048, 768}}, rows);
  add("add_rms_norm", add_rms_norm, {{128, 64}, {128, 128}, {2048, 768}}, {{8192, 768}, {8192, 2048}});
  add("add_rms_norm_backward", add_rms_norm_backward, {{128, 64}, {128, 128}, {2048, 768}},
      {{8192, 768}, {8192, 2048}});
  add("adamw", adamw, {{128, 1024}, {4096, 2048}}, {{2048, 8192}, {38912, 2048}});
  add("bfloat16_parts", bfloat16_parts, {{128, 128}, {2048, 768}}, {{768, 512}, {3072, 3584}});
  add("difference_parts", difference_parts, {{128, 128}, {2048, 768}}, {{768, 768}, {3072, 768}});
  add("rotary", rotary, {{128, 64}, {2048, 768}}, {{8192, 768}, {8192, 2048}});
  add("matrix_product", matrix_product,
      {{128, 64, 64}, {128, 160, 256}, {128, 512, 2048}, {128, 1152, 1024}, {128, 2048, 512}},
      {{8192, 768, 512}, {8192, 768, 3072}, {8192, 3584, 768}, {8192, 2048, 8192}, {8192, 2048, 38912}});
}

}  // namespace

int main(int argc, char** argv) {
  at::set_num_threads(1);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  add_all();
  benchmark::AddCustomContext("device", device().str());
#ifdef VPD_WITH_CUDA
  if (device().is_cuda()) benchmark::AddCustomContext("gpu", at::cuda::getCurrentDeviceProperties()->name);
#endif
  benchmark::AddCustomContext("commit", std::string(vpd::git_revision()));
  benchmark::AddCustomContext("copy_bytes_per_s", std::to_string(copy_bandwidth()));
  benchmark::AddCustomContext("matrix_product_flop_per_s", std::to_string(product_rate()));
  return benchmark::RunSpecifiedBenchmarks() == 0 ? 2 : 0;
}
