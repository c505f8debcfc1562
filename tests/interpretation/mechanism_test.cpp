// What a subcomponent writes along the stream, and attention across tokens, against loops in double
// precision.

#include "vpd/interpretation/mechanism.hpp"

#include <cmath>
#include <map>

#include "support.hpp"
#include "support/golden.hpp"
#include "vpd/base/error.hpp"
#include "vpd/io/tokens.hpp"

namespace vpd::testing {
namespace {

/// Everything that a loop needs: streams by block, what matrices read and gave, queries and keys by block.
class Everything final : public ForwardingExecutor {
 public:
  using ForwardingExecutor::ForwardingExecutor;
  at::Tensor residual(std::size_t block, const at::Tensor& x) override {
    streams[block] = inner().residual(block, x);
    return streams[block];
  }
  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    reads[matrix.name] = x;
    gives[matrix.name] = inner().linear(matrix, x);
    return gives[matrix.name];
  }
  at::Tensor attention(const AttentionCall& call) override {
    calls.push_back(call);
    return inner().attention(call);
  }
  std::map<std::size_t, at::Tensor> streams;
  std::map<std::string, at::Tensor> reads, gives;
  std::vector<AttentionCall> calls;
};

class Mechanism : public ::testing::TestWithParam<const char*> {
 protected:
  const GoldenCase golden{GetParam(), at::kDouble};
  const Decomposition& d = golden.decomposition;
  const at::Tensor rows = [this] {
    const auto& data = std::get<TokensData>(golden.config.data.train);
    return TokenDataset(data.path, data.sequence_length, false, 0).batch(0, 3);
  }();
  const std::int64_t T = rows.size(1);
  Lanes lanes{2};

  std::int64_t column(const std::string& key) const {
    return column_of(subcomponent_of(key, d.sites), d.sites);
  }
  MechanismMeasure measured(const std::vector<RankOneEdit>& edits, const MechanismSettings& settings) {
    // Beside another set, which must change nothing.
    MechanismMeasure measure(d, {edits, ablations_of({1, 2}, d)}, settings);
    const GivenRows data(rows);
    const BatchReader reader(d, data, lanes, {.rows = 2});
    for (std::int64_t k = 0; reader.rows_of(k) > 0; ++k) measure.add(reader.read(k));
    return measure;
  }
};

TEST_P(Mechanism, StreamFiguresAreThoseOfALoop) {
  const at::NoGradGuard no_grad;
  Everything all;
  d.target->forward(rows, all);
  // The attention output is added to what the block read, the down-projection to that and the attention
  // output.
  const std::map<std::string, at::Tensor> in_front = {
      {"h.1.attn.o_proj", all.streams[1]},
      {"h.1.mlp.down_proj", all.streams[1] + all.gives["h.1.attn.o_proj"]}};
  const CleanPass clean = clean_pass(d, rows);
  const at::Tensor g = causal_importance(d, clean, d.ci_parameters.bind({}), d.components.bind({})).lower;
  for (const auto& [name, stream] : in_front) {
    if (!d.sites.find(name)) continue;
    const std::int64_t c = 5, col = column(name + ":5");
    const std::size_t i = *d.sites.find(name);
    double cosine = 0.0, gain = 0.0;
    std::int64_t count = 0;
    const at::Tensor sorted = std::get<0>(g.select(1, col).sort());
    const double threshold = 0.5 * (sorted[20] + sorted[21]).item<double>();
    for (std::int64_t n = 0; n < rows.numel(); ++n) {
      if (!(g[n][col].item<double>() > threshold)) continue;
      double dot = 0.0, yy = 0.0, ss = 0.0;
      const double h = all.reads[name][n].dot(d.components.V(i).select(1, c)).item<double>();
      for (std::int64_t k = 0; k < stream.size(1); ++k) {
        const double y = h * d.components.U(i)[c][k].item<double>(), s = stream[n][k].item<double>();
        dot += y * s;
        yy += y * y;
        ss += s * s;
      }
      cosine += dot / std::sqrt(yy * ss);
      gain += dot / ss;
      ++count;
    }
    ASSERT_GT(count, 0);
    const auto figures =
        measured(ablations_of({col}, d), {.threshold = threshold, .along_stream = true}).stream(0);
    EXPECT_EQ(figures->cosine.count, count);
    EXPECT_NEAR(figures->cosine.mean, cosine / static_cast<double>(count), 1e-9);
    EXPECT_NEAR(figures->gain.mean, gain / static_cast<double>(count), 1e-9);
    EXPECT_LE(figures->gain.low, figures->gain.mean);
  }
  EXPECT_THROW(MechanismMeasure(d, {ablations_of({column("h.1.attn.q_proj:1")}, d)}, {.along_stream = true}),
               UsageError);
  EXPECT_FALSE(measured(ablations_of({0}, d), {}).stream(0));
}

TEST_P(Mechanism, AttentionAcrossIsThatOfALoop) {
  const at::NoGradGuard no_grad;
  const std::vector<std::int64_t> boundary = {rows[0][2].item<std::int64_t>(),
                                              rows[1][4].item<std::int64_t>()};
  const std::vector<RankOneEdit> edits = ablations_of({column("h.0.attn.k_proj:3")}, d);
  const auto mass = [&](Executor* below) {
    Everything all(below);
    d.target->forward(rows, all);
    double sum = 0.0;
    std::int64_t queries = 0;
    for (std::int64_t b = 0; b < rows.size(0); ++b) {
      for (std::int64_t t = 0; t < T; ++t) {
        std::int64_t last = -1;
        for (std::int64_t u = 0; u < t; ++u)
          for (const std::int64_t token : boundary)
            if (rows[b][u].item<std::int64_t>() == token) last = u;
        if (last <= 0) continue;
        ++queries;
        for (const AttentionCall& call : all.calls) {
          const std::int64_t width = call.q.size(1) / call.heads, group = call.heads / call.key_heads;
          for (std::int64_t head = 0; head < call.heads; ++head) {
            const at::Tensor q = call.q[b * T + t].narrow(0, head * width, width);
            std::vector<double> e;
            double total = 0.0, before = 0.0;
            for (std::int64_t u = 0; u <= t; ++u) {
              const at::Tensor k = call.k[b * T + u].narrow(0, head / group * width, width);
              e.push_back(std::exp(q.dot(k).item<double>() / std::sqrt(static_cast<double>(width))));
              total += e.back();
              if (u < last) before += e.back();
            }
            sum += before / total / static_cast<double>(call.heads) / static_cast<double>(all.calls.size());
          }
        }
      }
    }
    return std::pair(sum / static_cast<double>(queries), queries);
  };
  EditedExecutor executor(d, edits, edit_factors(edits, rows.numel(), T, {}, d.numerics.options()));
  const auto [before, queries] = mass(nullptr);
  const auto [after, same_queries] = mass(&executor);
  ASSERT_GT(queries, 0);
  const auto figures = measured(edits, {.boundary = boundary}).across(0);
  EXPECT_EQ(figures->before.count, queries);
  EXPECT_NEAR(figures->before.mean, before, 1e-6);  // attention is looked at in float32
  EXPECT_NEAR(figures->after.mean, after, 1e-6);
  EXPECT_NEAR(figures->change.mean, after - before, 1e-6);
  EXPECT_NE(figures->change.mean, 0.0);
}
INSTANTIATE_TEST_SUITE_P(Cases, Mechanism, ::testing::Values("plain", "grouped"));

}  // namespace
}  // namespace vpd::testing
