#include "support/expect_close.hpp"

#include <cmath>
#include <limits>
#include <sstream>

#include <ATen/ATen.h>

namespace vpd::testing {
namespace {

/// [2, 3] for the element `flat` of a tensor of these sizes.
std::string place(std::int64_t flat, at::IntArrayRef sizes) {
  std::string text;
  for (auto size = sizes.rbegin(); size != sizes.rend(); ++size) {
    text = std::to_string(flat % *size) + (text.empty() ? "" : ", ") + text;
    flat /= *size;
  }
  return "[" + text + "]";
}

/// Empty where shapes and dtypes agree.
std::string difference_of_kind(const at::Tensor& actual, const at::Tensor& expected) {
  std::ostringstream text;
  if (!actual.defined() || !expected.defined()) {
    text << (actual.defined() ? "the expected tensor" : "the actual tensor") << " is undefined";
  } else if (actual.sizes() != expected.sizes()) {
    text << "expected shape " << expected.sizes() << ", found " << actual.sizes();
  } else if (actual.scalar_type() != expected.scalar_type()) {
    text << "expected " << expected.scalar_type() << ", found " << actual.scalar_type();
  }
  return text.str();
}

}  // namespace

double epsilon(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble:
      return std::numeric_limits<double>::epsilon();
    case at::kFloat:
      return std::numeric_limits<float>::epsilon();
    case at::kBFloat16:
      return 0x1p-7;
    default:
      throw std::invalid_argument("epsilon: expected a floating-point dtype");
  }
}

Tolerance rounding(at::ScalarType wide, double roundings, double magnitude, at::ScalarType stored) {
  const double relative = stored == wide ? 0.0 : epsilon(stored);
  return {relative, roundings * epsilon(wide) * magnitude};
}

::testing::AssertionResult is_close(const at::Tensor& actual, const at::Tensor& expected, Tolerance tolerance,
                                    const std::string& what) {
  const std::string kind = difference_of_kind(actual, expected);
  if (!kind.empty()) return ::testing::AssertionFailure() << what << ": " << kind;
  const at::Tensor a = actual.detach().to(at::kCPU, at::kDouble).contiguous();
  const at::Tensor e = expected.detach().to(at::kCPU, at::kDouble).contiguous();
  const double* found = a.const_data_ptr<double>();
  const double* wanted = e.const_data_ptr<double>();
  std::int64_t worst = -1, failures = 0;
  double worst_excess = 0.0;
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    const double allowed = tolerance.absolute + tolerance.relative * std::abs(wanted[i]);
    const double error = std::abs(found[i] - wanted[i]);
    if (error <= allowed && std::isfinite(found[i]) && std::isfinite(wanted[i])) continue;
    ++failures;
    const double excess = std::isfinite(error) ? error - allowed : std::numeric_limits<double>::infinity();
    if (worst < 0 || excess > worst_excess) worst = i, worst_excess = excess;
  }
  if (failures == 0) return ::testing::AssertionSuccess();
  std::ostringstream text;
  text.precision(9);
  text << what << ": worst at " << place(worst, a.sizes()) << ": expected " << wanted[worst] << ", found "
       << found[worst] << ", off by " << std::abs(found[worst] - wanted[worst]) << " where "
       << tolerance.absolute + tolerance.relative * std::abs(wanted[worst]) << " is allowed; " << failures
       << " of " << a.numel() << " elements fail";
  return ::testing::AssertionFailure() << text.str();
}

::testing::AssertionResult is_identical(const at::Tensor& actual, const at::Tensor& expected,
                                        const std::string& what) {
  const std::string kind = difference_of_kind(actual, expected);
  if (!kind.empty()) return ::testing::AssertionFailure() << what << ": " << kind;
  if (at::equal(actual.cpu(), expected.cpu())) return ::testing::AssertionSuccess();
  const at::Tensor a = actual.cpu().contiguous().view({-1}), e = expected.cpu().contiguous().view({-1});
  const std::int64_t first = at::ne(a, e).nonzero()[0].item<std::int64_t>();
  return ::testing::AssertionFailure() << what << ": first difference at " << place(first, actual.sizes())
                                       << ": expected " << e[first].item() << ", found " << a[first].item();
}

}  // namespace vpd::testing
