// Pairs of terms add up to attention scores, for every family of targets; and their summaries, static
// interactions and heads against numbers of an independent program.

#include <cmath>

#include "support.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "support/expect_error.hpp"
#include "support/golden.hpp"
#include "support/places.hpp"
#include "support/targets.hpp"
#include "vpd/interpretation/attention_pairs.hpp"
#include "vpd/interpretation/head_summary.hpp"
#include "vpd/interpretation/output_value.hpp"
#include "vpd/io/data.hpp"
#include "vpd/passes/clean_pass.hpp"

namespace vpd::testing {
namespace {

const Numerics wide{.device = at::kCPU, .compute = at::kDouble, .wide = at::kDouble};

/// A target with every matrix of its blocks, or those named, decomposed at random.
Decomposition decomposed(const std::string& name, const std::vector<std::string>& patterns = {}) {
  std::unique_ptr<Target> target = target_with_blocks(name, wide);
  const std::vector<MatrixShape> shapes = shapes_of(*target);
  std::string sites;
  for (const MatrixShape& shape : shapes) {
    bool wanted = patterns.empty() && shape.in_block;
    for (const std::string& pattern : patterns) wanted = wanted || matches_pattern(pattern, shape.name);
    if (wanted) sites += fmt::format("{}{{pattern: {}, C: 5}}", sites.empty() ? "" : ", ", shape.name);
  }
  const RunConfig config =
      load_run_config(test_data() / "plain" / "config.yaml",
                      {fmt::format("sites=[{}]", sites), where_it_reads(), "initialize_from=null"});
  Decomposition d = make_decomposition(config, wide, "test", std::move(target));
  for (std::size_t i = 0; i < d.sites.size(); ++i) {
    at::Tensor(d.components.V(i)).copy_(uniform_values(d.components.V(i).sizes(), 50 + 2 * i, -1.0, 1.0));
    at::Tensor(d.components.U(i)).copy_(uniform_values(d.components.U(i).sizes(), 51 + 2 * i, -1.0, 1.0));
  }
  d.components.refresh();
  return d;
}

AttentionTerms all_terms(const Decomposition& d, std::int64_t block) {
  const AttentionBlock attention = attention_of(d, block);
  return AttentionTerms(d, attention, columns_of(d.sites, attention.q), columns_of(d.sites, attention.k));
}

/// The queries and keys that a block's attention is called with.
class CallWatch final : public ForwardingExecutor {
 public:
  explicit CallWatch(std::size_t block) : block_(block) {}
  at::Tensor attention(const AttentionCall& call) override {
    if (call.block == block_) q = call.q, k = call.k;
    return inner().attention(call);
  }
  at::Tensor q, k;

 private:
  std::size_t block_;
};

/// The scores of one row before the softmax, [H, T, T], 0 behind the query, of the target itself.
at::Tensor recorded_scores(const Decomposition& d, const at::Tensor& tokens, std::size_t block) {
  CallWatch watch(block);
  d.target->forward(tokens, watch);
  const AttentionShape shape = d.target->anatomy()->blocks[block].attention->shape;
  const auto heads = [&](const at::Tensor& x, std::int64_t count) {
    return x.view({x.size(0), count, shape.head_width}).transpose(0, 1);
  };
  const at::Tensor k = heads(watch.k, shape.key_heads).repeat_interleave(shape.heads / shape.key_heads, 0);
  return (heads(watch.q, shape.heads).matmul(k.transpose(1, 2)) /
          std::sqrt(static_cast<double>(shape.head_width)))
      .tril();
}

std::vector<const char*> targets_with_attention() {
  std::vector<const char*> names(targets_with_blocks.begin(), targets_with_blocks.end());
  std::erase_if(names, [](const std::string& name) { return name == "residual_mlp"; });
  return names;
}

class EveryFamily : public ::testing::TestWithParam<const char*> {
 protected:
  /// Whether pairs add up to the scores of every head of every block.
  static void expect_sums(const Decomposition& d) {
    const at::NoGradGuard no_grad;
    const at::Tensor tokens = input_of(*d.target).narrow(0, 1, 1);
    const CleanPass clean = clean_pass(d, tokens);
    const auto blocks = static_cast<std::int64_t>(d.target->anatomy()->blocks.size());
    for (std::int64_t block = 0; block < blocks; ++block) {
      const AttentionTerms terms = all_terms(d, block);
      const at::Tensor score = recorded_scores(d, tokens, static_cast<std::size_t>(block)),
                       x = clean.inputs[terms.block.reader()];
      const Tolerance exact{.relative = 0.0, .absolute = 1e-12 * score.abs().max().item<double>()};
      for (std::int64_t head = 0; head < score.size(0); ++head)
        expect_close(pair_scores(terms, x, head).sum(at::IntArrayRef{0, 1}), score[head], exact,
                     fmt::format("block {}, head {}", block, head));
      const LargestPairs largest = largest_pairs(terms, x, 4);
      expect_close(largest.score, score, exact, "the score beside the largest pairs");
      expect_close(largest.contribution.sum(0) + largest.rest, score, exact,
                   "the largest pairs and the rest");
    }
  }
};

TEST_P(EveryFamily, PairsAddUpToTheScores) { expect_sums(decomposed(GetParam())); }

TEST_P(EveryFamily, AMatrixThatIsNoSiteIsOneTerm) {
  const Decomposition d = decomposed(GetParam(), {"*q_proj", "*.attn.q*"});
  const AttentionTerms terms = all_terms(d, 0);
  EXPECT_EQ(terms.key.columns(), 0);
  EXPECT_EQ(terms.key.terms().front(), static_cast<std::int64_t>(OtherTerm::delta));
  expect_sums(d);
}

TEST_P(EveryFamily, ColumnsThatAreNotKeptApartAreOneTerm) {
  const Decomposition d = decomposed(GetParam());
  const AttentionBlock block = attention_of(d, 0);
  const std::int64_t first = d.sites[*block.q].offset;
  const AttentionTerms some(d, block, {first + 3, first + 1}, columns_of(d.sites, block.k)),
      all = all_terms(d, 0);
  const CleanPass clean = clean_pass(d, input_of(*d.target).narrow(0, 0, 1));
  const at::Tensor x = clean.inputs[block.reader()], few = pair_scores(some, x, 0),
                   every = pair_scores(all, x, 0);
  const auto place = [&](OtherTerm term) {
    const auto& terms = some.query.terms();
    return std::find(terms.begin(), terms.end(), static_cast<std::int64_t>(term)) - terms.begin();
  };
  const Tolerance exact{.absolute = 1e-12 * every.abs().max().item<double>()};
  expect_close(few[0], every[3], exact, "a subcomponent that is kept apart");
  expect_close(few[place(OtherTerm::rest)], every[0] + every[2] + every[4], exact, "those that are not");
  expect_close(few[place(OtherTerm::delta)], every[5], exact, "Δ");
}

TEST_P(EveryFamily, NothingDependsOnLengthsAndSigns) {
  const at::NoGradGuard no_grad;
  Decomposition d = decomposed(GetParam());
  const AttentionBlock block = attention_of(d, 0);
  const at::Tensor tokens = input_of(*d.target).narrow(0, 0, 1);
  const std::vector<std::int64_t> offsets = {0, 1, 3};
  struct Found {
    at::Tensor pairs, strength, norms, alignment, output;
  };
  const auto look = [&](double sign) {
    const AttentionTerms terms = all_terms(d, 0);
    const at::Tensor x = clean_pass(d, tokens).inputs[block.reader()];
    const at::Tensor covariance = x.t().matmul(x);
    const OutputValue moved = output_value(d, block, covariance);
    return Found{pair_scores(terms, x, 0),
                 static_interactions(terms, at::full({d.sites.total_C()}, sign), offsets).strength,
                 head_norms(d, *block.q, block.parts.shape.head_width, false), moved.value_alignment,
                 moved.output_alignment};
  };
  const Found before = look(1.0);
  for (std::size_t i = 0; i < d.sites.size(); ++i) {
    at::Tensor(d.components.U(i)).mul_(-3.0);
    at::Tensor(d.components.V(i)).div_(-3.0);
  }
  d.components.refresh();
  const Found after = look(-1.0);  // activations have the other sign now, and so has their usual one
  const auto same = [](const at::Tensor& a, const at::Tensor& b, const char* what) {
    expect_close(a, b, {.absolute = 1e-12 * b.abs().max().item<double>()}, what);
  };
  same(after.pairs, before.pairs, "pairs");
  same(after.strength, before.strength, "static interactions");
  same(after.norms, before.norms, "norms");
  same(after.alignment, before.alignment, "alignment of v");
  same(after.output, before.output, "alignment of o");
}

TEST_P(EveryFamily, StaticInteractionsAreScoresOfInputsAlongTheirDirections) {
  const at::NoGradGuard no_grad;
  const Decomposition d = decomposed(GetParam());
  const AttentionTerms terms = all_terms(d, 0);
  const std::int64_t Q = 2, K = 4, T = 4;
  const at::Tensor V_q = d.components.V(*terms.block.q).select(1, Q),
                   V_k = d.components.V(*terms.block.k).select(1, K);
  const at::Tensor signs = uniform_values({d.sites.total_C()}, 3, -1.0, 1.0).sign().to(at::kDouble);
  const double sigma_q = signs[terms.query.terms()[Q]].item<double>(),
               sigma_k = signs[terms.key.terms()[K]].item<double>();
  // Each position reads a query direction; the first one a key direction besides, made to have h = σ ‖V‖ of
  // both.
  const at::Tensor a = V_q / V_q.norm(), b = V_k / V_k.norm();
  const double overlap = a.dot(b).item<double>();
  const at::Tensor x =
      ((sigma_q - overlap * sigma_k) * a + (sigma_k - overlap * sigma_q) * b) / (1.0 - overlap * overlap);
  const at::Tensor rows = x.expand({T, x.size(0)});
  const std::vector<std::int64_t> offsets = {0, 1, 2, 3};
  const StaticInteractions found = static_interactions(terms, signs, offsets);
  for (std::int64_t head = 0; head < terms.block.parts.shape.heads; ++head) {
    at::Tensor pairs = pair_scores(terms, rows, head)[Q][K];
    if (terms.block.parts.q_norm) {  // static ones leave the norms' denominators out
      const auto rms = [&](const AttentionSide& side, std::int64_t of) {
        const AttentionSide::Values values = side.values(rows, T);
        return (rows[0].dot(&side == &terms.query ? V_q : V_k) /
                values.factor_of(of)[0][&side == &terms.query ? Q : K]);
      };
      pairs = pairs * rms(terms.query, head) * rms(terms.key, terms.block.key_head(head));
    }
    for (const std::int64_t offset : offsets)
      EXPECT_NEAR(found.strength[offset][head][Q][K].item<double>(), pairs[3][3 - offset].item<double>(),
                  1e-11)
          << "head " << head << ", offset " << offset;
  }
}

TEST_P(EveryFamily, ADistanceOfNothingTurnsNothing) {
  const Decomposition d = decomposed(GetParam());
  const AttentionTerms terms = all_terms(d, 0);
  const std::vector<std::int64_t> offsets = {0};
  const at::Tensor ones = at::ones({d.sites.total_C()});
  const std::int64_t share = terms.block.parts.shape.heads / terms.block.parts.shape.key_heads;
  const at::Tensor q = terms.query.vectors() * terms.query.reading().unsqueeze(1),
                   k = (terms.key.vectors() * terms.key.reading().unsqueeze(1)).repeat_interleave(share, 0);
  expect_close(static_interactions(terms, ones, offsets).strength[0],
               q.matmul(k.transpose(1, 2)) / std::sqrt(static_cast<double>(q.size(2))), {.absolute = 1e-12},
               "static interactions at offset 0");
}

TEST_P(EveryFamily, SummariesAreSumsOverPairs) {
  const at::NoGradGuard no_grad;
  const Decomposition d = decomposed(GetParam());
  const AttentionTerms terms = all_terms(d, 0);
  const GivenRows data(input_of(*d.target));
  const std::int64_t T = data.length();
  const std::vector<std::int64_t> offsets = {0, 2, 5};
  constexpr double threshold = 0.1;
  Lanes lanes(2);
  const BatchReader reader(d, data, lanes, {.rows = 2});
  const Batch batch = reader.read(0);
  PairSummary summary(terms, T, offsets, threshold);
  summary.add(batch);
  const std::int64_t Q = terms.query.columns(), K = terms.key.columns();
  for (std::int64_t head = 0; head < terms.block.parts.shape.heads; ++head) {
    std::vector<at::Tensor> parts, fires;
    for (const LaneBatch& lane : batch.lanes) {
      parts.push_back(pair_scores(terms, lane.clean.inputs[terms.block.reader()], head));
      const at::Tensor important = lane.importance.lower.gt(threshold).to(at::kDouble);
      const auto own = [&](const AttentionSide& side) {
        return important.narrow(1, side.terms().front(), side.columns());
      };
      fires.push_back(at::einsum("tq,uk->qktu", {own(terms.query), own(terms.key)}).tril());
    }
    const at::Tensor D = at::stack(parts, 2), both = at::stack(fires, 2);  // [q, k, B, T, T]
    const at::Tensor seen = at::ones({T, T}, at::kBool).tril().expand({2, T, T});
    const at::Tensor flat = D.flatten(0, 1).masked_select(seen).view({D.size(0), D.size(1), -1});
    const at::Tensor z = flat.sum(at::IntArrayRef{0, 1}), centred = z - z.mean();
    const Tolerance close{.absolute = 1e-12 * D.abs().max().item<double>()};
    for (std::size_t i = 0; i < offsets.size(); ++i)
      expect_close(summary.mean()[static_cast<std::int64_t>(i)][head],
                   D.diagonal(-offsets[i], 3, 4).mean({2, 3}), close, "mean by offset");
    const at::Tensor share = ((flat - flat.mean(2, true)) * centred).mean(2) / centred.square().mean();
    expect_close(summary.share()[head], share, {.absolute = 1e-11}, "share");
    EXPECT_NEAR(summary.share()[head].sum().item<double>(), 1.0, 1e-11);
    const at::Tensor keys = at::arange(1, T + 1, at::kDouble).view({1, T, 1}),
                     all_z = D.sum(at::IntArrayRef{0, 1}),
                     within = (all_z - all_z.sum(2, true) / keys).tril();
    expect_close(summary.share_within()[head], (D * within).sum({2, 3, 4}) / within.square().sum(),
                 {.absolute = 1e-11}, "share within queries");
    EXPECT_NEAR(summary.share_within()[head].sum().item<double>(), 1.0, 1e-11);
    EXPECT_NEAR(summary.score_mean()[head].item<double>(), z.mean().item<double>(), 1e-11);
    const at::Tensor count = both.sum({2, 3, 4});
    EXPECT_TRUE(at::equal(summary.both_count(), count.to(at::kLong)));
    ASSERT_GT(count.sum().item<double>(), 0.0);
    const at::Tensor own = D.narrow(0, 0, Q).narrow(1, 0, K);
    expect_close(summary.both_mean()[head], (own * both).sum({2, 3, 4}) / count.clamp_min(1.0), close,
                 "mean where both");
  }
}

TEST_P(EveryFamily, PatternsByOffsetAreTheSoftmaxOfTheScores) {
  const at::NoGradGuard no_grad;
  const Decomposition d = decomposed(GetParam());
  const at::Tensor tokens = input_of(*d.target).narrow(0, 0, 1);
  AttentionByOffset measure(d, 0, tokens.size(1), {0, 1, 6});
  measure.add(tokens, {});
  const at::Tensor pattern = causal_pattern(recorded_scores(d, tokens, 0));
  const at::Tensor wanted = at::stack({pattern.diagonal(0, 1, 2).mean(1), pattern.diagonal(-1, 1, 2).mean(1),
                                       pattern.diagonal(-6, 1, 2).mean(1)},
                                      1);
  expect_close(measure.mean(), wanted, {.absolute = 1e-12}, "attention by offset");
}

INSTANTIATE_TEST_SUITE_P(Targets, EveryFamily, ::testing::ValuesIn(targets_with_attention()),
                         [](const auto& each) { return std::string(each.param); });

TEST(Attention, RefusesWhatHasNone) {
  const auto error_of = [](const auto& work) {
    try {
      work();
    } catch (...) {
      return std::current_exception();
    }
    return std::exception_ptr();
  };
  const Decomposition mlp = decomposed("residual_mlp"), plain = decomposed("plain"),
                      without = decomposed("plain", {"*mlp*"});
  expect_error<UsageError>(error_of([&] { attention_of(mlp, 0); }), "a target with attention", 2);
  expect_error<UsageError>(error_of([&] { attention_of(plain, 2); }), "a block from 0 to 1, found 2", 2);
  expect_error<UsageError>(error_of([&] { attention_of(without, 1); }), "h.1.attn.q_proj or h.1.attn.k_proj",
                           2);
}

TEST(Attention, InductionIsMeasuredWhereARowRepeatsItself) {
  const at::NoGradGuard no_grad;
  const Decomposition d = decomposed("induction");
  const RandomTokens tokens = random_tokens(3, 9, 47, 5);
  EXPECT_EQ(tokens.any.sizes(), (at::IntArrayRef{3, 9}));
  EXPECT_TRUE(at::equal(tokens.repeated.narrow(1, 0, 4), tokens.repeated.narrow(1, 4, 4)));
  EXPECT_LT(tokens.any.max().item<std::int64_t>(), 47);
  const at::Tensor found = induction_scores(d, 1, tokens.repeated, {});
  at::Tensor wanted = at::zeros({2}, at::kDouble);
  for (std::int64_t row = 0; row < 3; ++row) {
    const at::Tensor pattern = causal_pattern(recorded_scores(d, tokens.repeated.narrow(0, row, 1), 1));
    for (std::int64_t t = 4; t < 8; ++t) wanted += pattern.select(1, t).select(1, t - 3) / 12.0;
  }
  expect_close(found, wanted, {.absolute = 1e-12}, "induction scores");
}

TEST(Attention, PositionsMeetPositions) {
  // Token embeddings that are small leave the scores of the toy to its table of positions.
  const at::NoGradGuard no_grad;
  Decomposition d = decomposed("induction");
  for (std::size_t i = 0; i < d.sites.size(); ++i) at::Tensor(d.components.U(i)).mul_(1e-3);
  d.components.refresh();
  const AttentionTerms terms = all_terms(d, 0);
  const at::Tensor x = 1e-3 * clean_pass(d, input_of(*d.target).narrow(0, 0, 1)).inputs[terms.block.reader()];
  const LargestPairs largest = largest_pairs(terms, x, 1);
  EXPECT_EQ(largest.query, std::vector<std::int64_t>{static_cast<std::int64_t>(OtherTerm::position)});
  EXPECT_EQ(largest.key, largest.query);
}

TEST(OutputValues, ChanceIsWhatItsFormulaSays) {
  // E‖W'Wᵀ‖² / E‖WᵀW‖² of Gaussian factors; two ratios of means, so a little off at small widths.
  const std::int64_t d = 48, w = 8;
  const RandomCosines found = random_cosines(w, at::eye(d, at::kDouble), 3);
  const double wide_d = static_cast<double>(d), wide_w = static_cast<double>(w);
  const double expected = wide_w * wide_d / (wide_w * wide_d + (wide_d + wide_w + 1.0) * (wide_d + 1.0));
  EXPECT_EQ(found.pairs, 210);
  for (const at::Tensor& mean : {found.read_mean, found.write_mean}) {
    EXPECT_NEAR(mean[0].item<double>(), expected, 0.05 * expected);
    EXPECT_NEAR(mean[1].item<double>(), mean[0].item<double>(), 1e-12);  // the covariance is the unit matrix
  }
}

struct AttentionCase : GoldenCase {
  AttentionCase(const std::string& name, at::ScalarType number)
      : GoldenCase(name, number),
        folder(test_data() / "interpretation" / name),
        golden(folder / "attention.safetensors"),
        choice(nlohmann::json::parse(read_text(folder / "attention.json"))),
        data(open_dataset(config.data.eval, decomposition.target->input(), 0, DataRole::eval, "test")),
        offsets(choice.at("taus").get<std::vector<std::int64_t>>()),
        ablated(choice.at("ablate").get<std::vector<std::int64_t>>()),
        block(choice.at("block")),
        head(choice.at("head")),
        threshold(choice.at("threshold")) {
    decomposition.ci_parameters.load(folder / "causal_importance.safetensors");
    decomposition.ci_parameters.refresh();
  }

  /// Within the tolerance of the golden numbers in float32, and of how they are stored in float64.
  void expect(const std::string& name, const at::Tensor& found, double tolerance = 2e-5) const {
    const at::Tensor wanted = golden.load(name).to(at::kDouble);
    ASSERT_EQ(found.sizes(), wanted.sizes()) << name;
    EXPECT_LT(relative_error(found.to(at::kDouble).cpu(), wanted), type == at::kDouble ? 1e-6 : tolerance)
        << name;
  }
  /// Pairs [..., query terms, key terms] as golden files have them: Δ and the bias last, the latter 0 where
  /// there is none.
  static at::Tensor with_bias(const at::Tensor& pairs, const AttentionTerms& terms) {
    return at::constant_pad_nd(pairs, {0, 2 - terms.key.others(), 0, 2 - terms.query.others()});
  }
  template <class Measure>
  void read(Measure&& measure) {
    Lanes lanes(2);
    const BatchReader reader(decomposition, *data, lanes, {.rows = 3});
    for (std::int64_t k = 0; reader.rows_of(k) > 0; ++k) measure(reader.read(k));
  }

  std::filesystem::path folder;
  SafetensorsFile golden;
  nlohmann::json choice;
  std::unique_ptr<Dataset> data;
  std::vector<std::int64_t> offsets, ablated;
  std::int64_t block, head;
  double threshold;
};

class AttentionGolden : public ::testing::TestWithParam<std::tuple<const char*, at::ScalarType>> {};

TEST_P(AttentionGolden, EveryNumberIsTheGoldenOne) {
  const at::NoGradGuard no_grad;
  AttentionCase golden(std::get<0>(GetParam()), std::get<1>(GetParam()));
  const Decomposition& d = golden.decomposition;
  const AttentionTerms terms = all_terms(d, golden.block);
  const AttentionBlock& block = terms.block;
  const std::int64_t T = golden.data->length();
  PairSummary summary(terms, T, golden.offsets, golden.threshold);
  ColumnMeasure columns(golden.threshold);
  ReadCovariance everywhere(block, d.sites[block.reader()].d_in, {}, golden.threshold),
      given(block, d.sites[block.reader()].d_in, golden.ablated[1], golden.threshold);
  AttentionByOffset plain(d, block.number, T, golden.offsets);
  std::vector<AttentionByOffset> ablated(2, plain);
  golden.read([&](const Batch& batch) {
    summary.add(batch);
    columns.add(batch);
    everywhere.add(batch);
    given.add(batch);
    plain.add(batch, {});
    for (std::size_t i = 0; i < 2; ++i) ablated[i].add(batch, ablations_of({golden.ablated[i]}, d));
  });

  // Scores of the first tokens of the first row.
  const at::Tensor few =
      golden.data->batch(0, 1).narrow(1, 0, golden.choice.at("pair_positions").get<std::int64_t>());
  const at::Tensor x = clean_pass(d, few).inputs[block.reader()];
  const at::Tensor pairs = pair_scores(terms, x, golden.head);
  golden.expect("pairs", golden.with_bias(pairs.permute({2, 3, 0, 1}), terms).permute({2, 3, 0, 1}));
  golden.expect("score", pairs.sum(at::IntArrayRef{0, 1}));
  const at::Tensor pair = golden.golden.load("without_pair");
  golden.expect("pattern_without",
                causal_pattern(pairs.sum(at::IntArrayRef{0, 1}) -
                               pairs[pair[0].item<std::int64_t>()][pair[1].item<std::int64_t>()]));

  const ColumnFacts facts = columns.facts();
  const StaticInteractions still = static_interactions(terms, facts.sign, golden.offsets);
  golden.expect("static", still.strength);
  const auto kept = [&](const AttentionSide& side) {
    std::vector<std::int64_t> alive;
    for (std::int64_t c = 0; c < side.columns(); ++c)
      if (const std::int64_t column = side.terms()[static_cast<std::size_t>(c)];
          facts.importance[column].item<double>() > 1e-6)
        alive.push_back(column);
    return alive;
  };
  const AttentionTerms alive(d, block, kept(terms.query), kept(terms.key));
  const StaticInteractions of_alive = static_interactions(alive, facts.sign, golden.offsets);
  golden.expect("static_mean", of_alive.mean);
  golden.expect("static_sd", of_alive.sd);

  golden.expect("summary/mean", golden.with_bias(summary.mean().select(1, golden.head), terms));
  golden.expect("summary/share", golden.with_bias(summary.share()[golden.head], terms));
  golden.expect("summary/both_mean", summary.both_mean()[golden.head]);
  EXPECT_TRUE(at::equal(summary.both_count(), golden.golden.load("summary/both_count").to(at::kLong)));

  golden.expect("offsets", plain.mean());
  golden.expect("offsets_ablated", at::stack({ablated[0].mean(), ablated[1].mean()}));
  const auto expect_norms = [&](const std::string& name, std::optional<std::size_t> site) {
    ASSERT_EQ(site.has_value(), golden.golden.find("norms/" + name) != nullptr);
    if (!site) return;
    const at::Tensor norms = head_norms(d, *site, block.parts.shape.head_width, name == "o");
    golden.expect("norms/" + name, norms);
    golden.expect("spread/" + name, spread_of(norms));
  };
  expect_norms("q", block.q);
  expect_norms("k", block.k);
  expect_norms("v", block.v);
  expect_norms("o", block.o);

  const OutputValue moved = output_value(d, block, everywhere.covariance()),
                    of_given = output_value(d, block, given.covariance());
  const auto expect_moved = [&](const std::string& name, const at::Tensor& found,
                                const at::Tensor& found_given) {
    ASSERT_EQ(found.defined(), golden.golden.find("ov/" + name) != nullptr);
    if (!found.defined()) return;
    golden.expect("ov/" + name, found, 2e-3);
    EXPECT_LT(relative_error(found[0], golden.golden.load("ov/" + name).to(at::kDouble)[0]), 2e-5) << name;
    golden.expect("ov_given/" + name, found_given[1], 2e-3);
  };
  expect_moved("read_cosine", moved.read_cosine, of_given.read_cosine);
  expect_moved("write_cosine", moved.write_cosine, of_given.write_cosine);
  expect_moved("value_alignment", moved.value_alignment, of_given.value_alignment);
  expect_moved("output_alignment", moved.output_alignment, of_given.output_alignment);
}

INSTANTIATE_TEST_SUITE_P(Cases, AttentionGolden,
                         ::testing::Combine(::testing::Values("plain", "grouped"),
                                            ::testing::Values(at::kFloat, at::kDouble)),
                         [](const auto& each) {
                           return std::string(std::get<0>(each.param)) +
                                  (std::get<1>(each.param) == at::kDouble ? "_fp64" : "_fp32");
                         });

}  // namespace
}  // namespace vpd::testing
