#include "vpd/passes/attribution.hpp"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "vpd/base/error.hpp"
#include "vpd/decomposition/attribution_executor.hpp"

namespace vpd {

void attribute(const Decomposition& decomposition, const CleanPass& clean,
               const BoundSubcomponents& components, const AttributionRoot& root, const at::Tensor& scores) {
  const at::AutoGradMode record(true);
  AttributionExecutor executor(decomposition.sites, components, scores);
  const at::Tensor output = decomposition.target->forward(clean.input, executor, clean.start);
  torch::autograd::backward({output}, {root(output.detach())});
}

void attribute_squared_norm(const Decomposition& decomposition, const CleanPass& clean,
                            const BoundSubcomponents& components, const at::Tensor& scores) {
  attribute(
      decomposition, clean, components, [](const at::Tensor& output) { return output * 2.0; }, scores);
  at::Tensor(scores).abs_();
}

void check_kept(double k, std::int64_t N, const Sites& sites, const std::string& place) {
  VPD_CHECK(k * static_cast<double>(N) >= 1.0 && k <= static_cast<double>(sites.total_C()), ConfigError,
            "{}: expected a number of subcomponents a position from 1 in {} positions, which a batch has, to "
            "the {} that there are, found {:g}",
            place, N, sites.total_C(), k);
}

std::int64_t kept_count(double k, std::int64_t N, const Sites& sites) {
  const auto wanted = static_cast<std::int64_t>(std::floor(k * static_cast<double>(N)));
  return std::clamp<std::int64_t>(wanted, 1, sites.total_C() * N);
}

void keep_largest(const at::Tensor& scores, std::int64_t count) {
  const at::NoGradGuard no_grad;
  const at::Tensor flat = scores.view({-1});
  const at::Tensor largest = std::get<1>(flat.topk(count, 0, /*largest=*/true, /*sorted=*/false));
  at::Tensor(flat).zero_().index_fill_(0, largest, 1.0);
}

}  // namespace vpd
