#include "vpd/kernels/matrix_product.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <string>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#ifdef VPD_ONEDNN_FILE
#include <dlfcn.h>
#endif

#include "sgemm.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/seconds_since.hpp"

namespace vpd {

/// Not linked but loaded, and bound to its own symbols first: LibTorch holds another oneDNN and exports the
/// bodies of its std::call_once, so that of the two the one loaded later would set up the tables of the other
/// and then refuse all work.
Sgemm onednn_sgemm() {
#if defined(__SANITIZE_ADDRESS__) || !defined(VPD_ONEDNN_FILE)
  return nullptr;  // the sanitizer does not allow such binding
#else
  static const auto function = [] {
    void* library = dlopen(VPD_ONEDNN_FILE, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    return library ? reinterpret_cast<Sgemm>(dlsym(library, "dnnl_sgemm")) : nullptr;
  }();
  return function;
#endif
}

namespace {

/// How BLAS sees a matrix: rows contiguous ('N'), or its transpose's rows contiguous ('T').
struct Layout {
  char transposed;
  std::int64_t leading;
};

bool layout_of(const at::Tensor& x, Layout& layout) {
  const std::int64_t rows = x.size(0), columns = x.size(1);
  if (columns == 1 || x.stride(1) == 1) {
    layout = {'N', rows == 1 ? columns : x.stride(0)};
    if (columns == 1 && x.stride(0) < 1) return false;
    return layout.leading >= columns;
  }
  if (rows == 1 || x.stride(0) == 1) {
    layout = {'T', x.stride(1)};
    return layout.leading >= rows;
  }
  return false;
}

/// Where rows of the right factor begin a multiple of 2 KiB apart, oneDNN 2.6 without AVX512 takes half as
/// long again as LibTorch's MKL, or twice as long (benchmarks/kernels, matrix_product).
bool slow_in_onednn(const Layout& right) {
#if defined(__x86_64__)
  static const bool narrow = !__builtin_cpu_supports("avx512f");
#else
  static const bool narrow = false;
#endif
  constexpr std::int64_t row = 2048 / sizeof(float);
  return narrow && right.transposed == 'N' && right.leading % row == 0;
}

bool onednn_product(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool accumulate) {
  Layout la{}, lb{}, lo{};
  if (!out.is_cpu() || out.scalar_type() != at::kFloat || a.scalar_type() != at::kFloat ||
      b.scalar_type() != at::kFloat || out.numel() == 0 || a.size(1) == 0 || !layout_of(a, la) ||
      !layout_of(b, lb) || !layout_of(out, lo) || lo.transposed != 'N' || slow_in_onednn(lb) ||
      !onednn_sgemm()) {
    return false;
  }
  const int status =
      onednn_sgemm()(la.transposed, lb.transposed, a.size(0), b.size(1), a.size(1), 1.0f,
                     a.const_data_ptr<float>(), la.leading, b.const_data_ptr<float>(), lb.leading,
                     accumulate ? 1.0f : 0.0f, out.mutable_data_ptr<float>(), lo.leading);
  VPD_CHECK(status == 0, UsageError, "oneDNN refused a product of [{}, {}] and [{}, {}] with status {}",
            a.size(0), a.size(1), b.size(0), b.size(1), status);
  return true;
}

/// bfloat16 factors and a float32 sum, which tensor cores have anyway: one product that rounds nothing
/// between. A CPU makes it of float32 copies.
bool widens(const at::Tensor& out, const at::Tensor& a) {
  return out.scalar_type() == at::kFloat && a.scalar_type() == at::kBFloat16;
}

/// The factors in float32, which holds them exactly.
at::Tensor float_product(const at::Tensor& a, const at::Tensor& b) {
  return a.dim() == 2 ? matrix_product(a.to(at::kFloat), b.to(at::kFloat))
                      : batched_product(a.to(at::kFloat), b.to(at::kFloat));
}

/// Whether this CPU multiplies bfloat16 clearly faster than float32 copies of it, as measured once. Where it
/// has instructions for bfloat16 it may; where it has none LibTorch takes many times as long.
bool bfloat16_is_fast() {
  static const bool fast = [] {
    const at::Tensor a = at::ones({256, 512}, at::kBFloat16), b = at::ones({512, 512}, at::kBFloat16);
    constexpr double infinity = std::numeric_limits<double>::infinity();
    double narrow = infinity, wide = infinity;
    const auto shorten = [](double& least, const auto& work) {
      const auto start = std::chrono::steady_clock::now();
      work();
      least = std::min(least, seconds_since(start));
    };
    for (int round = 0; round < 3; ++round) {
      shorten(narrow, [&] { at::mm(a, b); });
      shorten(wide, [&] { float_product(a, b).to(at::kBFloat16); });
    }
    constexpr double clearly = 0.8;  // no run goes on with another choice because the machine was busy
    return narrow < clearly * wide;
  }();
  return fast;
}

/// bfloat16 throughout, made of float32 copies and rounded once, where that is faster.
bool through_float(const at::Tensor& out, const at::Tensor& a) {
  return out.is_cpu() && a.scalar_type() == at::kBFloat16 && out.scalar_type() == at::kBFloat16 &&
         !bfloat16_is_fast();
}

void store(const at::Tensor& out, at::Tensor product, bool accumulate) {
  if (accumulate) product.add_(out);
  out.copy_(product);
}

void check_bias(const at::Tensor& bias, const at::Tensor& a) {
  VPD_CHECK(bias.scalar_type() == a.scalar_type(), UsageError,
            "matrix product: expected a bias of the factors' dtype {}, found {}",
            at::toString(a.scalar_type()), at::toString(bias.scalar_type()));
}

std::string shape(const at::Tensor& x) {
  return fmt::format("[{}]", fmt::join(x.sizes().begin(), x.sizes().end(), ", "));
}

}  // namespace

at::Tensor empty_rows(std::int64_t M, std::int64_t N, const at::TensorOptions& options) {
  const std::int64_t pack = 16 / static_cast<std::int64_t>(options.dtype().itemsize());
  return at::empty_strided({M, N}, {(N + pack - 1) / pack * pack, 1}, options);
}

at::Tensor matrix_product(const at::Tensor& a, const at::Tensor& b) {
  VPD_CHECK(a.dim() == 2 && b.dim() == 2, UsageError,
            "matrix product: expected two matrices, found {} and {}", shape(a), shape(b));
  at::Tensor out = at::empty({a.size(0), b.size(1)}, a.options());
  matrix_product_into(out, a, b, /*accumulate=*/false);
  return out;
}

at::Tensor matrix_product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) {
  check_bias(bias, a);
  if (a.scalar_type() != at::kBFloat16) return matrix_product(a, b).add_(bias);
  const at::NoGradGuard no_grad;
  if (a.is_cuda()) return at::addmm(bias, a, b);  // adds in float32
  return float_product(a, b).add_(bias).to(at::kBFloat16);
}

void matrix_product_into(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool accumulate) {
  VPD_CHECK(a.dim() == 2 && b.dim() == 2 && a.size(1) == b.size(0) && out.dim() == 2 &&
                out.size(0) == a.size(0) && out.size(1) == b.size(1),
            UsageError, "matrix product: expected [M, K] [K, N] into [M, N], found {} {} into {}", shape(a),
            shape(b), shape(out));
  VPD_CHECK(a.scalar_type() == b.scalar_type(), UsageError,
            "matrix product: expected factors of one dtype, found {} and {}", at::toString(a.scalar_type()),
            at::toString(b.scalar_type()));
  if (onednn_product(out, a, b, accumulate)) return;
  at::NoGradGuard no_grad;
  if (widens(out, a) && !out.is_cuda())
    return matrix_product_into(out, a.to(at::kFloat), b.to(at::kFloat), accumulate);
  if (through_float(out, a)) return store(out, float_product(a, b), accumulate);
  at::Tensor target = out;
  if (widens(out, a)) {
    accumulate ? at::addmm_out(target, target, a, b, at::kFloat) : at::mm_out(target, a, b, at::kFloat);
  } else if (a.scalar_type() != out.scalar_type()) {
    const at::Tensor product = at::mm(a, b);
    accumulate ? target.add_(product) : target.copy_(product);
  } else if (accumulate) {
    target.addmm_(a, b);
  } else {
    at::mm_out(target, a, b);
  }
}

at::Tensor batched_product(const at::Tensor& a, const at::Tensor& b) {
  VPD_CHECK(a.dim() == 3 && b.dim() == 3, UsageError,
            "batched product: expected two tensors of three dimensions, found {} and {}", shape(a), shape(b));
  at::Tensor out = at::empty({a.size(0), a.size(1), b.size(2)}, a.options());
  batched_product_into(out, a, b, /*accumulate=*/false);
  return out;
}

at::Tensor batched_product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) {
  check_bias(bias, a);
  if (a.scalar_type() != at::kBFloat16) return batched_product(a, b).add_(bias);
  const at::NoGradGuard no_grad;
  if (a.is_cuda()) return at::baddbmm(bias, a, b);
  return float_product(a, b).add_(bias).to(at::kBFloat16);
}

void batched_product_into(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool accumulate) {
  VPD_CHECK(a.dim() == 3 && b.dim() == 3 && out.dim() == 3 && a.size(0) == b.size(0) &&
                out.size(0) == a.size(0) && a.size(2) == b.size(1) && out.size(1) == a.size(1) &&
                out.size(2) == b.size(2),
            UsageError, "batched product: expected [C, M, K] [C, K, N] into [C, M, N], found {} {} into {}",
            shape(a), shape(b), shape(out));
  VPD_CHECK(a.scalar_type() == b.scalar_type(), UsageError,
            "batched product: expected factors of one dtype, found {} and {}", at::toString(a.scalar_type()),
            at::toString(b.scalar_type()));
  at::NoGradGuard no_grad;
  if (out.is_cpu() && a.scalar_type() == at::kFloat && onednn_sgemm()) {
    for (std::int64_t c = 0; c < a.size(0); ++c) matrix_product_into(out[c], a[c], b[c], accumulate);
    return;
  }
  if (widens(out, a) && !out.is_cuda())
    return batched_product_into(out, a.to(at::kFloat), b.to(at::kFloat), accumulate);
  if (through_float(out, a)) return store(out, float_product(a, b), accumulate);
  at::Tensor target = out;
  if (widens(out, a)) {
    accumulate ? at::baddbmm_out(target, target, a, b, at::kFloat) : at::bmm_out(target, a, b, at::kFloat);
  } else if (a.scalar_type() != out.scalar_type()) {
    const at::Tensor product = at::bmm(a, b);
    accumulate ? target.add_(product) : target.copy_(product);
  } else if (accumulate) {
    target.baddbmm_(a, b);
  } else {
    at::bmm_out(target, a, b);
  }
}

}  // namespace vpd
