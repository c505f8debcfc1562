#include "vpd/kernels/gate.hpp"

#include <ATen/ATen.h>

#include "errors.hpp"
#include "gate_case.hpp"
#include "support/check_gradient.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

class GateTest : public GateCase {
 protected:
  void check_forward() {
    const GateOutput out = gate_forward(h_, g_, sources_, routing_);
    const Reference expected = reference(h_.to(at::kCPU, at::kDouble), g_.to(at::kCPU, at::kDouble),
                                         has_matrix() ? values().to(at::kCPU, at::kDouble) : at::Tensor());
    expect_close(out.gated, expected.gated.to(dtype()), stored(), "gated");
    if (out.scale.defined()) {
      expect_close(out.scale, expected.scale.to(wide()), {}, "scale");
    } else {
      EXPECT_EQ(expected.scale.abs().sum().item<double>(), 0.0) << "a scale is wanted where it is not 0";
    }
  }

  void check_backward(bool overwrite, double factor) {
    const bool wants_sources = has_matrix();
    at::Tensor before;
    if (wants_sources) {
      // A slice of a wider matrix, so that writes beside it would show.
      before = broad(uniform_values(values().sizes(), 8));
      read().destination = SourceGradient{column_slice(before), factor, overwrite};
      before = before.to(at::kCPU, at::kDouble);
    }
    at::Tensor dr = check_backward_pass();
    if (!wants_sources) return;
    // Rows that no position reads keep what they held.
    dr = overwrite ? at::where(met(), dr * factor, before) : dr * factor + before;
    const auto shared = static_cast<double>(rows_.size());
    const at::Tensor found = gradient_of(sources_);
    expect_close(found, dr.to(wide()), computed(8.0 + shared + static_cast<double>(C_)), "dL/dr");
    EXPECT_TRUE(surroundings_are_untouched(found)) << "dL/dr";
  }
};

TEST_P(GateTest, ForwardIsTheFormula) {
  for_each_case([&] { check_forward(); });
}

TEST_P(GateTest, BackwardAddsUp) {
  for_each_case([&] { check_backward(/*overwrite=*/false, -1.5); });
}

TEST_P(GateTest, BackwardOverwritesWhereRowsAreMetOnce) {
  for_each_case([&] {
    if (!rows_are_shared()) check_backward(/*overwrite=*/true, 0.5);
  });
}

TEST_P(GateTest, GradientsOfSourcesTurnToZeroWhereRoutingIsOff) {
  prepare({1, 3, 5}, {"per position", From::matrix}, false, std::nullopt, false);
  routing_ = at::zeros({3}, at::TensorOptions().dtype(at::kByte).device(device()));
  read().destination = SourceGradient{.sum = at::ones({3, 6}, g_.options()), .overwrite = true};
  gate_backward(dgated_, h_, g_, sources_, routing_, dscale_, {}, false);
  expect_identical(gradient_of(sources_), at::zeros({3, 6}, wide()), "overwritten");
}

TEST_P(GateTest, WhatLiesBeyondZeroAndOneIsClamped) {
  for (const std::int64_t C : {3, 64, 157}) {
    prepare({1, 7, C}, {"per position", From::matrix}, false, std::nullopt, false);
    const at::Tensor z = broad(uniform_values({7, C}, 9, -1.0, 2.0)), g = z.clamp(0.0, 1.0);
    expect_identical(gate_forward(h_, z, sources_, {}).gated, gate_forward(h_, g, sources_, {}).gated,
                     "gated");
    at::Tensor gradients[2][3];
    for (const int raw : {0, 1}) {
      gradients[raw][0] = at::zeros({7, C + 1}, z.options());
      read().destination = SourceGradient{.sum = gradients[raw][0], .overwrite = true};
      gradients[raw][1] = at::zeros_like(z);
      gradients[raw][2] =
          gate_backward(dgated_, h_, raw ? z : g, sources_, {}, dscale_, gradients[raw][1], true).h;
    }
    for (int i = 0; i < 3; ++i) expect_identical(gradients[1][i], gradients[0][i], "gradient");
  }
}

// Bit for bit, and rows that belong to no position come out 0, with a scale of 1.
TEST_P(GateTest, ListedPositionsHaveTheRowsOfTheWhole) {
  for_each_case([&] {
    if (!routing_.defined()) return;
    const GateRouting at_positions = listed(/*none=*/2);
    const at::Tensor none = at_positions.positions.lt(0);
    const auto gathered = [&](const at::Tensor& x) { return rows_at(at_positions, x); };
    const auto expect_rows = [&](const at::Tensor& actual, const at::Tensor& whole, const char* what) {
      expect_identical(actual, gathered(whole).masked_fill_(none.unsqueeze(1), 0.0), what);
    };
    const GateOutput whole = gate_forward(h_, g_, sources_, routing_),
                     part = gate_forward(gathered(h_), g_, sources_, at_positions);
    expect_rows(part.gated, whole.gated, "gated");
    expect_identical(part.scale, gathered(whole.scale).masked_fill_(none, 1.0), "scale");
    const at::Tensor before = broad(uniform_values({N_, C_}, 9));
    const at::Tensor dg = column_slice(before), part_dg = column_slice(before);
    GateSources part_sources = sources_;
    if (has_matrix()) {
      for (GateSources* sources : {&sources_, &part_sources}) {
        read_of(*sources).destination =
            SourceGradient{.sum = at::ones_like(values()), .overwrite = !rows_are_shared()};
      }
    }
    const GateGradients back = gate_backward(dgated_, h_, g_, sources_, routing_, dscale_, dg, true),
                        part_back = gate_backward(gathered(dgated_), gathered(h_), g_, part_sources,
                                                  at_positions, gathered(dscale_), part_dg, true);
    if (has_matrix()) expect_identical(gradient_of(part_sources), gradient_of(sources_), "dL/dr");
    expect_rows(part_back.h, back.h, "dL/dh");
    expect_rows(part_back.gated, back.gated, "gated again");
    expect_identical(part_dg, dg, "dL/dg");
    EXPECT_TRUE(surroundings_are_untouched(part_dg)) << "dL/dg";
  });
}

TEST_P(GateTest, UnwantedOutputsStayUndefined) {
  prepare({1, 3, 5}, {"zero", From::constant}, false, std::nullopt, false);
  EXPECT_FALSE(gate_forward(h_, g_, sources_, {}).scale.defined());
  EXPECT_FALSE(gate_backward(dgated_, h_, g_, sources_, {}, {}, {}, false).gated.defined());
  sources_.from = DrawnSources{};
  EXPECT_TRUE(gate_forward(h_, g_, sources_, {}).scale.defined());
  sources_.fixed_delta = 0.0;
  EXPECT_FALSE(gate_forward(h_, g_, sources_, {}).scale.defined());
}

TEST_P(GateTest, NoRowsAreNoWork) {
  prepare({1, 1, 5}, {"uniform", From::uniform}, false, std::nullopt, false);
  const GateOutput out = gate_forward(h_.narrow(0, 0, 0), g_.narrow(0, 0, 0), sources_, {});
  EXPECT_EQ(out.gated.sizes(), at::IntArrayRef({0, 5}));
  EXPECT_EQ(
      gate_backward(out.gated, h_.narrow(0, 0, 0), g_.narrow(0, 0, 0), sources_, {}, {}, {}, true).h.size(0),
      0);
}

TEST_P(GateTest, RepeatsItselfExactly) {
  prepare({3, 5, 131}, {"shared across all", From::matrix, 0, 0, 1, 1}, true, std::nullopt, false);
  at::Tensor first;
  for (int i = 0; i < 3; ++i) {
    read().destination = SourceGradient{at::zeros_like(values())};
    gate_backward(dgated_, h_, g_, sources_, routing_, dscale_, {}, false);
    if (first.defined()) expect_identical(gradient_of(sources_), first, "dL/dr");
    first = gradient_of(sources_);
  }
}

TEST_P(GateTest, SaysWhatIsWrong) {
  prepare({2, 3, 4}, {"per position", From::matrix}, true, std::nullopt, false);
  const auto forward = [&] { gate_forward(h_, g_, sources_, routing_); };
  const auto backward = [&] { gate_backward(dgated_, h_, g_, sources_, routing_, dscale_, {}, false); };
  const auto with = [](auto& place, auto value, const auto& call, const char* words) {
    const auto kept = place;
    place = value;
    expect_usage_error(call, words);
    place = kept;
  };
  with(h_, h_.to(at::kHalf), forward, "gate: h: expected float32, float64 or bfloat16");
  with(h_, h_.t().contiguous().t(), forward, "gate: h: expected");
  with(g_, g_.narrow(1, 0, 3), forward, "gate: importance: expected");
  with(g_, g_.to(at::kHalf), forward, "gate: importance: expected");
  with(routing_, routing_.to(at::kBool), forward, "expected routing as contiguous uint8 of 6 positions");
  with(routing_, routing_.narrow(0, 0, 5), forward, "found 5 elements");
  with(read().time_length, std::int64_t{4}, forward, "whole sequences of 4, found 6 positions");
  with(read().time_rows, std::int64_t{2}, forward, "for 1 or at least 3 positions of it, found 2 and 2");
  with(read().batch_rows, std::int64_t{0}, forward, "at least one batch row");
  with(read().first_batch, std::int64_t{-1}, forward, "at least one batch row");
  with(g_, g_.to(at::kMeta), forward, "on one device, found one on meta beside one on");
  with(read().values, values().narrow(1, 0, 4), forward, "gate: sources: expected");
  at::Tensor& gradient = read().destination.emplace<SourceGradient>().sum;
  gradient = at::zeros_like(values());
  with(dgated_, dgated_.t().contiguous().t(), backward, "contiguous gradient");
  with(dgated_, dgated_.narrow(0, 0, 5), backward, "gate: gradient: expected");
  with(dscale_, at::Tensor(), backward, "needs the contiguous");
  with(dscale_, dscale_.to(at::kMeta), backward, "on one device");
  with(dgated_, dgated_.to(at::kMeta), backward, "on one device");
  with(dscale_, dscale_.narrow(0, 0, 5), backward, "at 6 positions");
  with(gradient, gradient.narrow(0, 0, 5), backward, "gate: source gradient: expected");
  expect_usage_error(
      [&] { gate_backward(dgated_, h_, g_, sources_, {}, dscale_, g_.narrow(1, 0, 3), false); },
      "gate: importance gradient: expected");
  GateRouting at_positions;
  at_positions.positions = at::arange(6, at::TensorOptions(device()).dtype(at::kInt));
  const auto forward_at_positions = [&] { gate_forward(h_, g_, sources_, at_positions); };
  with(at_positions.positions, at_positions.positions.narrow(0, 0, 5), forward_at_positions,
       "the positions of 6 rows");
  with(at_positions.positions, at_positions.positions.to(at::kLong), forward_at_positions, "found 6 of Long");
  with(at_positions.masked, routing_, forward_at_positions, "found 6 of Int beside routing");
  with(at_positions.positions, at_positions.positions.to(at::kMeta), forward_at_positions, "on one device");
  expect_usage_error([&] { gate_backward(dgated_, h_, g_, sources_, at_positions, dscale_, {}, false); },
                     "each position's row beside 6 listed positions");
  with(at_positions.places, routing_, forward_at_positions,
       "a row for each of 6 positions as contiguous int32, found 6 of Byte");
  with(at_positions.places, at_positions.positions.narrow(0, 0, 5), forward_at_positions, "found 5 of Int");
  prepare({2, 3, 4}, {"mixed", From::mixed}, false, std::nullopt, false);
  auto& mixed = std::get<MixedSources>(sources_.from);
  with(mixed.drawn.distribution, SourceDistribution::binomial, forward,
       "mixed sources to be read or drawn from U(0,1), found binomial draws");
  with(mixed.is_read, at::Tensor(), forward, "expected a choice between mixed sources, found none");
  with(mixed.is_read, mixed.is_read.narrow(0, 0, 5), forward,
       "the choice between sources as contiguous uint8 of 6 positions, found 5");
  prepare({2, 3, 4}, {"shared across batch", From::matrix, 0, 0, 1, 0}, false, std::nullopt, false);
  read().destination = SourceGradient{.sum = at::zeros_like(values()), .overwrite = true};
  expect_usage_error(backward, "sources that positions share, found the wish to overwrite it");
  read().destination = SourceAscent{{.adam = false}, {}, {}};
  expect_usage_error(backward, "found the wish to climb along each position's");
  prepare({2, 3, 4}, {"per position", From::matrix}, false, std::nullopt, false);
  const at::Tensor moment = at::zeros_like(values());
  auto& ascent = read().destination.emplace<SourceAscent>(AscentRule{}, moment, moment.clone());
  with(ascent.m, at::Tensor(), backward, "gate: moment of sources: expected");
  with(ascent.v, moment.narrow(0, 0, 5), backward, "gate: moment of sources: expected");
  with(ascent.v, column_slice(moment), backward, "moments with the sources' stride of 5, found 10");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, GateTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble, at::kBFloat16})),
                         device_case_name);

// Not by autograd of the formula but by differences of the kernel itself.
TEST(GateGradient, IsTheSlopeOfTheForwardPass) {
  const at::Tensor h = uniform_values({6, 5}, 1), g = uniform_values({6, 5}, 2, 0.0, 1.0),
                   r = uniform_values({3, 6}, 3, 0.0, 1.0);
  const at::Tensor dgated = uniform_values({6, 5}, 4), dscale = uniform_values({6}, 5);
  const at::Tensor routing = at::tensor({1, 1, 0, 1, 1, 1}, at::kByte);
  const auto sources_of = [](const at::Tensor& matrix) {
    return GateSources{ReadSources{.values = matrix, .time_length = 3, .time_rows = 3}};
  };
  GateSources sources = sources_of(r);
  read_of(sources).destination = SourceGradient{at::zeros_like(r)};
  const at::Tensor dg = at::zeros_like(g);
  const GateGradients out = gate_backward(dgated, h, g, sources, routing, dscale, dg, false);
  const auto loss = [&](const std::vector<at::Tensor>& x) {
    const GateOutput y = gate_forward(x[0], x[1], sources_of(x[2]), routing);
    return (y.gated * dgated).sum() + (y.scale * dscale).sum();
  };
  check_gradient(loss, {h, g, r}, {out.h, dg, gradient_of(sources)}, "h, g, r");
}

}  // namespace
}  // namespace vpd
