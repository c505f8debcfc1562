// A pass may begin at any block, and executors may see, change and stack up.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/expect_close.hpp"
#include "support/targets.hpp"

namespace vpd::testing {
namespace {

/// Notes the residual stream of every block.
class Watching final : public ForwardingExecutor {
 public:
  using ForwardingExecutor::ForwardingExecutor;

  at::Tensor residual(std::size_t block, const at::Tensor& x) override {
    EXPECT_EQ(block, streams.size());
    streams.push_back(x);
    return x;
  }
  at::Tensor attention(const AttentionCall& call) override {
    EXPECT_EQ(call.block, attended++);
    return ForwardingExecutor::attention(call);
  }
  at::Tensor norm(const NormCall& call, const at::Tensor& x) override {
    places.push_back(call.place);
    return ForwardingExecutor::norm(call, x);
  }
  AddedNorm add_norm(const NormCall& call, const at::Tensor& x, const at::Tensor& added) override {
    places.push_back(call.place);
    return ForwardingExecutor::add_norm(call, x, added);
  }

  at::Tensor activation(Activation kind, const at::Tensor& x) override {
    ++activated;
    return ForwardingExecutor::activation(kind, x);
  }
  at::Tensor gated(const at::Tensor& gate, const at::Tensor& up) override {
    ++activated;
    return ForwardingExecutor::gated(gate, up);
  }
  at::Tensor positions(const at::Tensor& rows) override {
    ++placed;
    return ForwardingExecutor::positions(rows);
  }

  std::vector<at::Tensor> streams;
  std::vector<NormPlace> places;
  std::size_t attended = 0, activated = 0, placed = 0;
};

/// Another residual stream before one block.
class Patched final : public ForwardingExecutor {
 public:
  Patched(std::size_t block, at::Tensor x) : block_(block), x_(std::move(x)) {}
  at::Tensor residual(std::size_t block, const at::Tensor& x) override { return block == block_ ? x_ : x; }

 private:
  std::size_t block_;
  at::Tensor x_;
};

class PassStarts : public ::testing::TestWithParam<const char*> {};

TEST_P(PassStarts, FromAnyBlockToTheSameBits) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const Numerics numerics{
        .device = at::kCPU, .compute = type, .wide = type == at::kDouble ? at::kDouble : at::kFloat};
    const at::NoGradGuard no_grad;
    const std::unique_ptr<Target> target = target_with_blocks(GetParam(), numerics);
    const at::Tensor x = input_of(*target).to(target->features() > 0 ? numerics.wide : at::kLong);
    Watching watching;
    const at::Tensor whole = target->forward(x, watching);
    ASSERT_EQ(watching.streams.size(), target->blocks() + 1);
    EXPECT_GE(target->blocks(), 2u);
    for (std::size_t b = 0; b <= target->blocks(); ++b) {
      PlainExecutor plain;
      expect_identical(target->forward(x, plain, {b, watching.streams[b]}), whole,
                       "block " + std::to_string(b));
    }
  }
}

TEST_P(PassStarts, MatricesKnowTheirBlock) {
  const std::unique_ptr<Target> target = target_with_blocks(GetParam(), {});
  for (const Matrix& matrix : target->matrices()) {
    const std::size_t dot = matrix.name.find('.');
    const std::size_t expected = matrix.in_block     ? std::stoul(matrix.name.substr(dot + 1))
                                 : matrix.index == 0 ? 0
                                                     : target->blocks();
    EXPECT_EQ(target->block_of(matrix), expected) << matrix.name;
  }
}

TEST_P(PassStarts, AChangedStreamIsWhatFollowingBlocksRead) {
  const Numerics numerics{.device = at::kCPU, .compute = at::kDouble, .wide = at::kDouble};
  const at::NoGradGuard no_grad;
  const std::unique_ptr<Target> target = target_with_blocks(GetParam(), numerics);
  const at::Tensor x = input_of(*target).to(target->features() > 0 ? at::kDouble : at::kLong);
  Watching watching;
  const at::Tensor whole = target->forward(x, watching);
  for (std::size_t b = 0; b <= target->blocks(); ++b) {
    const at::Tensor changed = watching.streams[b] * 0.7 + 0.1;
    Patched patched(b, changed);
    PlainExecutor plain;
    const at::Tensor found = target->forward(x, patched);
    expect_identical(found, target->forward(x, plain, {b, changed}), "block " + std::to_string(b));
    EXPECT_FALSE(found.equal(whole));
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, PassStarts, ::testing::ValuesIn(targets_with_blocks),
                         [](const auto& one) { return std::string(one.param); });

TEST(Executors, SeeAttentionEveryNormAndActivation) {
  const auto places = [](const char* name) {
    const std::unique_ptr<Target> target = target_with_blocks(name, {});
    Watching watching;
    target->forward(at::arange(10, at::kLong).view({2, 5}), watching);
    EXPECT_EQ(watching.attended, target->blocks()) << name;
    EXPECT_EQ(watching.activated, target->blocks()) << name;
    EXPECT_EQ(watching.placed, std::string(name) == "gpt2" ? 1u : 0u);
    EXPECT_EQ(std::count(watching.places.begin(), watching.places.end(), NormPlace::last), 1) << name;
    return watching.places.size() - 1;
  };
  EXPECT_EQ(places("plain"), 2 * target_with_blocks("plain", {})->blocks());
  EXPECT_EQ(places("gpt2"), 2 * target_with_blocks("gpt2", {})->blocks());
  EXPECT_EQ(places("qwen3"), 4 * target_with_blocks("qwen3", {})->blocks());  // heads have norms of their own
}

/// Attention as it was in another pass.
class FrozenAttention final : public ForwardingExecutor {
 public:
  explicit FrozenAttention(std::vector<at::Tensor> mixed, Executor* inner = nullptr)
      : ForwardingExecutor(inner), mixed_(std::move(mixed)) {}
  at::Tensor attention(const AttentionCall& call) override { return mixed_[call.block]; }

 private:
  std::vector<at::Tensor> mixed_;
};

class AttentionOutputs final : public ForwardingExecutor {
 public:
  at::Tensor attention(const AttentionCall& call) override {
    mixed.push_back(ForwardingExecutor::attention(call));
    return mixed.back();
  }
  std::vector<at::Tensor> mixed;
};

TEST(Executors, Compose) {
  const at::NoGradGuard no_grad;
  const std::unique_ptr<Target> target = target_with_blocks("gpt2", {});
  const at::Tensor one = at::arange(10, at::kLong).view({2, 5}), other = one.flip(1).contiguous();
  AttentionOutputs outputs;
  target->forward(other, outputs);
  // What follows attention reads what it gave on the other input, and a recorder on top sees it.
  FrozenAttention frozen(outputs.mixed);
  std::vector<int> slot(target->matrices().size(), -1);
  std::size_t projection = 0;
  while (target->matrices()[projection].name != "h.1.attn.c_proj") ++projection;
  slot[projection] = 0;
  RecordingExecutor recording(slot, 1, /*keep_outputs=*/true, /*block=*/1, &frozen);
  const at::Tensor mixed = target->forward(one, recording);
  expect_identical(recording.inputs[0], outputs.mixed[1], "what c_proj read");
  FrozenAttention alone(outputs.mixed);
  expect_identical(mixed, target->forward(one, alone), "under a recorder");
  PlainExecutor plain;
  EXPECT_FALSE(mixed.equal(target->forward(one, plain)));
  expect_identical(target->forward(one, alone, {1, recording.residual_stream}), mixed, "from block 1");
}

}  // namespace
}  // namespace vpd::testing
