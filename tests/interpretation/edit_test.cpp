// Edits against matrices written out in double precision, and against what they have to be.

#include <cmath>

#include "identity_toy.hpp"
#include "io/support.hpp"
#include "support.hpp"
#include "support/golden.hpp"
#include "vpd/base/error.hpp"
#include "vpd/interpretation/edit_effect.hpp"
#include "vpd/interpretation/intervention.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/target/export.hpp"

namespace vpd::testing {
namespace {

using Kind = EditSpec::Kind;

at::Tensor some_rows(const GoldenCase& golden, std::int64_t rows = 3) {
  const auto& data = std::get<TokensData>(golden.config.data.train);
  return TokenDataset(data.path, data.sequence_length, false, 0).batch(0, rows);
}

/// The target with some weights replaced, as plain double tensors: the independent side.
class ReplacedWeights final : public Executor {
 public:
  std::map<std::string, at::Tensor> weights;
  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    const auto found = weights.find(matrix.name);
    if (found == weights.end()) return Executor::linear(matrix, x);
    at::Tensor y = x.matmul(found->second.t());
    return matrix.bias.value.defined() ? y + matrix.bias.value : y;
  }
};

at::Tensor weight_of(const Decomposition& d, std::size_t site) { return d.matrix(site).weight.value; }

class Edits : public ::testing::Test {
 protected:
  const GoldenCase golden{"plain", at::kDouble};
  const Decomposition& d = golden.decomposition;
  const at::Tensor rows = some_rows(golden);
  const std::size_t down = *d.sites.find("h.1.mlp.down_proj"), query = *d.sites.find("h.1.attn.q_proj");
  const at::Tensor original = intervene(d, rows, {}).target;

  std::vector<RankOneEdit> make(const EditSpec& spec) const {
    return make_edits({spec}, d, {.heads = 2, .key_heads = 2});
  }
  at::Tensor edited(const std::vector<RankOneEdit>& edits) const { return intervene(d, rows, edits).edited; }
  at::Tensor with(const std::string& name, const at::Tensor& W) const {
    ReplacedWeights executor;
    executor.weights[name] = W;
    return d.target->forward(rows, executor);
  }
  static double apart(const at::Tensor& a, const at::Tensor& b) { return relative_error(a, b); }
};

TEST_F(Edits, AblatingIsTheWeightWithoutIt) {
  const std::vector<RankOneEdit> edits = make({.kind = Kind::ablate, .key = "h.1.mlp.down_proj:9"});
  const at::Tensor W =
      weight_of(d, down) - at::outer(d.components.U(down)[9], d.components.V(down).select(1, 9));
  EXPECT_LT(apart(edited(edits), with("h.1.mlp.down_proj", W)), 1e-12);
  EXPECT_LT(apart(weight_of(d, down) + weight_change(d, down, edits), W), 1e-12);
  EXPECT_GT(apart(edited(edits), original), 1e-4);
}

TEST_F(Edits, AllOfThemAndDeltaAreTheMatrixOfZeros) {
  std::vector<RankOneEdit> edits;
  for (std::int64_t c = 0; c < d.sites[down].C; ++c)
    for (RankOneEdit& edit : make({.kind = Kind::ablate, .key = to_text({down, c}, d.sites)}))
      edits.push_back(edit);
  const at::Tensor delta = weight_of(d, down) - d.components.V(down).matmul(d.components.U(down)).t();
  EXPECT_LT(apart(edited(edits), with("h.1.mlp.down_proj", delta)), 1e-11);
}

TEST_F(Edits, DoNothingWhereTheyAreToDoNothing) {
  EXPECT_LT(apart(edited(make({.kind = Kind::scale, .key = "h.1.mlp.down_proj:9", .number = 1.0})), original),
            1e-13);
  EXPECT_LT(
      apart(edited(make({.kind = Kind::ablate, .key = "h.1.mlp.down_proj:9", .where = {.importance = 1.0}})),
            original),
      1e-13);
  EXPECT_LT(
      apart(edited(make({.kind = Kind::read, .key = "h.1.attn.q_proj:3", .other = "h.1.attn.q_proj:3"})),
            original),
      1e-12);
  std::vector<RankOneEdit> there_and_back = make({.kind = Kind::ablate, .key = "h.1.mlp.down_proj:9"});
  there_and_back.push_back(there_and_back[0]);
  there_and_back[1].write = -there_and_back[0].write;
  EXPECT_LT(apart(edited(there_and_back), original), 1e-13);
}

TEST_F(Edits, HoldAnActivation) {
  const std::vector<RankOneEdit> edits =
      make({.kind = Kind::activation, .key = "h.1.mlp.down_proj:4", .number = 1.5});
  const at::Tensor u = d.components.U(down)[4], v = d.components.V(down).select(1, 4);
  ReplacedWeights executor;
  executor.weights["h.1.mlp.down_proj"] = weight_of(d, down) - at::outer(u, v);
  class Added final : public ForwardingExecutor {
   public:
    Added(Executor& inner, at::Tensor more) : ForwardingExecutor(&inner), more_(std::move(more)) {}
    at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
      const at::Tensor y = inner().linear(matrix, x);
      return matrix.name == "h.1.mlp.down_proj" ? y + more_ : y;
    }

   private:
    at::Tensor more_;
  } added(executor, 1.5 * u / u.norm());
  EXPECT_LT(apart(edited(edits), d.target->forward(rows, added)), 1e-12);
  EXPECT_THROW(static_cast<void>(weight_change(d, down, edits)), UsageError);
}

TEST_F(Edits, AtSomePositionsChangeNothingBefore) {
  const std::vector<RankOneEdit> edits =
      make({.kind = Kind::ablate, .key = "h.1.mlp.down_proj:9", .where = {.positions = {{5, 7}}}});
  const at::Tensor kl = token_divergence(original, edited(edits)).view({rows.size(0), rows.size(1)});
  EXPECT_LT(kl.narrow(1, 0, 5).abs().max().item<double>(), 1e-14);
  EXPECT_GT(kl.narrow(1, 5, 2).max().item<double>(), 1e-8);
}

TEST_F(Edits, OneHeadIsASlice) {
  const std::vector<RankOneEdit> edits = make({.kind = Kind::ablate, .key = "h.1.attn.q_proj:2", .head = 1});
  const std::int64_t width = d.sites[query].d_out / 2;
  EXPECT_EQ(edits[0].write.narrow(0, 0, width).abs().max().item<double>(), 0.0);
  EXPECT_TRUE(
      at::equal(edits[0].write.narrow(0, width, width), -d.components.U(query)[2].narrow(0, width, width)));
  EXPECT_THROW(make({.kind = Kind::ablate, .key = "h.1.attn.q_proj:2", .head = 2}), UsageError);
  EXPECT_THROW(make({.kind = Kind::ablate, .key = "h.1.mlp.down_proj:2", .head = 0}), UsageError);
}

TEST_F(Edits, ContextsAreTheirMasks) {
  // Keeping everything without Δ is Σ U V; a site's own weight replaced by that says the same.
  ReplacedWeights executor;
  InterventionSettings keep{.context = EditContext::keep_only};
  for (std::size_t i = 0; i < d.sites.size(); ++i)
    executor.weights[d.sites[i].name] = d.components.V(i).matmul(d.components.U(i)).t();
  for (std::int64_t c = 0; c < d.sites.total_C(); ++c) keep.kept.push_back({c});
  EXPECT_LT(apart(intervene(d, rows, {}, keep).edited, d.target->forward(rows, executor)), 1e-12);
  // Without the ninth the same as when it is taken out.
  const std::vector<RankOneEdit> edits = make({.kind = Kind::ablate, .key = "h.1.mlp.down_proj:9"});
  InterventionSettings without = keep;
  std::erase_if(without.kept, [&](const KeptNode& node) { return node.column == edits[0].column; });
  EXPECT_LT(apart(intervene(d, rows, edits, keep).edited, intervene(d, rows, {}, without).edited), 1e-12);
  // Random masks repeat with their seed; an attack does more harm than they do.
  const auto harm = [&](EditContext context) {
    const Intervened done = intervene(d, rows, {}, {.context = context});
    return token_divergence(done.target, done.edited).mean().item<double>();
  };
  EXPECT_EQ(harm(EditContext::stochastic), harm(EditContext::stochastic));
  EXPECT_GT(harm(EditContext::adversarial), harm(EditContext::stochastic));
}

TEST_F(Edits, GreedyTextIsTheArgmax) {
  std::vector<std::int64_t> row = {3, 7, 11};
  const std::vector<std::int64_t> said = generate(d, row, {}, {}, {.tokens = 4}, 0);
  for (const std::int64_t token : said) {
    const at::Tensor logits = intervene(d, at::tensor(row, at::kLong).unsqueeze(0), {}).target;
    EXPECT_EQ(token, logits[-1].argmax().item<std::int64_t>());
    row.push_back(token);
  }
  const GenerationSettings drawn{.tokens = 4, .temperature = 1.5, .seed = 3};
  EXPECT_EQ(generate(d, {3, 7}, {}, {}, drawn, 1), generate(d, {3, 7}, {}, {}, drawn, 1));
  EXPECT_LE(generate(d, {3, 7}, {}, {}, {.tokens = 1000}, 0).size(),
            static_cast<std::size_t>(d.target->longest_sequence()));
}

TEST_F(Edits, AreSaidAsText) {
  EXPECT_EQ(parse_edit(Kind::scale, "a.b:3=-2.5").number, -2.5);
  const EditSpec write = parse_edit(Kind::write, "a.b:3=unembed:\" o\"*3");
  EXPECT_EQ(write.other, "unembed:\" o\"");
  EXPECT_EQ(write.number, 3.0);
  EXPECT_EQ(parse_positions("3:9"), (std::pair<std::int64_t, std::int64_t>{3, 9}));
  EXPECT_EQ(parse_positions("4"), (std::pair<std::int64_t, std::int64_t>{4, 5}));
  EXPECT_EQ(parse_where("importance>0.25"), 0.25);
  for (const char* wrong : {"a.b:3", "a.b:3=", "a.b:3=two"})
    EXPECT_THROW(parse_edit(Kind::scale, wrong), UsageError) << wrong;
  EXPECT_THROW(parse_edit(Kind::ablate, "a.b:3=1"), UsageError);
  for (const char* wrong : {"9:3", "-1", "a", "3:"})
    EXPECT_THROW(parse_positions(wrong), UsageError) << wrong;
  EXPECT_THROW(parse_where("g>0.1"), UsageError);

  const TemporaryDirectory directory;
  write_atomically(directory / "edits.yaml",
                   "- {ablate: a:1, where: {importance: 0.1}}\n- {write: a:2, direction: b:3, strength: "
                   "2}\n- {swap: a:1, with: a:2, head: 1}\n");
  const std::vector<EditSpec> specs = read_edits(directory / "edits.yaml");
  ASSERT_EQ(specs.size(), 3u);
  EXPECT_EQ(specs[0].where.importance, 0.1);
  EXPECT_EQ(specs[1].number, 2.0);
  EXPECT_EQ(specs[2].head, 1);
  nlohmann::ordered_json again = nlohmann::ordered_json::array();
  for (const EditSpec& spec : specs) again.push_back(to_json(spec));
  write_atomically(directory / "again.yaml", again.dump());
  EXPECT_EQ(to_json(read_edits(directory / "again.yaml")[1]), to_json(specs[1]));
  for (const char* wrong : {"ablate: a:1", "- {ablate: a:1, scale: a:1}", "- {scale: a:1}",
                            "- {ablate: a:1, factor: 2}", "- 3", "- {ablate: [}"}) {
    write_atomically(directory / "wrong.yaml", wrong);
    EXPECT_THROW(read_edits(directory / "wrong.yaml"), DataError) << wrong;
  }
}

TEST_F(Edits, AreExportedInPlace) {
  const TemporaryDirectory directory;
  const std::filesystem::path from = golden.directory / "target";
  EXPECT_TRUE(export_target(golden.config.target, {}, directory / "same").empty());
  for (const auto& entry : std::filesystem::directory_iterator(from))
    EXPECT_TRUE(read_text(entry.path()) ==
                read_text(directory / ("same/" + entry.path().filename().string())))
        << entry.path();

  const std::vector<RankOneEdit> edits = make({.kind = Kind::ablate, .key = "h.1.attn.q_proj:2"});
  const auto written = export_target(
      golden.config.target, {{"h.1.attn.q_proj", weight_change(d, query, edits)}}, directory / "edited");
  ASSERT_EQ(written.size(), 1u);
  EXPECT_LT(written[0].relative_error, 1e-5);
  TargetConfig config = golden.config.target;
  std::visit([&](auto& one) { one.path = directory / "edited"; }, config);
  std::vector<std::string> warnings;
  const auto target = load_target(config, d.numerics, warnings);
  PlainExecutor plain;
  EXPECT_LT(apart(target->forward(rows, plain), edited(edits)), 1e-6);
  EXPECT_THROW(export_target(golden.config.target, {}, directory / "edited"), DataError) << "not empty";
  EXPECT_THROW(
      export_target(golden.config.target, {{"h.1.attn.q_proj", 1e-30 * weight_change(d, query, edits)}},
                    directory / "lost"),
      DataError);
  EXPECT_FALSE(std::filesystem::exists(directory / "lost"));
}

TEST_F(Edits, EffectsAreMeansOverTheirPositions) {
  const std::vector<RankOneEdit> edits = make({.kind = Kind::ablate, .key = "h.1.mlp.down_proj:9"});
  const EffectSettings settings{.threshold = 0.3, .near = 2, .wanted = {3, 7}, .resamples = 200};
  EffectMeasure measure(edits, settings);
  const GivenRows data(rows);
  Lanes pool(2);
  const BatchReader reader(d, data, pool, {.rows = 2});
  for (std::int64_t k = 0; reader.rows_of(k) > 0; ++k) measure.add(reader.read(k));
  const EditEffect effect = measure.result();

  const Intervened done = intervene(d, rows, edits, {}, /*want_importance=*/true);
  const std::int64_t B = rows.size(0), T = rows.size(1);
  const at::Tensor kl = token_divergence(done.target, done.edited).view({B, T}),
                   g = done.importance.select(1, edits[0].column).view({B, T});
  const at::Tensor p =
      done.target.softmax(1).index_select(1, at::tensor({3, 7}, at::kLong)).sum(1).view({B, T});
  double near = 0.0, far = 0.0, wanted = 0.0;
  std::int64_t near_count = 0, far_count = 0, important = 0;
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t t = 0; t < T; ++t) {
      const auto g_at = [&](std::int64_t s) { return g[b][s].item<double>(); };
      if (g_at(t) > 0.3) {
        ++important;
        wanted += p[b][t].item<double>();
        continue;
      }
      bool close = false;
      for (std::int64_t s = std::max<std::int64_t>(0, t - 2); s <= std::min(T - 1, t + 2); ++s)
        close = close || g_at(s) > 0.3;
      if (close) near += kl[b][t].item<double>(), ++near_count;
      if (g_at(t) == 0.0) far += kl[b][t].item<double>(), ++far_count;
    }
  }
  EXPECT_EQ(effect.important.count, important);
  EXPECT_EQ(effect.near.count, near_count);
  EXPECT_EQ(effect.far.count, far_count);
  if (near_count > 0) {
    EXPECT_NEAR(effect.near.mean, near / static_cast<double>(near_count), 1e-6);
  }
  if (far_count > 0) {
    EXPECT_NEAR(effect.far.mean, far / static_cast<double>(far_count), 1e-6);
  }
  if (important > 0) {
    EXPECT_NEAR(effect.p_before.mean, wanted / static_cast<double>(important), 1e-6);
  }
  EXPECT_NEAR(effect.all.mean, kl.mean().item<double>(), 1e-6);
  EXPECT_LE(effect.all.low, effect.all.mean);
  EXPECT_GE(effect.all.high, effect.all.mean);
}

TEST(EditsOfTms, AblatingAFeaturesPairZeroesThatOutputAlone) {
  constexpr std::int64_t n = 3;
  const Decomposition d = identity_toy(n);
  const at::Tensor features =
      at::tensor({0.7f, 1.3f, 0.2f, 0.9f, 0.1f, 1.1f, 0.3f, 0.6f, 1.9f, 0.0f, 0.8f, 0.4f}).view({4, n});
  for (std::int64_t j = 0; j < n; ++j) {
    std::vector<EditSpec> pair;
    for (const char* matrix : {"linear1", "linear2"})
      pair.push_back(parse_edit(Kind::ablate, fmt::format("{}:{}", matrix, j)));
    const Intervened done = intervene(d, features, make_edits(pair, d, {}));
    EXPECT_TRUE(at::equal(done.target, features));
    at::Tensor expected = features.clone();
    expected.select(1, j).zero_();
    EXPECT_TRUE(at::equal(done.edited, expected)) << "feature " << j << "\n" << done.edited;
  }
}

}  // namespace
}  // namespace vpd::testing
