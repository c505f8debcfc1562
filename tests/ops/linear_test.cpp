#include <array>
#include <cmath>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/errors.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "vpd/ops/differentiable.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

class LinearTest : public DeviceTest {
 protected:
  Parameter trained(const at::Tensor& value) const { return {value, at::zeros_like(broad(value))}; }

  /// A sum of n products of numbers below 1.
  Tolerance tolerance(std::int64_t n) const {
    const auto terms = static_cast<double>(n);
    if (dtype() == at::kBFloat16) return {epsilon(dtype()), 3 * epsilon(dtype()) * std::sqrt(terms)};
    return rounding(dtype(), 4 + terms, 1.0);
  }
};

TEST_P(LinearTest, IsTheFormulaAndItsGradients) {
  for (const auto& [N, d_in, d_out] :
       {std::array<std::int64_t, 3>{1, 1, 1}, {2, 3, 5}, {13, 31, 7}, {67, 16, 64}}) {
    for (const bool biased : {false, true}) {
      for (const bool recomputed : {false, true}) {
        SCOPED_TRACE(::testing::Message() << N << " x " << d_in << " to " << d_out << (biased ? ", bias" : "")
                                          << (recomputed ? ", made again" : ""));
        const at::Tensor x = real(uniform_values({N, d_in}, 1)).requires_grad_();
        const Parameter weight = trained(real(uniform_values({d_out, d_in}, 2)));
        const Parameter bias = biased ? trained(real(uniform_values({d_out}, 3))) : Parameter();
        const at::Tensor dy = real(uniform_values({N, d_out}, 4));
        const Recomputed again =
            recomputed ? Recomputed(1, [x = x.detach()] { return x.clone(); }) : Recomputed();

        const at::Tensor y = linear(x, weight, bias, again);
        torch::autograd::backward({y}, {dy});

        const at::Tensor wide_x = exact(x.detach()), W = exact(weight.value), gradient = exact(dy);
        at::Tensor expected = wide_x.mm(W.t());
        if (biased) expected += exact(bias.value);
        expect_close(y.detach(), expected.to(dtype()), tolerance(d_in + 1), "y");
        expect_close(x.grad(), gradient.mm(W).to(dtype()), tolerance(d_out), "dx");
        expect_close(weight.gradient, gradient.t().mm(wide_x).to(wide()), tolerance(N), "dW");
        if (biased) expect_close(bias.gradient, gradient.sum(0).to(wide()), tolerance(N), "db");
      }
    }
  }
}

TEST_P(LinearTest, AddsToTheGradientsThatAreThere) {
  const at::Tensor x = real(uniform_values({5, 3}, 1));
  const Parameter once = trained(real(uniform_values({4, 3}, 2))), twice = trained(once.value);
  const at::Tensor dy = real(uniform_values({5, 4}, 3));
  torch::autograd::backward({linear(x, once)}, {dy});
  torch::autograd::backward({linear(x, twice)}, {dy});
  torch::autograd::backward({linear(x, twice)}, {dy});
  expect_close(twice.gradient, once.gradient * 2, tolerance(5), "the sum");
}

TEST_P(LinearTest, StoresGradientsWhereItIsTold) {
  for (const std::int64_t N : {std::int64_t{7}, std::int64_t{0}}) {
    const at::Tensor x = real(uniform_values({N, 3}, 1)), dy = real(uniform_values({N, 5}, 4));
    Parameter weight = trained(real(uniform_values({5, 3}, 2))), bias = trained(real(uniform_values({5}, 3)));
    weight.overwrites_gradient = bias.overwrites_gradient = true;
    for (const Parameter& parameter : {weight, bias}) at::Tensor(parameter.gradient).fill_(NAN);
    torch::autograd::backward({linear(x, weight, bias)}, {dy});
    expect_close(weight.gradient, exact(dy).t().mm(exact(x)).to(wide()), tolerance(N), "dW");
    expect_close(bias.gradient, exact(dy).sum(0).to(wide()), tolerance(N), "db");
  }
}

// Three lanes with different numbers of rows; more lanes than a weight has rows, too.
TEST_P(LinearTest, DeferredGradientsAreThoseOfAllLanes) {
  const std::vector<std::int64_t> rows = {7, 1, 4};
  for (const bool overwrites : {false, true}) {
    for (const bool biased : {false, true}) {
      for (const std::int64_t d_out : {2, 5}) {
        Parameter first = trained(real(uniform_values({3, 6}, 2))),
                  second = trained(real(uniform_values({d_out, 3}, 3)));
        Parameter bias = biased ? trained(real(uniform_values({3}, 4))) : Parameter();
        std::vector<DeferredGradients> lists(3);
        std::vector<const DeferredGradients*> all;
        at::Tensor dW_first = at::zeros({3, 6}, at::kDouble), dW_second = at::zeros({d_out, 3}, at::kDouble),
                   db = at::zeros({3}, at::kDouble);
        for (Parameter* parameter : {&first, &second, &bias}) {
          parameter->overwrites_gradient = overwrites;
          if (parameter->gradient.defined()) parameter->gradient.fill_(overwrites ? NAN : 2.0);
        }
        for (std::size_t lane = 0; lane < 3; ++lane) {
          for (Parameter* parameter : {&first, &second, &bias}) parameter->deferred = &lists[lane];
          const at::Tensor x = real(uniform_values({rows[lane], 6}, 10 + lane)),
                           dy = real(uniform_values({rows[lane], d_out}, 20 + lane));
          const at::Tensor h = linear(x, first, bias);
          torch::autograd::backward({linear(h, second)}, {dy});
          const at::Tensor dh = exact(dy).mm(exact(second.value));
          dW_second += exact(dy).t().mm(exact(h.detach()));
          dW_first += dh.t().mm(exact(x));
          db += dh.sum(0);
          all.push_back(&lists[lane]);
        }
        for (std::size_t part = 0; part < 3; ++part) DeferredGradients::make(all, part);
        const double before = overwrites ? 0.0 : 2.0;
        expect_close(second.gradient, (dW_second + before).to(wide()), tolerance(36), "dW of the second");
        expect_close(first.gradient, (dW_first + before).to(wide()), tolerance(36), "dW of the first");
        if (biased) expect_close(bias.gradient, (db + before).to(wide()), tolerance(36), "db");
      }
    }
  }
}

TEST_P(LinearTest, LanesHaveToDeferTheSameGradients) {
  Parameter one = trained(real(uniform_values({3, 6}, 2))), other = trained(one.value);
  std::vector<DeferredGradients> lists(2);
  const at::Tensor x = real(uniform_values({4, 6}, 1)), dy = real(uniform_values({4, 3}, 2));
  lists[0].add(one, {}, x, dy);
  expect_usage_error(
      [&] {
        DeferredGradients::make({&lists[0], &lists[1]}, 0);
      },
      "the same 1 in the same order");
  lists[1].add(other, {}, x, dy);
  expect_usage_error(
      [&] {
        DeferredGradients::make({&lists[0], &lists[1]}, 0);
      },
      "the same 1 in the same order");
  lists[1].clear();
  lists[1].add(one, {}, x, dy);
  DeferredGradients::make({&lists[0], &lists[1]}, 0);
}

TEST_P(LinearTest, WhatIsMadeAgainIsNotKept) {
  const Parameter weight = trained(real(uniform_values({4, 3}, 2)));
  for (const bool recomputed : {false, true}) {
    at::Tensor x = real(uniform_values({5, 3}, 1));
    const c10::weak_intrusive_ptr<c10::StorageImpl> storage = x.storage().getWeakStorageImpl();
    const Recomputed again = recomputed ? Recomputed(1,
                                                     [this] {
                                                       return real(uniform_values({5, 3}, 1));
                                                     })
                                        : Recomputed();
    const at::Tensor y = linear(x, weight, {}, again);
    x.reset();
    EXPECT_EQ(storage.expired(), recomputed);
    torch::autograd::backward({y}, {at::ones_like(y)});
    EXPECT_TRUE(storage.expired());
  }
}

TEST_P(LinearTest, IsMadeAgainOnceForAllItsReaders) {
  const at::Tensor x = real(uniform_values({5, 3}, 1)).requires_grad_();
  int made = 0;
  c10::weak_intrusive_ptr<c10::StorageImpl> storage = x.storage().getWeakStorageImpl();
  const Recomputed again(3, [&] {
    ++made;
    at::Tensor copy = x.detach().clone();
    storage = copy.storage().getWeakStorageImpl();
    return copy;
  });
  std::vector<Parameter> shared, alone;
  at::Tensor total = at::zeros({5, 4}, x.options());
  for (std::uint64_t reader = 0; reader < 3; ++reader) {
    shared.push_back(trained(real(uniform_values({4, 3}, 10 + reader))));
    alone.push_back(trained(shared.back().value));
    total = total + linear(x, shared.back(), {}, again);
    torch::autograd::backward({linear(x, alone.back())}, {at::ones({5, 4}, x.options())});
  }
  EXPECT_EQ(made, 0);
  torch::autograd::backward({total}, {at::ones_like(total)});
  EXPECT_EQ(made, 1);
  EXPECT_TRUE(storage.expired()) << "the last reader lets go of it";
  for (std::size_t reader = 0; reader < 3; ++reader)
    expect_identical(shared[reader].gradient, alone[reader].gradient, "dW");
}

TEST_P(LinearTest, NothingIsMadeAgainForFrozenWeights) {
  const at::Tensor x = real(uniform_values({5, 3}, 1)).requires_grad_();
  const Parameter frozen{real(uniform_values({4, 3}, 2)), {}};
  const Recomputed again(1, []() -> at::Tensor {
    ADD_FAILURE() << "nobody needs the input";
    return {};
  });
  const at::Tensor y = linear(x, frozen, {}, again);
  torch::autograd::backward({y}, {at::ones_like(y)});
  EXPECT_TRUE(x.grad().defined());
}

INSTANTIATE_TEST_SUITE_P(Devices, LinearTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble, at::kBFloat16})),
                         device_case_name);

}  // namespace
}  // namespace vpd
