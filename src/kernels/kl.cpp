#include "vpd/kernels/kl.hpp"

#include <ATen/ATen.h>

#include "dispatch.hpp"
#include "kl_kernel.hpp"
#include "on_device.hpp"

namespace vpd {

KlResult kl_from_logits(const at::Tensor& target, const at::Tensor& prediction, bool want_gradient,
                        double scale, bool in_place) {
  KlParams p;
  p.type = element_type(prediction, "KL: prediction");
  p.target_type = element_type(target, "KL: target");
  VPD_CHECK((p.type == ElementType::float64) == (p.target_type == ElementType::float64), UsageError,
            "KL: expected float64 logits on both sides or on neither");
  check_matrix(prediction, prediction.size(0), prediction.size(1), prediction.scalar_type(),
               "KL: prediction");
  check_matrix(target, prediction.size(0), prediction.size(1), target.scalar_type(), "KL: target");
  VPD_CHECK(prediction.size(1) > 0, UsageError, "KL: expected at least one logit a row, found none");
  p.rows = prediction.size(0), p.columns = prediction.size(1);
  p.target = target.const_data_ptr(), p.target_stride = target.stride(0);
  p.prediction = prediction.const_data_ptr(), p.prediction_stride = prediction.stride(0);
  KlResult result;
  if (want_gradient) {
    result.gradient = in_place ? prediction.detach() : at::empty(prediction.sizes(), prediction.options());
    p.gradient = result.gradient.mutable_data_ptr(), p.gradient_stride = result.gradient.stride(0);
  }
  p.scale = scale;
  const at::Tensor losses = at::empty({p.rows}, prediction.options().dtype(at::kDouble));
  p.row_losses = losses.mutable_data_ptr<double>();
  on_device(
      {prediction, target}, [&] { kl_cpu(p); }, [&](void* stream) { kl_cuda(p, stream); });
  result.sum = losses.sum();
  return result;
}

}  // namespace vpd
