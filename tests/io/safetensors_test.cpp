#include "vpd/io/safetensors.hpp"

#include <cmath>
#include <limits>

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "support.hpp"
#include "support/device_case.hpp"

namespace vpd {
namespace {

using testing::TemporaryDirectory;

// A file of the given header and so many zero bytes after it.
std::string raw_file(const std::string& header, std::size_t data_size) {
  const std::uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof(size)) + header +
         std::string(data_size, '\0');
}

class Safetensors : public ::testing::Test {
 protected:
  void expect_rejected(const std::string& content, const std::string& part) {
    write_atomically(path_, content);
    EXPECT_DATA_ERROR(part, SafetensorsFile{path_});
    EXPECT_DATA_ERROR(path_.string(), SafetensorsFile{path_});
  }
  void expect_header_rejected(const std::string& header, std::size_t data_size, const std::string& part) {
    expect_rejected(raw_file(header, data_size), part);
  }

  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "x.safetensors";
};

TEST_F(Safetensors, EveryDtypeComesBackAsItWas) {
  NamedTensors saved;
  for (const at::ScalarType type : {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong,
                                    at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
    saved.emplace_back(c10::toString(type), at::arange(7, at::kFloat).sub(3).to(type));
  }
  saved.emplace_back("scalar", at::full({}, 2.5));
  saved.emplace_back("empty", at::empty({3, 0, 2}));
  save_safetensors(path_, saved, {{"key", "value ü"}});

  const SafetensorsFile file(path_);
  EXPECT_EQ(file.tensors().size(), saved.size());
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"key", "value ü"}}));
  for (const auto& [name, tensor] : saved) {
    const TensorInfo* info = file.find(name);
    ASSERT_NE(info, nullptr) << name;
    EXPECT_EQ(info->scalar_type, tensor.scalar_type()) << name;
    EXPECT_EQ(info->begin % static_cast<std::int64_t>(tensor.element_size()), 0) << name;
    const at::Tensor loaded = file.load(name);
    EXPECT_EQ(loaded.sizes(), tensor.sizes()) << name;
    EXPECT_TRUE(at::equal(loaded, tensor)) << name;
  }
}

TEST_F(Safetensors, StridesDoNotMatter) {
  const at::Tensor base = at::arange(24, at::kFloat).reshape({4, 6});
  save_safetensors(
      path_,
      {{"transposed", base.t()}, {"slice", base.slice(1, 1, 5, 2)}, {"expanded", base[0].expand({3, 6})}});
  const SafetensorsFile file(path_);
  EXPECT_TRUE(at::equal(file.load("transposed"), base.t()));
  EXPECT_TRUE(at::equal(file.load("slice"), base.slice(1, 1, 5, 2)));
  EXPECT_TRUE(at::equal(file.load("expanded"), base[0].expand({3, 6})));
}

TEST_F(Safetensors, LoadedTensorOwnsItsBytes) {
  save_safetensors(path_, {{"a", at::ones({2})}});
  at::Tensor loaded;
  {
    const SafetensorsFile file(path_);
    loaded = file.load("a");
    save_safetensors(path_, {{"a", at::zeros({2})}});
    EXPECT_TRUE(at::equal(file.load("a"), at::ones({2})))
        << "the file that was opened, not the one that replaced it";
  }
  loaded.add_(1);
  EXPECT_TRUE(at::equal(loaded, at::full({2}, 2.0)));
}

TEST_F(Safetensors, ReadsAHeaderWrittenElsewhere) {
  const float values[2] = {1.5f, -2.0f};
  std::string content =
      raw_file(R"({"b":{"data_offsets":[4,8],"shape":[1],"dtype":"F32"},"__metadata__":{"format":"pt"},)"
               R"("a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}   )",
               0);
  content.append(reinterpret_cast<const char*>(values), sizeof(values));
  write_atomically(path_, content);
  const SafetensorsFile file(path_);
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.tensors()[0].name, "a");
  EXPECT_EQ(file.load("b").item<float>(), -2.0f);
  EXPECT_EQ(file.metadata().at("format"), "pt");
}

TEST_F(Safetensors, DoublesKeepTheirBitsWhereAskedFor) {
  const at::Tensor x = at::full({2}, 1.0 / 3.0, at::kDouble);
  save_safetensors(path_, {{"a", x}, {"b", x * std::numeric_limits<double>::infinity()}});
  const SafetensorsFile file(path_);
  EXPECT_TRUE(load_checked(file, "a", {2}, at::kDouble).equal(x));
  EXPECT_EQ(load_checked(file, "a", {2}).scalar_type(), at::kFloat);
  EXPECT_DATA_ERROR("expected finite values, found 2", load_checked(file, "b", {2}, at::kDouble));
  EXPECT_THROW(load_checked(file, "a", {2}, at::kLong), UsageError);
}

TEST_F(Safetensors, MissingTensorIsNamed) {
  save_safetensors(path_, {{"a", at::ones({2})}});
  const SafetensorsFile file(path_);
  EXPECT_EQ(file.find("b"), nullptr);
  EXPECT_DATA_ERROR("expected a tensor 'b', found none of that name among 1", file.load("b"));
  EXPECT_DATA_ERROR("expected a tensor 'b'", load_checked(file, "b", {2}));
}

TEST_F(Safetensors, TruncatedFilesAreRejected) {
  save_safetensors(path_, {{"a", at::ones({4})}, {"b", at::ones({5})}});
  const std::string whole = read_text(path_);
  expect_rejected("", "found 0 bytes");
  expect_rejected(whole.substr(0, 7), "found 7 bytes");
  expect_rejected(whole.substr(0, 20), "truncated or not a safetensors file");
  expect_rejected(whole.substr(0, whole.size() - 1), "tensor 'b': expected its bytes within the 35 bytes");
  expect_rejected(whole + "x", "expected the file to end with its last tensor");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_atomically(path_, whole.substr(0, size));
    EXPECT_THROW(SafetensorsFile{path_}, DataError) << size;
  }
}

TEST_F(Safetensors, HeaderLengthBeyondTheFileIsRejected) {
  for (const std::uint64_t size :
       {std::uint64_t{1000}, std::uint64_t{1} << 40, ~std::uint64_t{0}, ~std::uint64_t{7}}) {
    expect_rejected(std::string(reinterpret_cast<const char*>(&size), sizeof(size)) + "{}", "header length");
  }
}

TEST_F(Safetensors, AnotherFormatIsNamed) {
  expect_rejected(
      "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1048576\n",
      "expected a safetensors file, found a Git LFS pointer in place of a file of 1 MiB; run `git lfs");
  expect_rejected("<!doctype html>", "found a page in HTML");
  expect_rejected("Entry!", "found the text 'Entry!'");
  expect_rejected(std::string("PK\x03\x04") + std::string(26, '\0') + "model/data.pkl",
                  "found a file of torch.save");
  expect_rejected("\x93NUMPY\x01x", "found a NumPy array");
  expect_rejected("GGUF\x03xxxxx", "llama.cpp");
}

TEST_F(Safetensors, MalformedHeadersAreRejected) {
  expect_header_rejected("{", 0, "does not parse");
  expect_header_rejected("[]", 0, "expected a JSON object as header, found array");
  expect_header_rejected("\xff\xfe", 0, "does not parse");
  expect_header_rejected(R"({"a":3})", 0, "tensor 'a': expected an object");
  expect_header_rejected(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4,
                         "expected a string 'dtype', found none");
  expect_header_rejected(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4,
                         "expected a list 'shape', found none");
  expect_header_rejected(R"({"a":{"dtype":"F32","shape":[1]}})", 4,
                         "expected a list 'data_offsets', found none");
  expect_header_rejected(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4,
                         "non-negative integers");
  expect_header_rejected(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4,
                         "non-negative integers");
  expect_header_rejected(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"z":0}})", 4, "found 'z'");
  expect_header_rejected(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4]}})", 4, "[begin, end]");
  expect_header_rejected(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "[begin, end]");
  expect_header_rejected(R"({"__metadata__":{"a":1}})", 0, "expected a string as 'a'");
  expect_header_rejected(R"({"__metadata__":[]})", 0, "expected an object of strings");
}

// It matters where the tensor is asked for, and nobody may ask.
TEST_F(Safetensors, ATensorOfAnUnknownDtypeIsListed) {
  // Five bytes, which no size of an item has to divide: there are dtypes of less than a byte.
  write_atomically(path_, raw_file(R"({"w":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[0,5]},)"
                                   R"("a":{"dtype":"F32","shape":[1],"data_offsets":[5,9]}})",
                                   9));
  const SafetensorsFile file(path_);
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.find("w")->dtype, "F8_E4M3");
  EXPECT_EQ(file.find("w")->scalar_type, std::nullopt);
  EXPECT_EQ(file.load("a").numel(), 1);
  EXPECT_DATA_ERROR(
      "tensor 'w': expected a dtype among F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL, found F8_E4M3",
      file.load("w"));
  EXPECT_DATA_ERROR("expected a floating-point dtype (F64, F32, F16 or BF16), found F8_E4M3",
                    load_checked(file, "w", {2, 2}));
  expect_header_rejected(R"({"w":{"dtype":"F4","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", 4,
                         "a size that fits in 64 bits");
  expect_header_rejected(R"({"w":{"dtype":"F4","shape":[4],"data_offsets":[1,4]}})", 4, "a gap between them");
}

TEST_F(Safetensors, DuplicateNamesAreRejected) {
  expect_header_rejected(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                         R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                         2, "found 'a' twice");
}

TEST_F(Safetensors, SizeMustBeThatOfTheShape) {
  expect_header_rejected(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8,
                         "expected 12 bytes for F32 [3], found data_offsets [0, 8], 8 bytes");
  expect_header_rejected(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
                         "expected a size that fits in 64 bits");
  expect_header_rejected(R"({"a":{"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}})", 0,
                         "expected a size that fits in 64 bits");
  expect_header_rejected(R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4,
                         "non-negative integers");
}

TEST_F(Safetensors, OverlapsAndGapsAreRejected) {
  const auto two = [](int begin_b, int end_b) {
    return fmt::format(R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":[0,4]}},)"
                       R"("b":{{"dtype":"U8","shape":[4],"data_offsets":[{},{}]}}}})",
                       begin_b, end_b);
  };
  expect_header_rejected(two(2, 6), 6, "the two overlap");
  expect_header_rejected(two(0, 4), 4, "the two overlap");
  expect_header_rejected(two(5, 9), 9, "a gap between them");
  expect_header_rejected(two(4, 8), 9, "expected the file to end with its last tensor");
  expect_header_rejected(two(4, 8), 7, "expected its bytes within the 7 bytes");
  expect_header_rejected(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2, "a gap between them");
}

TEST_F(Safetensors, BoolBytesMustBeZeroOrOne) {
  std::string content = raw_file(R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", 2);
  content.back() = 2;
  write_atomically(path_, content);
  EXPECT_DATA_ERROR("expected BOOL bytes of 0 or 1, found 2 at element 1", SafetensorsFile(path_).load("a"));
}

TEST_F(Safetensors, CheckedLoadConvertsToFloat) {
  save_safetensors(path_, {{"half", at::full({2, 3}, 0.5, at::kHalf)},
                           {"bf16", at::full({2}, 0.5, at::kBFloat16)},
                           {"double", at::full({}, 0.1, at::kDouble)},
                           {"int", at::ones({2}, at::kInt)}});
  const SafetensorsFile file(path_);
  EXPECT_TRUE(at::equal(load_checked(file, "half", {2, 3}), at::full({2, 3}, 0.5)));
  EXPECT_TRUE(at::equal(load_checked(file, "bf16", {2}), at::full({2}, 0.5)));
  EXPECT_EQ(load_checked(file, "double", {}).item<float>(), 0.1f);
  EXPECT_DATA_ERROR("tensor 'half': expected the shape [3, 2], found [2, 3]",
                    load_checked(file, "half", {3, 2}));
  EXPECT_DATA_ERROR("tensor 'int': expected a floating-point dtype (F64, F32, F16 or BF16), found I32",
                    load_checked(file, "int", {2}));
}

TEST_F(Safetensors, CheckedLoadFindsWhatIsNotFinite) {
  at::Tensor weight = at::ones({3, 4});
  weight[1][2] = std::nan("");
  save_safetensors(path_, {{"one", weight.clone()}});
  EXPECT_DATA_ERROR(
      "tensor 'one': expected finite values, found 1 that is NaN or infinite, first at index [1, 2]",
      load_checked(SafetensorsFile(path_), "one", {3, 4}));
  weight[0][3] = -std::numeric_limits<float>::infinity();
  save_safetensors(path_, {{"two", weight}, {"half", weight.to(at::kHalf)}});
  const SafetensorsFile file(path_);
  EXPECT_DATA_ERROR("found 2 that are NaN or infinite, first at index [0, 3]",
                    load_checked(file, "two", {3, 4}));
  EXPECT_DATA_ERROR("found 2 that are NaN or infinite, first at index [0, 3]",
                    load_checked(file, "half", {3, 4}));
}

TEST_F(Safetensors, SavingRefusesWhatTheFormatCannotHold) {
  EXPECT_ERROR_AS(UsageError, "tensor 'a': expected names that come once",
                  save_safetensors(path_, {{"a", at::ones({1})}, {"a", at::ones({1})}}));
  EXPECT_ERROR_AS(UsageError, "are not __metadata__",
                  save_safetensors(path_, {{"__metadata__", at::ones({1})}}));
  EXPECT_ERROR_AS(UsageError, "found ComplexFloat",
                  save_safetensors(path_, {{"a", at::ones({1}, at::kComplexFloat)}}));
  EXPECT_ERROR_AS(UsageError, "found an undefined one", save_safetensors(path_, {{"a", at::Tensor()}}));
  EXPECT_ERROR_AS(UsageError, "in UTF-8", save_safetensors(path_, {{"\xff", at::ones({1})}}));
  EXPECT_EQ(testing::count_entries(directory_.path()), 0u);
}

TEST_F(Safetensors, FullDiskKeepsTheOldFile) {
  const testing::SmallDisk disk;
  if (!disk.mounted()) GTEST_SKIP() << "NOT TESTED: mounting a small tmpfs needs root";
  const auto path = disk.path() / "x.safetensors";
  save_safetensors(path, {{"a", at::ones({2})}});
  EXPECT_DATA_ERROR("x.safetensors: cannot write the file: No space left on device",
                    save_safetensors(path, {{"a", at::ones({100'000})}}));
  EXPECT_TRUE(at::equal(SafetensorsFile(path).load("a"), at::ones({2})));
  EXPECT_EQ(testing::count_entries(disk.path()), 1u);
}

TEST_F(Safetensors, CudaTensorsAreSaved) {
  if (!testing::cuda_is_usable()) GTEST_SKIP() << "NOT TESTED: this build or this machine has no CUDA";
  const at::Tensor values = at::arange(6, at::kFloat).reshape({2, 3});
  save_safetensors(path_, {{"a", values.cuda().t()}});
  EXPECT_TRUE(at::equal(SafetensorsFile(path_).load("a"), values.t()));
}

}  // namespace
}  // namespace vpd
