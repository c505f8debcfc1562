#include "vpd/kernels/adamw.hpp"

#include <optional>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "adamw_kernel.hpp"
#include "dispatch.hpp"
#include "on_device.hpp"

namespace vpd {
namespace {

void check_like(const at::Tensor& other, const at::Tensor& x, at::ScalarType type, const char* what) {
  VPD_CHECK(other.scalar_type() == type && other.is_contiguous() && other.sizes() == x.sizes(), UsageError,
            "AdamW: expected {} as {} contiguous {} elements, found {} of {}", what, x.numel(),
            at::toString(type), other.numel(), at::toString(other.scalar_type()));
}

const float* address(const at::Tensor& number, const char* what) {
  if (!number.defined()) return nullptr;
  VPD_CHECK(number.scalar_type() == at::kFloat && number.numel() == 1, UsageError,
            "AdamW: expected {} as one float32, found {} of {}", what, number.numel(),
            at::toString(number.scalar_type()));
  return number.const_data_ptr<float>();
}

void by_libtorch(const at::Tensor& x, const at::Tensor& gradient, const at::Tensor& m, const at::Tensor& v,
                 const AdamWUpdate& update) {
  std::vector<at::Tensor> values{x}, gradients{gradient}, ms{m}, vs{v};
  const at::Tensor count =
      update.numbers.late_count.defined()
          ? update.numbers.late_count
          : at::full({}, static_cast<double>(update.numbers.count), x.options().dtype(at::kFloat));
  const auto given = [](const at::Tensor& number) {
    return number.defined() ? std::optional<at::Tensor>(number) : std::nullopt;
  };
  const auto step = [&](const auto& rate) {
    at::_fused_adamw_(values, gradients, ms, vs, {}, {count}, rate, update.beta1, update.beta2,
                      update.weight_decay, update.eps, /*amsgrad=*/false, /*maximize=*/false,
                      given(update.divisor), given(update.skip));
  };
  update.numbers.late_rate.defined() ? step(update.numbers.late_rate) : step(update.numbers.rate);
}

}  // namespace

void adamw(const at::Tensor& x, const at::Tensor& gradient, const at::Tensor& m, const at::Tensor& v,
           const at::Tensor& narrow, const AdamWUpdate& update) {
  const at::NoGradGuard no_grad;
  AdamWParams p;
  p.type = element_type(x, "AdamW: x");
  VPD_CHECK(p.type != ElementType::bfloat16, UsageError,
            "AdamW: expected float32 or float64, found BFloat16");
  check_like(x, x, x.scalar_type(), "x");
  check_like(gradient, x, x.scalar_type(), "the gradient");
  check_like(m, x, x.scalar_type(), "m");
  check_like(v, x, x.scalar_type(), "v");
  p.count = x.numel();
  p.x = x.mutable_data_ptr(), p.gradient = gradient.const_data_ptr();
  p.m = m.mutable_data_ptr(), p.v = v.mutable_data_ptr();
  if (narrow.defined()) {
    check_like(narrow, x, at::kBFloat16, "the narrow copy");
    p.narrow = narrow.mutable_data_ptr();
  }
  p.beta1 = update.beta1, p.beta2 = update.beta2, p.eps = update.eps, p.weight_decay = update.weight_decay;
  p.rate = update.numbers.rate, p.updates = static_cast<double>(update.numbers.count);
  p.late_rate = address(update.numbers.late_rate, "the rate");
  p.late_updates = address(update.numbers.late_count, "the count");
  p.divisor = address(update.divisor, "the divisor");
  p.skip = address(update.skip, "whether to skip");
  on_device(
      {x, gradient, m, v, narrow, update.numbers.late_rate, update.numbers.late_count, update.divisor,
       update.skip},
      [&] {
        by_libtorch(x, gradient, m, v, update);
        if (narrow.defined()) at::Tensor(narrow).copy_(x);
      },
      [&](void* stream) { adamw_cuda(p, stream); });
}

}  // namespace vpd
