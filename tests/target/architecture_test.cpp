#include "vpd/target/architecture.hpp"

#include <filesystem>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/places.hpp"
#include "vpd/target/target.hpp"

namespace vpd {
namespace {

std::filesystem::path golden_target(const char* name) { return testing::test_data() / name / "target"; }

/// What describe_target() says without weights is what load_target() makes.
void expect_described(const TargetConfig& config) {
  std::vector<std::string> warnings;
  const Architecture description = describe_target(config, warnings);
  const std::unique_ptr<Target> target = load_target(config, {}, warnings);
  ASSERT_EQ(description.matrices.size(), target->matrices().size());
  for (const Matrix& matrix : target->matrices()) {
    const MatrixShape& shape = description.matrices[matrix.index];
    EXPECT_EQ(shape.name, matrix.name);
    EXPECT_EQ(shape.d_in, matrix.d_in()) << matrix.name;
    EXPECT_EQ(shape.d_out, matrix.d_out()) << matrix.name;
    EXPECT_EQ(shape.in_block, matrix.in_block) << matrix.name;
    EXPECT_EQ(shape.embedding, matrix.embedding) << matrix.name;
  }
  std::size_t next = 0;  // stages take the matrices in their order, each once, and feed them one input
  for (const Stage& stage : description.stages) {
    EXPECT_EQ(stage.first, next);
    next = stage.first + stage.count;
    for (std::size_t i = stage.first; i < next; ++i)
      EXPECT_EQ(description.matrices[i].d_in, description.matrices[stage.first].d_in);
    if (stage.attention && stage.count > 0) {
      EXPECT_EQ(stage.attention->width(), description.matrices[stage.first].d_in);
    }
  }
  EXPECT_EQ(next, description.matrices.size());
  EXPECT_EQ(description.has_head, target->head() != nullptr);
  EXPECT_EQ(description.divergence, target->divergence());
  EXPECT_EQ(description.longest_sequence, target->longest_sequence());
  EXPECT_EQ(description.output_width, target->vocabulary_size());
}

TEST(Architecture, OfLlamaSimpleMlpIsThatOfTheTarget) {
  for (const char* name : {"plain", "grouped"}) {
    SCOPED_TRACE(name);
    expect_described(LlamaSimpleMlpTarget{golden_target(name)});
  }
}

TEST(Architecture, OfModelsInHuggingFacesLayoutIsThatOfTheTarget) {
  const std::filesystem::path root = testing::test_data() / "huggingface";
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    if (!entry.is_directory()) continue;
    SCOPED_TRACE(entry.path().filename());
    expect_described(HuggingFaceTarget{entry.path()});
  }
  expect_described(Gpt2Target{root / "gpt2"});
}

}  // namespace
}  // namespace vpd
