// Interactions of an MLP's subcomponents against numbers of an independent program, double loops, and what
// must hold.

#include "vpd/interpretation/interactions.hpp"

#include <cmath>

#include "interpretation/activation_slopes.hpp"
#include "interpretation/firing_pairs.hpp"
#include "interpretation_case.hpp"
#include "support/expect_close.hpp"

namespace vpd::testing {
namespace {

Interactions interactions_of(const Decomposition& d, const at::Tensor& rows, InteractionSums::Pair pair,
                             bool curvature = true, std::int64_t at_once = 2, int lanes = 2) {
  InteractionSums sums(d, {pair}, 0.1, curvature);
  visit_batches(d, rows, at_once, lanes, [&](const Batch& batch) { sums.add(batch); });
  return sums.interactions().front();
}

std::size_t last_site_named(const Decomposition& d, const std::string& end) {
  std::size_t found = d.sites.size();
  for (std::size_t i = 0; i < d.sites.size(); ++i)
    if (d.sites[i].name.ends_with(end)) found = i;
  return found;
}

class GoldenInteractions : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenInteractions, AreTheSame) {
  const InterpretationCase golden(GetParam());
  const SafetensorsFile file(golden.folder / "interactions.safetensors");
  const std::size_t site = last_site_named(golden.decomposition, "c_fc");
  const Interactions found = interactions_of(golden.decomposition, golden.rows(), {site, site});
  const auto expect = [&](const at::Tensor& value, const char* name) {
    EXPECT_LT(relative_error(value, file.load(name).to(at::kDouble)), 1e-6) << name;
  };
  expect(found.weight_overlap, "weight_overlap");
  expect(found.activation_overlap, "activation_overlap");
  expect(found.strength, "strength");
  expect(found.curvature, "curvature");
  // With itself 1, where it was ever important.
  const at::Tensor used = found.activation_overlap.diagonal().gt(0.0).to(at::kDouble);
  ASSERT_GT(used.sum().item<double>(), 10.0);
  expect_close(found.strength.diagonal(), used, {.absolute = 1e-12}, "diagonal of strengths");
  expect_close(found.curvature.diagonal(), used, {.absolute = 1e-12}, "diagonal of curvatures");
}

TEST_P(GoldenInteractions, DoNotHangOnTheGauge) {
  InterpretationCase golden(GetParam());
  Decomposition& d = golden.decomposition;
  const std::size_t site = last_site_named(d, "c_fc");
  const at::Tensor rows = golden.rows();
  const Interactions before = interactions_of(d, rows, {site, site});
  const at::Tensor factor =
      uniform_values({d.sites[site].C}, 5, 0.3, 3.0) * uniform_values({d.sites[site].C}, 6).sign();
  at::Tensor(d.components.U(site)).mul_(factor.unsqueeze(1));
  at::Tensor(d.components.V(site)).div_(factor);
  d.components.refresh();
  const Interactions after = interactions_of(d, rows, {site, site});
  expect_close(after.strength, before.strength, {.relative = 1e-9, .absolute = 1e-12}, "strength");
  expect_close(after.curvature, before.curvature, {.relative = 1e-9, .absolute = 1e-12}, "curvature");
}

TEST_P(GoldenInteractions, DoNotHangOnBatchesAndLanes) {
  const InterpretationCase golden(GetParam());
  const std::size_t site = last_site_named(golden.decomposition, "c_fc");
  const at::Tensor rows = golden.rows();
  const Interactions one = interactions_of(golden.decomposition, rows, {site, site}, true, rows.size(0), 1),
                     two = interactions_of(golden.decomposition, rows, {site, site}, true, 3, 2);
  expect_close(two.strength, one.strength, {.relative = 1e-10, .absolute = 1e-13}, "strength");
  expect_close(two.curvature, one.curvature, {.relative = 1e-10, .absolute = 1e-13}, "curvature");
  expect_identical(two.row_firings, one.row_firings, "firings");
}
INSTANTIATE_TEST_SUITE_P(Cases, GoldenInteractions, ::testing::Values("plain", "grouped"));

/// What ∂²f is of one neuron, twice by the row's matrix, or by the row's and the column's.
struct Bends {
  at::Tensor twice, both;
};
Bends bends_of(const Decomposition& d, const at::Tensor& x, const ActivationInput& input, std::size_t matrix,
               bool same) {
  const auto given = [&](std::size_t m) {
    const Matrix& one = d.target->matrices()[m];
    const at::Tensor y = x.matmul(one.weight.value.t());
    return one.bias.value.defined() ? y + one.bias.value : y;
  };
  const double step = 1e-4;
  const auto second = [&](const auto& f, const at::Tensor& u) {
    return ((f(u + step) - 2.0 * f(u) + f(u - step)) / (step * step)).abs();
  };
  if (!input.other) {
    const auto f = [&](const at::Tensor& u) {
      return PlainExecutor().activation(input.kind, u.contiguous());
    };
    const at::Tensor bend = second(f, given(matrix));
    return {bend, bend};
  }
  const at::Tensor gate = given(input.gate ? matrix : *input.other),
                   up = given(input.gate ? *input.other : matrix);
  if (!input.gate) return {at::zeros_like(up), at::zeros_like(up)};
  const auto silu = [](const at::Tensor& u) { return u * u.sigmoid(); };
  const at::Tensor twice = second(silu, gate) * up.abs();
  return {twice, same ? twice : ((silu(gate + step) - silu(gate - step)) / (2.0 * step)).abs()};
}

struct Place {
  const char *family, *rows, *columns;
};
class LoopedInteractions : public ::testing::TestWithParam<Place> {};

TEST_P(LoopedInteractions, AreWhatLoopsSay) {
  const auto [family, rows_name, columns_name] = GetParam();
  const Decomposition d = small_decomposition(family, "[{pattern: \"*\", C: 4}]");
  const InteractionSums::Pair pair{*d.sites.find(rows_name), *d.sites.find(columns_name)};
  at::Tensor input = input_of(*d.target);
  if (input.is_floating_point()) input = input.to(at::kDouble);
  const bool same = pair.rows == pair.columns;
  const Interactions found = interactions_of(d, input, pair);

  const CleanPass clean = clean_pass(d, input);
  const at::Tensor g = causal_importance(d, clean, d.ci_parameters.bind({}), d.components.bind({})).lower;
  const auto size = [&](std::size_t site) {
    return (d.sites.columns(g, site) * clean.inputs[site].matmul(d.components.V(site))).abs();
  };
  const at::Tensor p = size(pair.rows), q = size(pair.columns), U = d.components.U(pair.rows).abs(),
                   W = d.components.U(pair.columns).abs();
  const std::size_t matrix = d.sites[pair.rows].matrix;
  const Bends bends =
      bends_of(d, clean.inputs[pair.rows], *activation_input(*d.target, matrix), matrix, same);
  const bool bent = bends.twice.abs().max().item<double>() > 0.0;
  for (std::int64_t c = 0; c < 4; ++c) {
    for (std::int64_t other = 0; other < 4; ++other) {
      double weights = 0.0, own = 0.0, together = 0.0, square = 0.0, bend = 0.0, bend_own = 0.0;
      for (std::int64_t i = 0; i < U.size(1); ++i) {
        weights += U[c][i].item<double>() * W[other][i].item<double>();
        own += std::pow(U[c][i].item<double>(), 2);
      }
      for (std::int64_t n = 0; n < p.size(0); ++n) {
        const double pc = p[n][c].item<double>(), qc = q[n][other].item<double>();
        together += pc * qc;
        square += pc * pc;
        for (std::int64_t i = 0; i < U.size(1); ++i) {
          const double u = U[c][i].item<double>();
          bend += bends.both[n][i].item<double>() * u * W[other][i].item<double>() * pc * qc;
          bend_own += bends.twice[n][i].item<double>() * u * u * pc * pc;
        }
      }
      const double overlap = square > 0.0 ? together / square : 0.0;
      EXPECT_NEAR(found.weight_overlap[c][other].item<double>(), weights / own, 1e-10);
      EXPECT_NEAR(found.activation_overlap[c][other].item<double>(), overlap, 1e-10 * (1.0 + overlap));
      EXPECT_NEAR(found.strength[c][other].item<double>(), weights / own * overlap, 1e-10 * (1.0 + overlap));
      const double curvature = bent && bend_own > 0.0 ? bend / bend_own : 0.0;
      EXPECT_NEAR(found.curvature[c][other].item<double>(), curvature, 1e-5 * (1.0 + curvature));
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Families, LoopedInteractions,
                         ::testing::Values(Place{"plain", "h.0.mlp.c_fc", "h.0.mlp.c_fc"},
                                           Place{"gpt2", "h.1.mlp.c_fc", "h.1.mlp.c_fc"},
                                           Place{"llama", "layers.0.mlp.gate_proj", "layers.0.mlp.gate_proj"},
                                           Place{"llama", "layers.0.mlp.up_proj", "layers.0.mlp.up_proj"},
                                           Place{"llama", "layers.0.mlp.gate_proj", "layers.0.mlp.up_proj"}));

TEST(Interactions, DisjointNeuronsOrPositionsHaveNone) {
  Decomposition d = small_decomposition("residual_mlp", "[{pattern: \"layers.0.mlp_in\", C: 4}]");
  // Subcomponents 0 and 1 share a neuron, 2 has neurons of its own; 3 shares one, and never fires with 0.
  at::Tensor V = at::zeros_like(d.components.V(0)), U = at::zeros_like(d.components.U(0));
  for (const auto& [neuron, c] : {std::pair(0, 0), std::pair(0, 1), std::pair(3, 2), std::pair(0, 3)})
    U[c][neuron] = 1.0;
  at::Tensor rows = at::zeros({3, d.target->features()}, at::kDouble);
  for (std::int64_t n = 0; n < 3; ++n) rows[n][n] = 1.0;
  const at::Tensor x = clean_pass(d, rows).inputs[0];  // rows of the embedding
  const at::Tensor reads = at::linalg_pinv(x);         // [d, 3]: column n is 1 at row n, 0 at the others
  V.select(1, 0).copy_(reads.select(1, 0) + reads.select(1, 1));
  V.select(1, 1).copy_(reads.select(1, 0));
  V.select(1, 2).copy_(reads.select(1, 0));
  V.select(1, 3).copy_(reads.select(1, 2));
  at::Tensor(d.components.V(0)).copy_(V);
  at::Tensor(d.components.U(0)).copy_(U);
  d.components.refresh();
  const at::Tensor strength = interactions_of(d, rows, {0, 0}, /*curvature=*/false).strength;
  const at::Tensor expected = at::tensor({1.0, 0.5, 0.0, 0.0,  //
                                          1.0, 1.0, 0.0, 0.0,  //
                                          0.0, 0.0, 1.0, 0.0,  //
                                          0.0, 0.0, 0.0, 1.0},
                                         at::kDouble)
                                  .view({4, 4});
  expect_close(strength, expected, {.absolute = 1e-9}, "strength");
}

TEST(Interactions, OnlyFirstMatricesOfMlpsFeedAFunction) {
  const auto feeding = [](const char* family) {
    const auto target = target_with_blocks(family, {});
    std::vector<std::string> names;
    for (const Matrix& matrix : target->matrices())
      if (activation_input(*target, matrix.index)) names.push_back(matrix.name);
    return names;
  };
  EXPECT_EQ(feeding("gpt2").front(), "h.0.mlp.c_fc");
  EXPECT_EQ(feeding("induction").size(), 0u);
  EXPECT_EQ(feeding("residual_mlp").size(), 3u);
  const auto llama = target_with_blocks("llama", {});
  EXPECT_EQ(feeding("llama").size(), 2 * llama->blocks());
}

TEST(ActivationSlopes, AreDifferences) {
  const at::Tensor u = at::linspace(-4.0, 4.0, 161, at::kDouble) + 0.013;
  const double step = 1e-5;
  for (const Activation kind :
       {Activation::gelu, Activation::gelu_tanh, Activation::relu, Activation::silu}) {
    const auto f = [&](const at::Tensor& x) { return value_of(kind, x); };
    expect_close(slope_of(kind, u), (f(u + step) - f(u - step)) / (2.0 * step), {.absolute = 1e-9}, "slope");
    expect_close(secant_of(kind, u) * u, f(u), {.absolute = 1e-12}, "secant");
    expect_close(curvature_of(kind, u), (slope_of(kind, u + step) - slope_of(kind, u - step)) / (2.0 * step),
                 {.absolute = 1e-8}, "curvature");
    const at::Tensor zero = at::zeros({1}, at::kDouble);
    expect_close(secant_of(kind, zero), slope_of(kind, zero), {}, "at 0");
    if (kind != Activation::silu)
      expect_close(f(u), PlainExecutor().activation(kind, u), {.absolute = 1e-12}, "value");
  }
}

TEST(FiringPairs, AreWhatAnEinsumSays) {
  const at::Tensor left = uniform_values({5, 3}, 1) * uniform_values({5, 3}, 2).gt(0.0),
                   right = uniform_values({5, 4}, 3) * uniform_values({5, 4}, 4).gt(0.0),
                   m = uniform_values({5, 37}, 5), A = uniform_values({3, 37}, 6),
                   B = uniform_values({4, 37}, 7);
  const at::Tensor sum = uniform_values({3, 4}, 8), before = sum.clone();
  add_firing_pairs(sum, left, right, m, A, B);
  expect_close(sum, before + at::einsum("ni,nj,ik,nk,jk->ij", {left, right, A, m, B}), {.absolute = 1e-12},
               "sum");
}

}  // namespace
}  // namespace vpd::testing
