// Attributions over data against numbers of an independent program, sums of prompts' edges, backward passes,
// and what must hold.

#include "vpd/interpretation/dataset_attributions.hpp"

#include <map>

#include "interpretation/attribution_forms.hpp"
#include "interpretation_case.hpp"
#include "support/expect_close.hpp"
#include "support/places.hpp"
#include "vpd/interpretation/attribution_graph.hpp"
#include "vpd/target/tms.hpp"

namespace vpd::testing {
namespace {

DatasetAttributions attributions_of(const Decomposition& d, const at::Tensor& rows,
                                    const DatasetAttributionSettings& settings, std::int64_t at_once = 3,
                                    int lanes = 2) {
  AttributionSums sums(d, settings, all_columns(d.sites));
  visit_batches(d, rows, at_once, lanes, [&](const Batch& batch) { sums.add(batch); });
  return sums.attributions();
}

std::string name_of(const Decomposition& d, const Wire& wire) {
  return (wire.source ? d.sites[*wire.source].name : "embedding") + "->" +
         (wire.target ? d.sites[*wire.target].name : "output");
}

class GoldenAttributions : public ::testing::TestWithParam<const char*> {
 protected:
  /// Each of a rule's sums, judged by the larger of the two rules' largest entries: contrasts cancel.
  void compare(const DatasetAttributions& found, const InterpretationCase& golden, const std::string& rule,
               bool absolute) const {
    const SafetensorsFile file(golden.folder / "attributions.safetensors");
    std::map<std::string, at::Tensor> sums;
    for (const SummedWire& one : found.wires) {
      const at::Tensor& sum = absolute ? one.absolute : one.sum;
      if (sum.defined()) sums[name_of(golden.decomposition, one.wire)] = sum;
    }
    std::size_t compared = 0;
    for (const TensorInfo& info : file.tensors()) {
      if (!info.name.starts_with(rule + "/")) continue;
      const std::string pair = info.name.substr(rule.size() + 1);
      ASSERT_TRUE(sums.contains(pair)) << pair;
      const at::Tensor expected = file.load(info.name).to(at::kDouble);
      double largest = expected.abs().max().item<double>();
      if (file.find("complete/" + pair))
        largest = std::max(largest, file.load("complete/" + pair).abs().max().item<double>());
      EXPECT_LT((sums[pair] - expected).abs().max().item<double>(), 1e-6 * largest) << info.name;
      sums.erase(pair);
      ++compared;
    }
    EXPECT_GT(compared, 20u);
    // What the other program left out is 0, or leads into an output.
    for (const auto& [pair, sum] : sums)
      if (!pair.ends_with("->output")) {
        EXPECT_LT(sum.abs().max().item<double>(), 1e-12) << pair;
      }
  }
};

TEST_P(GoldenAttributions, PublishedAndAbsolute) {
  const InterpretationCase golden(GetParam());
  const Decomposition& d = golden.decomposition;
  const DatasetAttributions found = attributions_of(d, golden.rows(), {.absolute = true});
  compare(found, golden, "published", false);
  compare(found, golden, "absolute", true);
  const SafetensorsFile file(golden.folder / "attributions.safetensors");
  const auto expect = [&](const at::Tensor& value, const std::string& name) {
    EXPECT_LT(relative_error(value, file.load(name).to(at::kDouble)), 1e-6) << name;
  };
  expect(found.importance_sum, "importance_sum");
  expect(found.activation_rms, "activation_rms");
  expect(found.logit_rms, "logit_rms");
  std::size_t normalised = 0;
  for (const SummedWire& one : found.wires) {
    const std::string name = "normalised/" + name_of(d, one.wire);
    if (!file.find(name)) continue;
    ++normalised;
    // Of the embedding into the first block everything cancels.
    if (one.wire.source) expect(found.normalised(one), name);
  }
  EXPECT_EQ(normalised, 2u);
}

TEST_P(GoldenAttributions, Complete) {
  const InterpretationCase golden(GetParam());
  compare(attributions_of(golden.decomposition, golden.rows(), {.complete = true}), golden, "complete",
          false);
}

TEST_P(GoldenAttributions, DoNotHangOnTheGauge) {
  InterpretationCase golden(GetParam());
  Decomposition& d = golden.decomposition;
  const at::Tensor rows = golden.rows().narrow(0, 0, 2);
  const DatasetAttributions before = attributions_of(d, rows, {.absolute = true});
  const at::Tensor factor =
      uniform_values({d.sites.total_C()}, 5, 0.3, 3.0) * uniform_values({d.sites.total_C()}, 6).sign();
  for (std::size_t i = 0; i < d.sites.size(); ++i) {
    const at::Tensor own = d.sites.columns(factor, i);
    at::Tensor(d.components.U(i)).mul_(own.unsqueeze(1));
    at::Tensor(d.components.V(i)).div_(own);
  }
  d.components.refresh();
  const DatasetAttributions after = attributions_of(d, rows, {.absolute = true});
  for (std::size_t k = 0; k < before.wires.size(); ++k) {
    const SummedWire &a = before.wires[k], &b = after.wires[k];
    // A target's sign is arbitrary, and that alone.
    const at::Tensor sign =
        a.wire.target ? d.sites.columns(factor, *a.wire.target).sign() : at::ones({1}, at::kDouble);
    const double scale = 1.0 + a.sum.abs().max().item<double>();
    expect_close(b.sum, a.sum * sign, {.absolute = 1e-9 * scale}, name_of(d, a.wire));
    if (a.absolute.defined())
      expect_close(b.absolute, a.absolute, {.absolute = 1e-9 * scale}, name_of(d, a.wire));
  }
}

TEST_P(GoldenAttributions, DoNotHangOnBatchesAndLanes) {
  const InterpretationCase golden(GetParam());
  const at::Tensor rows = golden.rows();
  const DatasetAttributions one = attributions_of(golden.decomposition, rows, {.absolute = true}, 5, 1),
                            two = attributions_of(golden.decomposition, rows, {.absolute = true}, 2, 2);
  for (std::size_t k = 0; k < one.wires.size(); ++k) {
    const double scale = 1.0 + one.wires[k].sum.abs().max().item<double>();
    expect_close(two.wires[k].sum, one.wires[k].sum, {.absolute = 1e-10 * scale}, "sum");
  }
  expect_identical(two.token_count, one.token_count, "tokens");
}
INSTANTIATE_TEST_SUITE_P(Cases, GoldenAttributions, ::testing::Values("plain", "grouped"));

struct Family {
  const char *name, *sites;
};
const char* everything = "[{pattern: \"*\", C: 4}]";
const Family families[] = {{"plain", everything},
                           {"grouped", everything},
                           {"gpt2", everything},
                           {"gpt2", "[{pattern: wte, C: 4}, {pattern: \"*\", C: 4}]"},
                           {"gpt2_untied", "[{pattern: lm_head, C: 4}, {pattern: \"*\", C: 4}]"},
                           {"llama", everything},
                           {"llama", "[{pattern: \"*_proj\", C: 3}]"},
                           {"qwen2", everything},
                           {"qwen3", everything},
                           {"qwen3", "[{pattern: \"*.[qko]_proj\", C: 3}, {pattern: \"*.gate_proj\", C: 3}]"},
                           {"plain", "[{pattern: \"*.[qkv]_proj\", C: 4}, {pattern: \"*.down_proj\", C: 4}]"},
                           {"induction", everything},
                           {"residual_mlp", everything},
                           {"residual_mlp", "[{pattern: \"*mlp_out\", C: 4}]"}};

class Families : public ::testing::TestWithParam<std::tuple<Family, bool>> {
 protected:
  Families() : d(small_decomposition(std::get<0>(GetParam()).name, std::get<0>(GetParam()).sites)) {
    rows = input_of(*d.target);
    if (rows.is_floating_point()) rows = rows.to(at::kDouble);
  }

  Decomposition d;
  at::Tensor rows;
  DatasetAttributionSettings settings{
      .complete = std::get<1>(GetParam()), .absolute = true, .threshold = 0.3};
};

/// Every sum as backward passes give it, whatever route it would take.
std::vector<SummedWire> by_backward_passes(const Decomposition& d, const at::Tensor& rows,
                                           const DatasetAttributionSettings& settings) {
  AttributionContext context{.d = d, .settings = settings, .sites = {}, .anatomy = d.target->anatomy()};
  const std::vector<at::Tensor> columns = all_columns(d.sites);
  for (std::size_t i = 0; i < d.sites.size(); ++i)
    context.sites.push_back(
        {columns[i], d.components.U(i), d.components.V(i), d.components.U(i).norm(2, {1})});
  std::vector<std::unique_ptr<AttributionForm>> forms;
  for (std::size_t t = 0; t <= d.sites.size(); ++t) {
    const std::optional<std::size_t> target = t == d.sites.size() ? std::nullopt : std::optional(t);
    if (target && d.sites[t].embedding) continue;
    const bool embedded =
        d.target->vocabulary_size() > 0 && d.sites.of_matrix()[d.target->anatomy()->embedding] < 0;
    std::vector<Wire> wires;
    for (std::size_t s = 0; s < d.sites.size(); ++s)
      if (!target || d.sites[s].matrix < d.sites[t].matrix)
        if (d.target->head() == nullptr || d.sites[s].matrix != d.target->head()->index)
          wires.push_back({s, target});
    if (embedded) wires.push_back({std::nullopt, target});
    if (!wires.empty()) forms.push_back(backward_form(context, wires));
  }
  visit_batches(d, rows, 2, 1, [&](const Batch& batch) {
    for (const LaneBatch& lane : batch.lanes)
      for (const auto& form : forms) form->add(AttributionRows(context, lane, batch.T));
  });
  std::vector<SummedWire> found;
  for (const auto& form : forms) form->finish(found);
  return found;
}

TEST_P(Families, ClosedFormsAreWhatBackwardPassesGive) {
  const DatasetAttributions found = attributions_of(d, rows, settings, 2, 2);
  std::map<std::string, const SummedWire*> named;
  std::size_t closed = 0;
  for (const SummedWire& one : found.wires) {
    EXPECT_TRUE(named.emplace(name_of(d, one.wire), &one).second) << name_of(d, one.wire) << " comes twice";
    closed += one.wire.route != WireRoute::backward;
  }
  EXPECT_GT(closed, 0u);
  for (const SummedWire& one : by_backward_passes(d, rows, settings)) {
    const std::string name = name_of(d, one.wire);
    if (!named.contains(name)) {  // not a wire: nothing may get through
      EXPECT_EQ(one.sum.abs().max().item<double>(), 0.0) << name;
      continue;
    }
    const SummedWire& ours = *named[name];
    const double scale = std::max(1.0, one.sum.abs().max().item<double>());
    expect_close(ours.sum, one.sum, {.absolute = 1e-9 * scale}, name);
    ASSERT_EQ(ours.absolute.defined(), one.absolute.defined()) << name;
    if (one.absolute.defined()) expect_close(ours.absolute, one.absolute, {.absolute = 1e-9 * scale}, name);
    named.erase(name);
  }
  EXPECT_TRUE(named.empty()) << named.begin()->first << " is no pair that backward passes know";
}
INSTANTIATE_TEST_SUITE_P(Targets, Families,
                         ::testing::Combine(::testing::ValuesIn(families), ::testing::Bool()));

class Prompts : public ::testing::TestWithParam<const char*> {};

TEST_P(Prompts, EdgesAddUpToThem) {
  const Decomposition d = small_decomposition(GetParam(), "[{pattern: \"*\", C: 3}]");
  const at::Tensor rows = input_of(*d.target);
  const DatasetAttributions found = attributions_of(d, rows, {});
  const std::int64_t A = d.sites.total_C();
  at::Tensor edges = at::zeros({A, A}, at::kDouble),  // source, target
      embedding = at::zeros({d.target->vocabulary_size(), A}, at::kDouble);
  Lanes lanes(2);
  for (std::int64_t b = 0; b < rows.size(0); ++b) {
    const CleanPass clean = clean_pass(d, rows.narrow(0, b, 1));
    const at::Tensor g = causal_importance(d, clean, d.ci_parameters.bind({}), d.components.bind({})).lower;
    std::vector<EdgeTarget> targets;
    for (std::int64_t c = 0; c < A; ++c)
      for (std::int64_t t = 0; t < rows.size(1); ++t) targets.push_back({false, c, t});
    incoming_edges(d, rows[b], targets, EdgeRule::published, lanes,
                   [&](std::size_t i, const IncomingEdges& into) {
                     edges.select(1, targets[i].which) += (into.edge * g).sum(0);
                     embedding.select(1, targets[i].which).index_add_(0, rows[b], into.input);
                   });
  }
  const double scale = edges.abs().max().item<double>();
  for (const SummedWire& one : found.wires) {
    if (!one.wire.target) continue;
    const at::Tensor expected =
        one.wire.source ? d.sites.columns(edges.t(), *one.wire.source).t() : embedding;
    expect_close(one.sum, d.sites.columns(expected, *one.wire.target), {.absolute = 1e-9 * scale},
                 name_of(d, one.wire));
  }
  // And there are no other ones.
  for (const SummedWire& one : found.wires)
    if (one.wire.target && one.wire.source)
      d.sites.columns(d.sites.columns(edges.t(), *one.wire.source).t(), *one.wire.target).zero_();
  EXPECT_LT(edges.abs().max().item<double>(), 1e-12);
}
INSTANTIATE_TEST_SUITE_P(Targets, Prompts,
                         ::testing::Values("plain", "grouped", "gpt2", "llama", "qwen2", "qwen3",
                                           "induction"));

TEST(DatasetAttributions, OfALinearStreamByHand) {
  // Without norms what a subcomponent adds to another is the product of their vectors, wherever it is.
  const Decomposition d = small_decomposition("residual_mlp", everything);
  const at::Tensor rows = input_of(*d.target).to(at::kDouble);
  const DatasetAttributions found = attributions_of(d, rows, {});
  const CleanPass clean = clean_pass(d, rows, /*keep_outputs=*/true);
  const at::Tensor g = causal_importance(d, clean, d.ci_parameters.bind({}), d.components.bind({})).lower;
  std::size_t streams = 0, functions = 0;
  for (const SummedWire& one : found.wires) {
    if (!one.wire.target) continue;
    const std::size_t s = *one.wire.source, t = *one.wire.target;
    const at::Tensor U = d.components.U(s), V = d.components.V(t), length = d.components.U(t).norm(2, {1});
    const at::Tensor h = clean.inputs[s].matmul(d.components.V(s));
    for (std::int64_t c = 0; c < 4; ++c) {
      double sum = 0.0;
      for (std::int64_t n = 0; n < h.size(0); ++n) {
        const at::Tensor passed =
            one.wire.route == WireRoute::mlp ? U[c] * clean.outputs[s][n].gt(0.0) : U[c];
        sum += d.sites.columns(g, s)[n][c].item<double>() * h[n][c].item<double>() *
               passed.dot(V.select(1, 2)).item<double>() * length[2].item<double>();
      }
      EXPECT_NEAR(one.sum[c][2].item<double>(), sum, 1e-12) << name_of(d, one.wire);
    }
    (one.wire.route == WireRoute::mlp ? functions : streams) += 1;
  }
  EXPECT_EQ(functions, 3u);  // in -> out of each layer
  EXPECT_EQ(streams, 3u);    // out -> in of each later one
}

TEST(DatasetAttributions, OfChosenColumnsAreThoseOfAll) {
  const Decomposition d = small_decomposition("plain", everything);
  const at::Tensor rows = input_of(*d.target), some = at::tensor({1, 3}, at::kLong);
  const DatasetAttributions all = attributions_of(d, rows, {});
  AttributionSums sums(d, {}, std::vector<at::Tensor>(d.sites.size(), some));
  visit_batches(d, rows, 2, 1, [&](const Batch& batch) { sums.add(batch); });
  const DatasetAttributions chosen = sums.attributions();
  ASSERT_EQ(chosen.wires.size(), all.wires.size());
  for (std::size_t k = 0; k < all.wires.size(); ++k) {
    const auto pick = [&](const at::Tensor& x) {
      const at::Tensor r = all.wires[k].wire.source ? x.index_select(0, some) : x;
      return all.wires[k].wire.target ? r.index_select(1, some) : r;
    };
    expect_close(chosen.wires[k].sum, pick(all.wires[k].sum), {.absolute = 1e-12}, "sum");
    if (all.wires[k].wire.target)
      expect_close(chosen.normalised(chosen.wires[k]), pick(all.normalised(all.wires[k])),
                   {.relative = 1e-9, .absolute = 1e-12}, "normalised");
  }
}

TEST(DatasetAttributions, ToLogitsAreThoseOfTheHead) {
  const Decomposition d = small_decomposition("plain", everything);
  const at::Tensor rows = input_of(*d.target);
  const DatasetAttributions found = attributions_of(d, rows, {});
  const at::Tensor head = d.target->head()->weight.value;
  const at::Tensor logits = clean_pass(d, rows).output;
  std::size_t outputs = 0;
  for (const SummedWire& one : found.wires) {
    if (one.wire.target) continue;
    ++outputs;
    const at::Tensor scale = found.source_weights(one.wire).unsqueeze(1) * logits.square().mean(0).sqrt();
    expect_close(found.to_logits(one, head) * scale, one.sum.matmul(head.t()) * scale.gt(0.0),
                 {.relative = 1e-9, .absolute = 1e-9}, name_of(d, one.wire));
  }
  EXPECT_EQ(outputs, 5u);  // the embedding, and two writers of each block
  EXPECT_EQ(found.token_count.sum().item<std::int64_t>(), rows.numel());
}

TEST(DatasetAttributions, WithoutAResidualStreamAreBackwardPasses) {
  const Numerics exact{at::kCPU, at::kDouble, at::kDouble};
  const TmsConfig config{.n_features = 5, .n_hidden = 3, .n_hidden_layers = 1};
  const Decomposition d = make_decomposition(
      load_run_config(test_data() / "plain" / "config.yaml",
                      {std::string("sites=") + everything, where_it_reads(), "initialize_from=null"}),
      exact, "test", std::make_unique<Tms>(config, initial_tms(config, 1), exact));
  const at::Tensor rows = uniform_values({6, 5}, 3);
  const DatasetAttributions found = attributions_of(d, rows, {});
  const CleanPass clean = clean_pass(d, rows);
  const at::Tensor g = causal_importance(d, clean, d.ci_parameters.bind({}), d.components.bind({})).lower;
  std::size_t compared = 0;
  for (const SummedWire& one : found.wires) {
    EXPECT_EQ(one.wire.route, WireRoute::backward);
    const std::size_t s = *one.wire.source;
    if (!one.wire.target) {
      EXPECT_EQ(one.sum.size(1), 5);
      continue;
    }
    const std::size_t t = *one.wire.target;
    const at::Tensor beta = d.sites.columns(g, s) * clean.inputs[s].matmul(d.components.V(s));
    const at::Tensor expected = beta.sum(0).unsqueeze(1) * d.components.U(s).matmul(d.components.V(t)) *
                                d.components.U(t).norm(2, {1});
    // Matrices follow each other: one that is a site stops everything before it.
    const bool next = d.sites[t].matrix == d.sites[s].matrix + 1;
    expect_close(one.sum, next ? expected : at::zeros_like(expected), {.absolute = 1e-12},
                 name_of(d, one.wire));
    ++compared;
  }
  EXPECT_EQ(compared, 3u);
}

}  // namespace
}  // namespace vpd::testing
