// Each fused kernel alone, at the sizes of a training step: time, and bytes that it must move per second
// beside the copy bandwidth of the same device. On the CPU one thread runs, as in a lane. Google Benchmark's
// own options choose and print: --benchmark_filter, --benchmark_format=json.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#ifdef VPD_WITH_CUDA
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAStream.h>
#endif

#include "vpd/base/version.hpp"
#include "vpd/kernels/ascent.hpp"
#include "vpd/kernels/gate.hpp"
#include "vpd/kernels/kl.hpp"
#include "vpd/kernels/matrix_product.hpp"
#include "vpd/kernels/norm.hpp"
#include "vpd/kernels/squash.hpp"

namespace {

using benchmark::State;

at::Device device() {
#ifdef VPD_WITH_CUDA
  if (at::globalContext().hasCUDA() && at::cuda::device_count() > 0) return at::kCUDA;
#endif
  return at::kCPU;
}

void wait() {
#ifdef VPD_WITH_CUDA
  if (device().is_cuda()) c10::cuda::getCurrentCUDAStream().synchronize();
#endif
}

at::Tensor matrix(std::int64_t rows, std::int64_t columns) {
  return at::rand({rows, columns}, at::TensorOptions().device(device()));
}

/// Runs `work` until the clock is satisfied; `bytes` are those that one call must read and write.
template <class Work>
void measure(State& state, double bytes, const Work& work) {
  const at::NoGradGuard no_grad;
  work();
  wait();
  for (auto _ : state) {
    work();
    wait();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes * static_cast<double>(state.iterations())));
}

void copy(State& state) {
  const at::Tensor from = matrix(state.range(0), state.range(1)), to = at::empty_like(from);
  measure(state, 8.0 * static_cast<double>(from.numel()), [&] { at::Tensor(to).copy_(from); });
}

void gate_forward_uniform(State& state) {
  const at::Tensor h = matrix(state.range(0), state.range(1)), g = matrix(state.range(0), state.range(1));
  const vpd::GateSources sources{.kind = vpd::SourceKind::uniform, .key = {1, 2}};
  measure(state, 12.0 * static_cast<double>(h.numel()),
          [&] { benchmark::DoNotOptimize(vpd::gate_forward(h, g, sources, {})); });
}

void gate_backward_tensor(State& state) {
  const std::int64_t N = state.range(0), C = state.range(1);
  const at::Tensor h = matrix(N, C), g = matrix(N, C), dy = matrix(N, C), dg = matrix(N, C),
                   ds = matrix(N, 1).view({N});
  const vpd::GateSources sources{.kind = vpd::SourceKind::tensor,
                                 .sources = matrix(N, C + 1),
                                 .gradient = matrix(N, C + 1),
                                 .overwrite_gradient = true,
                                 .time_length = N,
                                 .batch_rows = 1,
                                 .time_rows = N};
  // reads h, g, r, dy and dg; writes dh, the gated h, dg and dr
  measure(state, 36.0 * static_cast<double>(h.numel()),
          [&] { benchmark::DoNotOptimize(vpd::gate_backward(dy, h, g, sources, {}, ds, dg, true)); });
}

void power_sums(State& state) {
  const at::Tensor z = matrix(state.range(0), state.range(1));
  measure(state, 4.0 * static_cast<double>(z.numel()),
          [&] { benchmark::DoNotOptimize(vpd::power_sums(z, 0.9, 1e-12)); });
}

void squash_backward(State& state) {
  const at::Tensor z = matrix(state.range(0), state.range(1)), dg = matrix(state.range(0), state.range(1));
  const vpd::PowerGradient power{at::ones({state.range(1)}, z.options().dtype(at::kDouble)), 0.9, 1e-12};
  measure(state, 12.0 * static_cast<double>(z.numel()),
          [&] { benchmark::DoNotOptimize(vpd::squash_backward(z, dg, &power, 1)); });
}

void kl(State& state) {
  const at::Tensor target = matrix(state.range(0), state.range(1)),
                   prediction = matrix(state.range(0), state.range(1));
  measure(state, 12.0 * static_cast<double>(target.numel()),
          [&] { benchmark::DoNotOptimize(vpd::kl_from_logits(target, prediction, true, 1.0, false)); });
}

void rms_norm(State& state) {
  const at::Tensor x = matrix(state.range(0), state.range(1));
  measure(state, 8.0 * static_cast<double>(x.numel()),
          [&] { benchmark::DoNotOptimize(vpd::rms_norm_forward(x, {}, 1e-6, at::kFloat, nullptr)); });
}

void ascend(State& state) {
  const std::int64_t N = state.range(0), C = state.range(1);
  const at::Tensor x = matrix(N, C), d = matrix(N, C), m = matrix(N, C), v = matrix(N, C);
  measure(state, 28.0 * static_cast<double>(x.numel()), [&] { vpd::ascend(x, d, m, v, {.count = 3}); });
}

void matrix_product(State& state) {
  const at::Tensor a = matrix(state.range(0), state.range(1)), b = matrix(state.range(1), state.range(2));
  const double flops = 2.0 * static_cast<double>(state.range(0) * state.range(1) * state.range(2));
  measure(state, 0.0, [&] { benchmark::DoNotOptimize(vpd::matrix_product(a, b)); });
  state.counters["FLOP/s"] =
      benchmark::Counter(flops * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

// one lane of the demo, one lane of ss_2l at 2 x 128, and a wide site of pile_4l
#define VPD_SIZES Args({128, 160})->Args({128, 1152})->Args({2048, 3072})->Unit(benchmark::kMicrosecond)
BENCHMARK(copy)->VPD_SIZES;
BENCHMARK(gate_forward_uniform)->VPD_SIZES;
BENCHMARK(gate_backward_tensor)->VPD_SIZES;
BENCHMARK(power_sums)->VPD_SIZES;
BENCHMARK(squash_backward)->VPD_SIZES;
BENCHMARK(kl)->Args({128, 1024})->Args({128, 4019})->Args({512, 50277})->Unit(benchmark::kMicrosecond);
BENCHMARK(rms_norm)->Args({128, 64})->Args({128, 128})->Args({2048, 768})->Unit(benchmark::kMicrosecond);
BENCHMARK(ascend)->VPD_SIZES;
BENCHMARK(matrix_product)
    ->Args({128, 64, 64})
    ->Args({128, 160, 256})
    ->Args({128, 512, 2048})
    ->Unit(benchmark::kMicrosecond);

}  // namespace

int main(int argc, char** argv) {
  at::set_num_threads(1);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::AddCustomContext("device", device().str());
  benchmark::AddCustomContext("commit", std::string(vpd::git_revision()));
  return benchmark::RunSpecifiedBenchmarks() == 0 ? 2 : 0;
}
