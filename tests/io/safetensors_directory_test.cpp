#include "vpd/io/safetensors_directory.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/support.hpp"
#include "vpd/io/files.hpp"

namespace vpd::testing {
namespace {

namespace fs = std::filesystem;

constexpr const char* index = "model.safetensors.index.json";

/// Tensors a and b in one shard, c in another.
class Shards : public ::testing::Test {
 protected:
  Shards() {
    save_safetensors(directory / "model-00001-of-00002.safetensors",
                     {{"a", at::full({2}, 1.0)}, {"b", at::full({3}, 2.0)}});
    save_safetensors(directory / "model-00002-of-00002.safetensors", {{"c", at::full({4}, 3.0)}});
    write_index(R"("a": "model-00001-of-00002.safetensors", "b": "model-00001-of-00002.safetensors",
                   "c": "model-00002-of-00002.safetensors")");
  }

  void write_index(const std::string& entries) const {
    write_atomically(directory / index,
                     R"({"metadata": {"total_size": 36}, "weight_map": {)" + entries + "}}");
  }
  SafetensorsDirectory open() const { return SafetensorsDirectory(directory.path()); }

  TemporaryDirectory directory;
};

TEST_F(Shards, AreReadWhereTheIndexPlacesThem) {
  const SafetensorsDirectory shards = open();
  EXPECT_EQ(shards.files().size(), 2u);
  EXPECT_EQ(shards.file_of("b").path().filename(), "model-00001-of-00002.safetensors");
  EXPECT_TRUE(at::equal(shards.file_of("c").load("c"), at::full({4}, 3.0)));
  EXPECT_TRUE(shards.has("a"));
  EXPECT_FALSE(shards.has("d"));
  ASSERT_EQ(shards.paths().size(), 3u);
  EXPECT_EQ(shards.paths().back(), directory / index);
  EXPECT_DATA_ERROR("expected a tensor 'd', found none of that name among 3", shards.file_of("d"));
}

TEST_F(Shards, AreNotReadWhereThereIsOneFile) {
  save_safetensors(directory / "model.safetensors", {{"d", at::zeros({1})}});
  const SafetensorsDirectory files = open();
  ASSERT_EQ(files.paths().size(), 1u);
  EXPECT_TRUE(files.has("d"));
  EXPECT_DATA_ERROR("model.safetensors: expected a tensor 'a'", files.file_of("a"));
}

TEST_F(Shards, AMissingOneIsNamed) {
  fs::remove(directory / "model-00002-of-00002.safetensors");
  EXPECT_DATA_ERROR("expected the shard model-00002-of-00002.safetensors beside it", open());
}

TEST_F(Shards, ATruncatedOneIsNamed) {
  fs::resize_file(directory / "model-00001-of-00002.safetensors", 40);
  EXPECT_DATA_ERROR("model-00001-of-00002.safetensors: expected a safetensors header", open());
}

TEST_F(Shards, AnIndexThatPlacesAnAbsentTensorIsRefused) {
  write_index(R"("a": "model-00001-of-00002.safetensors", "c": "model-00001-of-00002.safetensors")");
  EXPECT_DATA_ERROR(
      "model-00001-of-00002.safetensors: expected a tensor 'c', which model.safetensors.index.json places "
      "there",
      open());
}

TEST_F(Shards, AnIndexThatIsNoneIsRefused) {
  write_atomically(directory / index, "{");
  EXPECT_DATA_ERROR("expected a JSON object with a weight_map, found a syntax error", open());
  write_atomically(directory / index, "[]");
  EXPECT_DATA_ERROR("found array", open());
  write_atomically(directory / index, "{}");
  EXPECT_DATA_ERROR("weight_map from tensors to files, found none", open());
  write_index("");
  EXPECT_DATA_ERROR("found an empty one", open());
  write_index(R"("a": 1)");
  EXPECT_DATA_ERROR("expected the name of a file for the tensor 'a', found 1", open());
  for (const char* outside : {R"("a": "../model.safetensors")", R"("a": "/etc/passwd")", R"("a": "")"}) {
    write_index(outside);
    EXPECT_DATA_ERROR("expected a file beside the index", open());
  }
}

TEST_F(Shards, AreReadWithoutAnIndexWhereTheyAreWhole) {
  fs::remove(directory / index);
  const SafetensorsDirectory shards = open();
  EXPECT_EQ(shards.files().size(), 2u);
  EXPECT_TRUE(at::equal(shards.file_of("c").load("c"), at::full({4}, 3.0)));
  ASSERT_EQ(shards.paths().size(), 2u);
  EXPECT_DATA_ERROR("expected a tensor 'd', found none of that name among 3", shards.file_of("d"));
  // What lies beside them is none of them.
  save_safetensors(directory / "._model-00001-of-00002.safetensors", {});
  save_safetensors(directory / "expected.safetensors", {{"a", at::zeros({1})}});
  save_safetensors(directory / "consolidated-00001-of-00001.safetensors", {{"a", at::zeros({1})}});
  EXPECT_EQ(open().files().size(), 2u);
}

TEST_F(Shards, OneIsReadWithoutAnIndex) {
  const TemporaryDirectory alone;
  save_safetensors(alone / "model-00001-of-00001.safetensors", {{"a", at::zeros({1})}});
  EXPECT_TRUE(SafetensorsDirectory(alone.path()).has("a"));
}

TEST_F(Shards, WithoutAnIndexThatAreNoWholeSetAreRefused) {
  fs::remove(directory / index);
  save_safetensors(directory / "model-00002-of-00002.safetensors", {{"a", at::zeros({1})}});
  EXPECT_DATA_ERROR(
      "expected each tensor in one shard, found 'a' in model-00001-of-00002.safetensors and in "
      "model-00002-of-00002.safetensors, and no model.safetensors.index.json",
      open());
  fs::rename(directory / "model-00002-of-00002.safetensors", directory / "model-00002-of-00003.safetensors");
  EXPECT_DATA_ERROR(
      "found those of two sets, model-00001-of-00002.safetensors and model-00002-of-00003.safetensors",
      open());
  fs::remove(directory / "model-00002-of-00003.safetensors");
  EXPECT_DATA_ERROR("found 1 of 2 and no model-00002-of-00002.safetensors: copy it there", open());
  EXPECT_DATA_ERROR("or a whole set of shards", open());
  for (const char* none :
       {"model-00003-of-00002.safetensors", "model-0-of-1.safetensors", "model-a-of-1.safetensors",
        "model-of-1.safetensors", "-of-1.safetensors", "model-1-of-1x.safetensors"}) {
    fs::rename(directory / "model-00001-of-00002.safetensors", directory / none);
    EXPECT_DATA_ERROR("found neither", open());
    fs::rename(directory / none, directory / "model-00001-of-00002.safetensors");
  }
}

TEST_F(Shards, NoFilesAreNamed) {
  fs::remove(directory / index);
  for (const char* name : {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"})
    fs::remove(directory / name);
  EXPECT_DATA_ERROR("expected model.safetensors, or model.safetensors.index.json beside its shards", open());
  write_atomically(directory / "pytorch_model.bin", "");
  EXPECT_DATA_ERROR("save the model again as safetensors", open());
}

}  // namespace
}  // namespace vpd::testing
