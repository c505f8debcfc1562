#include "vpd/import/torch_checkpoint.hpp"

#include <cstdlib>
#include <fstream>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "io/support.hpp"
#include "pickled.hpp"
#include "support/places.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/safetensors.hpp"
#include "zip_files.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using testing::little_endian;
using testing::pickled_number;
using testing::pickled_text;
using testing::TemporaryDirectory;
using testing::zip_of;
using testing::ZipFile;
using namespace std::string_literals;

const fs::path golden = testing::test_data() / "import";

std::string tuple(const std::vector<std::string>& items) {
  std::string body = "(";
  for (const std::string& item : items) body += item;
  return body + "t";
}

std::string numbers(const std::vector<std::int64_t>& values) {
  std::vector<std::string> items;
  for (const std::int64_t value : values) items.push_back(pickled_number(value));
  return tuple(items);
}

const std::string no_hooks = "ccollections\nOrderedDict\n)R";

// A tensor as torch.save writes it, part by part.
struct Tensor {
  std::string call = "ctorch._utils\n_rebuild_tensor_v2\n";
  std::string storage_type = "ctorch\nFloatStorage\n";
  std::string key = pickled_text("0");
  std::string count = pickled_number(6);
  std::string offset = pickled_number(0);
  std::string shape = numbers({2, 3});
  std::string strides = numbers({3, 1});
  std::string hooks = no_hooks;
  std::string rest = "";

  std::string body() const {
    return call +
           tuple({tuple({pickled_text("storage"), storage_type, key, pickled_text("cpu"), count}) + "Q",
                  offset, shape, strides, "\x89", hooks + rest}) +
           "R";
  }
};

std::string pickle_of(const std::string& tensor) { return "\x80\x02}" + pickled_text("a") + tensor + "s."; }

class Torch : public ::testing::Test {
 protected:
  // Without flushing it to the disk, which thousands of small files would wait for.
  void write_text(const std::string& content) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << content;
  }

  TorchCheckpoint open(const std::string& content) {
    fs::remove(path_);  // an older map goes on showing the older file
    write_text(content);
    return TorchCheckpoint(path_);
  }

  // A checkpoint of one pickle and the storage "0" of six numbers 0, 1, ..., 5.
  std::vector<ZipFile> files(const std::string& pickle, std::size_t padding = 0) {
    std::string storage;
    for (int i = 0; i < 6; ++i) storage += little_endian(static_cast<float>(i));
    return {{.name = "x/data.pkl", .content = pickle},
            {.name = "x/byteorder", .content = "little"},
            {.name = "x/data/0", .content = storage, .local_extra = padding}};
  }

  void expect_rejected(const std::string& content, const std::string& part) {
    write_text(content);
    EXPECT_DATA_ERROR(part, TorchCheckpoint{path_});
    EXPECT_DATA_ERROR(path_.string(), TorchCheckpoint{path_});
  }
  void expect_tensor_rejected(const Tensor& tensor, const std::string& part) {
    expect_rejected(zip_of(files(pickle_of(tensor.body()))), part);
  }

  // The file is read, and the error comes when the tensor is asked for.
  void expect_tensor_unread(const Tensor& tensor, const std::string& part) {
    const TorchCheckpoint checkpoint = open(zip_of(files(pickle_of(tensor.body()))));
    EXPECT_TRUE(checkpoint.tensors().empty());
    EXPECT_DATA_ERROR("expected a tensor 'a', found " + part, checkpoint.load("a"));
    EXPECT_DATA_ERROR("nothing of it was run", checkpoint.load("a"));
    EXPECT_TRUE(testing::contains(checkpoint.unread().at("a"), part)) << checkpoint.unread().at("a");
  }

  TemporaryDirectory directory_;
  fs::path path_ = directory_ / "x.pt";
};

TEST_F(Torch, TensorIsAViewOfTheFile) {
  const at::Tensor expected = at::arange(6, at::kFloat).reshape({2, 3});
  // The storage begins at every place relative to the alignment of its elements.
  for (std::size_t padding = 0; padding < 8; ++padding) {
    at::Tensor tensor;
    {
      const TorchCheckpoint checkpoint = open(zip_of(files(pickle_of(Tensor().body()), padding)));
      ASSERT_EQ(checkpoint.tensors().size(), 1u);
      EXPECT_EQ(checkpoint.tensors()[0].shape, (std::vector<std::int64_t>{2, 3}));
      EXPECT_EQ(checkpoint.find("b"), nullptr);
      tensor = checkpoint.load("a");
    }
    EXPECT_TRUE(at::equal(tensor, expected)) << padding;  // the map outlives the checkpoint
  }
}

TEST_F(Torch, EmptyShapesAndStrides) {
  const auto load = [&](const Tensor& tensor) {
    return open(zip_of(files(pickle_of(tensor.body())))).load("a");
  };
  EXPECT_EQ(load({.offset = pickled_number(5), .shape = ")", .strides = ")"}).item<float>(), 5.0F);
  EXPECT_TRUE(at::equal(load({.shape = numbers({3, 2}), .strides = numbers({1, 3})}),
                        at::arange(6, at::kFloat).reshape({2, 3}).t()));
  EXPECT_TRUE(
      at::equal(load({.offset = pickled_number(2), .shape = numbers({4, 2}), .strides = numbers({0, 3})}),
                at::tensor({2.0F, 5.0F}).expand({4, 2})));
  EXPECT_EQ(load({.offset = pickled_number(6), .shape = numbers({0, 9}), .strides = numbers({9, 1})}).numel(),
            0);
}

TEST_F(Torch, DtypeOfItsOwn) {
  Tensor tensor{.call = "ctorch._utils\n_rebuild_tensor_v3\n",
                .storage_type = "ctorch.storage\nUntypedStorage\n",
                .count = pickled_number(24),
                .rest = "ctorch\nuint16\n"};
  const at::Tensor loaded = open(zip_of(files(pickle_of(tensor.body())))).load("a");
  EXPECT_EQ(loaded.scalar_type(), at::kUInt16);
  EXPECT_EQ(loaded.sizes(), (at::IntArrayRef{2, 3}));
  tensor.rest = "ctorch\nfloat32\n";
  EXPECT_TRUE(at::equal(open(zip_of(files(pickle_of(tensor.body())))).load("a"),
                        at::arange(6, at::kFloat).reshape({2, 3})));
  tensor.rest = "ctorch\nFloatStorage\n";
  expect_tensor_rejected(tensor, "expected the dtype of a tensor, found the name torch.FloatStorage");
  tensor.rest = "ctorch\nquint8\n";
  expect_tensor_unread(tensor, "something that depends on the name 'torch.quint8'");
  tensor.storage_type = "ctorch\nFloatStorage\n";
  tensor.count = pickled_number(6);
  tensor.rest = "ctorch\nint32\n";
  expect_tensor_rejected(tensor, "expected a tensor of its storage's dtype");
}

TEST_F(Torch, MetadataOfATensor) {
  EXPECT_EQ(open(zip_of(files(pickle_of(Tensor{.rest = "}"}.body())))).load("a").numel(), 6);
  EXPECT_EQ(open(zip_of(files(pickle_of(Tensor{.rest = "N"}.body())))).load("a").numel(), 6);
  expect_tensor_unread({.rest = "}" + pickled_text("conj") + "\x88s"},
                       "a tensor whose values are not those in the file (Tensor.resolve_conj");
  expect_tensor_rejected({.rest = "K\x01"}, "expected a dictionary of notes on a tensor, found the number 1");
  expect_tensor_rejected({.rest = "NN"}, "expected a tensor as 6 or 7 values");
}

TEST_F(Torch, TensorsThatAreNone) {
  expect_tensor_rejected({.storage_type = "N"}, "expected the type of a storage, found None");
  expect_tensor_rejected({.storage_type = "ctorch\nfloat32\n"}, "expected the type of a storage");
  expect_tensor_unread({.storage_type = "ctorch\nQInt8Storage\n"},
                       "something that depends on the name 'torch.QInt8Storage'");
  expect_tensor_rejected({.key = "K\x01"}, "expected the key of a storage, found the number 1");
  expect_tensor_rejected({.key = pickled_text("1")}, "none for the storage '1'");
  expect_tensor_rejected({.key = pickled_text("../data.pkl")}, "none for the storage '../data.pkl'");
  expect_tensor_rejected({.count = pickled_number(7)},
                         "expected 7 elements of 4 bytes in the storage '0', found 24 bytes");
  expect_tensor_rejected({.count = pickled_number(5)}, "found 24 bytes");
  expect_tensor_rejected({.count = pickled_number(-1)},
                         "a storage's number of elements as a whole number of at least 0");
  expect_tensor_rejected({.count = "N"}, "found None");
  expect_tensor_rejected({.storage_type = "ctorch\nComplexDoubleStorage\n", .count = pickled_number(1)},
                         "found 24 bytes");
  expect_tensor_rejected({.hooks = "N"}, "expected a tensor without hooks");
  expect_tensor_unread({.hooks = "}NNs"}, "a tensor with hooks");
  expect_tensor_rejected({.offset = pickled_number(-1)}, "a tensor's offset as a whole number of at least 0");
  expect_tensor_rejected({.shape = "]"}, "a tensor's shape as a tuple");
  expect_tensor_rejected({.shape = numbers({-2, 3})},
                         "a tensor's shape as a whole number of at least 0, found the number -2");
  expect_tensor_rejected({.shape = tuple({pickled_text("2"), pickled_number(3)})}, "found the text '2'");
  expect_tensor_rejected({.shape = numbers(std::vector<std::int64_t>(65, 1))}, "a tuple of at most 64");
  expect_tensor_rejected({.call = "ctorch\nFloatStorage\n"}, "expected a call that makes a tensor");
  expect_rejected(zip_of(files(pickle_of(pickled_text("storage") + "Q"))),
                  "expected a storage as a tuple of five, found the text");
  expect_rejected(zip_of(files(pickle_of("(NNNNNtQ"))), "expected a storage as a tuple of five");
  expect_rejected(zip_of(files(pickle_of("ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR"))),
                  "expected the storage of a tensor, found None");
  expect_rejected(zip_of(files(pickle_of("ctorch._utils\n_rebuild_tensor_v2\n)R"))),
                  "expected a tensor as 6 or 7 values");
  expect_rejected(zip_of(files(pickle_of("ctorch._utils\n_rebuild_tensor_v3\n)R"))),
                  "expected a tensor as 7 or 8 values");
  expect_rejected(zip_of(files(pickle_of("ctorch._utils\n_rebuild_parameter\n(N\x89}tR"))),
                  "expected a parameter of a tensor");
}

TEST_F(Torch, TensorsThatLeaveTheirStorage) {
  constexpr std::int64_t huge = std::int64_t{1} << 62;
  const std::string part = "expected a tensor inside its storage of 6 elements, found the shape";
  expect_tensor_rejected({.offset = pickled_number(1)}, part);
  expect_tensor_rejected({.offset = pickled_number(huge)}, part);
  expect_tensor_rejected({.shape = numbers({3, 3})}, part);
  expect_tensor_rejected({.strides = numbers({4, 1})}, part);
  expect_tensor_rejected({.shape = numbers({huge, 1})}, part);
  expect_tensor_rejected({.shape = numbers({huge, huge}), .strides = numbers({0, 0})}, part);
  expect_tensor_rejected({.strides = numbers({huge, huge})}, part);
  expect_tensor_rejected({.offset = pickled_number(7), .shape = numbers({0}), .strides = numbers({1})}, part);
  expect_tensor_rejected({.shape = numbers({6}), .strides = numbers({3, 1})},
                         "expected one stride for each dimension");
  // Stride 0 repeats what is there, but not without end.
  expect_tensor_rejected({.shape = numbers({1 << 28}), .strides = numbers({0})},
                         "not much larger than its storage");
}

TEST_F(Torch, TruthValues) {
  std::vector<ZipFile> parts = files(pickle_of(Tensor{.storage_type = "ctorch\nBoolStorage\n"}.body()));
  parts[2].content = "\0\1\0\1\1\1"s;
  EXPECT_EQ(open(zip_of(parts)).load("a").sum().item<std::int64_t>(), 4);
  parts[2].content[4] = 2;
  const TorchCheckpoint broken = open(zip_of(parts));
  EXPECT_DATA_ERROR("tensor 'a': expected truth values of 0 or 1, found 2 at byte 4", broken.load("a"));
}

TEST_F(Torch, NamesOfTensors) {
  const std::string tensor = Tensor().body();
  const TorchCheckpoint checkpoint =
      open(zip_of(files("\x80\x02}(" + pickled_text("m") + "}" + pickled_text("w") + tensor + "s" +
                        pickled_text("l") + "](" + tensor + "N" + tensor + "eK\x07" + tensor +
                        pickled_text("t") + tensor + "\x85" + pickled_text("n") + "K\x01u.")));
  std::vector<std::string> names;
  for (const TorchTensorInfo& info : checkpoint.tensors()) names.push_back(info.name);
  EXPECT_EQ(names, (std::vector<std::string>{"m.w", "l.0", "l.2", "7", "t.0"}));
  EXPECT_DATA_ERROR("expected a tensor 'm', found none of that name among 5", checkpoint.load("m"));
  expect_rejected(zip_of(files("\x80\x02}(" + pickled_text("a.b") + tensor + pickled_text("a") + "}" +
                               pickled_text("b") + tensor + "su.")),
                  "expected each tensor's name once, found 'a.b' again");
  expect_rejected(
      zip_of(files("\x80\x02}(" + pickled_text("a") + tensor + pickled_text("a") + tensor + "u.")),
      "found 'a' again");
}

// A parameter or a tensor to which attributes were given is the tensor.
TEST_F(Torch, TensorsWithAttributes) {
  const std::string state = "}" + pickled_text("note") + "K\x01s";
  const auto load = [&](const std::string& body) {
    return open(zip_of(files("\x80\x02}" + pickled_text("a") + body + "s."))).load("a");
  };
  const at::Tensor expected = at::arange(6, at::kFloat).reshape({2, 3});
  EXPECT_TRUE(at::equal(load("ctorch._utils\n_rebuild_parameter_with_state\n(" + Tensor().body() + "\x88" +
                             no_hooks + state + "tR"),
                        expected));
  const Tensor parts;
  const std::string arguments = tuple(
      {tuple({pickled_text("storage"), parts.storage_type, parts.key, pickled_text("cpu"), parts.count}) +
           "Q",
       parts.offset, parts.shape, parts.strides, "\x89", parts.hooks});
  const auto typed = [&](const std::string& type) {
    return "ctorch._tensor\n_rebuild_from_type_v2\n(" + parts.call + type + arguments + state + "tR";
  };
  EXPECT_TRUE(at::equal(load(typed("ctorch\nTensor\n")), expected));
  EXPECT_TRUE(at::equal(load(typed("ctorch.nn.parameter\nBuffer\n")), expected));
  // What another type holds is not known.
  EXPECT_DATA_ERROR("something that depends on the name 'foreign.Quantised'",
                    load(typed("cforeign\nQuantised\n")));
  EXPECT_DATA_ERROR("expected a tensor with attributes as 4 values",
                    load("ctorch._tensor\n_rebuild_from_type_v2\n)R"));
}

// What is saved beside the weights, or around them.
TEST_F(Torch, WhatIsNoTensorIsPassedOver) {
  const std::string tensor = Tensor().body();
  const std::string scalar = "cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\n" + pickled_text("f8") +
                             "\x89\x88\x87R(K\x03" + pickled_text("<") + "NNNtb" + "C\x08" +
                             std::string(8, '\x01') + "\x86R";
  const std::string arguments = "cargparse\nNamespace\n)\x81}(" + pickled_text("lr") + scalar +
                                pickled_text("out") + "cpathlib\nPosixPath\n" + pickled_text("runs") +
                                "\x85Rub";
  const std::string list_that_holds_itself =
      "]q\x07h\x07"
      "a";
  const TorchCheckpoint checkpoint = open(zip_of(
      files("\x80\x02}(" + pickled_text("model") + "ccollections\nOrderedDict\n)R" + pickled_text("w") +
            tensor + "s" + pickled_text("epoch") + scalar + pickled_text("args") + arguments +
            pickled_text("f") + "cmain\nloss\n" + pickled_text("seed") + "\x8a\x09" + std::string(9, '\x7f') +
            pickled_text("loop") + list_that_holds_itself + pickled_text("ema") +
            "ccollections\ndefaultdict\n)R" + pickled_text("w") + tensor + "su.")));
  std::vector<std::string> names;
  for (const TorchTensorInfo& info : checkpoint.tensors()) names.push_back(info.name);
  EXPECT_EQ(names, (std::vector<std::string>{"model.w", "ema.w"}));
  EXPECT_TRUE(at::equal(checkpoint.load("model.w"), at::arange(6, at::kFloat).reshape({2, 3})));
  EXPECT_EQ(checkpoint.unread(), (std::map<std::string, std::string, std::less<>>{
                                     {"epoch", "what 'numpy._core.multiarray.scalar' would make"},
                                     {"args", "what 'argparse.Namespace' would make"},
                                     {"f", "the name 'main.loss'"},
                                     {"seed", "a whole number of more than 64 bits"},
                                     {"ema", "what 'collections.defaultdict' would make"}}));
  EXPECT_TRUE(checkpoint.harmful_names().empty());
  EXPECT_DATA_ERROR(
      "expected a tensor 'args', found what 'argparse.Namespace' would make; nothing of it was run",
      checkpoint.load("args"));
}

// Longer than what may hold tensors may be.
TEST_F(Torch, ManyPlainValues) {
  const TorchCheckpoint checkpoint =
      open(zip_of(files("\x80\x02}(" + pickled_text("losses") + "](" + std::string(1'500'000, 'N') + "e" +
                        pickled_text("w") + Tensor().body() + "u.")));
  EXPECT_EQ(checkpoint.tensors().size(), 1u);
}

TEST_F(Torch, VeryDeepValuesAreNotLookedInto) {
  const auto nested = [&](std::size_t levels) {
    return open(zip_of(files("\x80\x02" + std::string(levels, ']') + Tensor().body() +
                             std::string(levels, 'a') + ".")))
        .tensors()
        .size();
  };
  EXPECT_EQ(nested(64), 1u);
  EXPECT_EQ(nested(65), 0u);
  EXPECT_EQ(nested(1'000'000), 0u);
}

TEST_F(Torch, TooManyWays) {
  // 2^30 ways to one tensor.
  std::string body = Tensor().body() + "\x85q\x01";
  for (int i = 0; i < 30; ++i) body += "h\x01h\x01\x86q\x01";
  expect_rejected(zip_of(files("\x80\x02(" + body + "t.")), "at most 4 million values");
  std::string empty = "N\x85q\x01";
  for (int i = 0; i < 30; ++i) empty += "h\x01h\x01\x86q\x01";
  expect_rejected(zip_of(files("\x80\x02(" + empty + "t.")), "at most 4 million values");
}

TEST_F(Torch, DamagedBytes) {
  std::vector<ZipFile> parts = files(pickle_of(Tensor().body()));
  parts[2].crc_error = 1;
  const TorchCheckpoint checkpoint = open(zip_of(parts));
  EXPECT_DATA_ERROR("entry 'x/data/0': expected the CRC-32", checkpoint.load("a"));
  parts[0].crc_error = 1;
  expect_rejected(zip_of(parts), "entry 'x/data.pkl': expected the CRC-32");
}

TEST_F(Torch, CompressedBytes) {
  std::vector<ZipFile> parts = files(pickle_of(Tensor().body()));
  parts[2].method = 8;
  expect_rejected(zip_of(parts), "entry 'x/data/0': expected bytes as they are, found compressed ones");
  parts[0].method = 8;
  expect_rejected(zip_of(parts), "entry 'x/data.pkl': expected bytes as they are, found compressed ones");
}

TEST_F(Torch, OtherFiles) {
  expect_rejected("", "expected a zip archive of torch.save (.pt, .pth), found an empty file");
  expect_rejected("\x80\x02}.", "found a file that begins with");
  expect_rejected("\x80\x02}.", "a Python pickle; save the weights with torch.save");
  expect_rejected("version https://git-lfs.github.com/spec/v1\nsize 10\n",
                  "a Git LFS pointer in place of a file of 10 B");
  expect_rejected(zip_of({{.name = "a.npy", .content = "b"}}), "an .npz archive of NumPy arrays");
  expect_rejected("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.",
                  "found its format of before PyTorch 1.6");
  expect_rejected(zip_of({{.name = "a", .content = "b"}}), "with a data.pkl, found 1 other entries");
  expect_rejected(zip_of({{.name = "data.pkl", .content = "b"}}), "with a data.pkl, found 1 other entries");
  std::vector<ZipFile> parts = files(pickle_of(Tensor().body()));
  parts.push_back({.name = "x/constants.pkl", .content = ""});
  expect_rejected(zip_of(parts), "found a program of TorchScript");
  parts.back().name = "y/data.pkl";
  expect_rejected(zip_of(parts), "expected one data.pkl, found 'x/data.pkl' and 'y/data.pkl'");
  parts.pop_back();
  parts[1].content = "big";
  expect_rejected(zip_of(parts), "expected numbers in little-endian order, found 'big'");
  EXPECT_DATA_ERROR("cannot open the file", TorchCheckpoint{directory_ / "none.pt"});
  EXPECT_DATA_ERROR("expected a regular file, found a directory", TorchCheckpoint{directory_.path()});
}

TEST_F(Torch, EveryTruncationIsRejected) {
  const std::string whole = zip_of(files(pickle_of(Tensor().body())));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_text(whole.substr(0, size));
    EXPECT_THROW(TorchCheckpoint{path_}, DataError) << size;
  }
}

// Whatever a byte is changed to, the checkpoint is read or refused, and never more.
TEST_F(Torch, EveryChangedByteIsSurvived) {
  std::vector<ZipFile> parts = files(pickle_of(Tensor().body()));
  for (ZipFile& file : parts)
    file.crc_error = crc32_of(testing::bytes_of(file.content));  // sums would catch it first
  const std::string whole = zip_of(parts);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (const int value : {0, 1, 0x80, 0xff}) {
      std::string changed = whole;
      changed[i] = static_cast<char>(value);
      write_text(changed);
      try {
        const TorchCheckpoint checkpoint(path_);
        for (const TorchTensorInfo& info : checkpoint.tensors()) {
          const at::Tensor tensor = checkpoint.load(info.name);
          if (tensor.numel() < 1000) tensor.clone();  // every byte; more of them repeat a few without a step
        }
      } catch (const DataError&) {
      }
    }
  }
}

TEST_F(Torch, GoldenFiles) {
  const TorchCheckpoint target(golden / "target" / "model_step_100.pt");
  EXPECT_EQ(target.tensors().size(), 19u);
  // Tied to the embedding: the two share a storage.
  EXPECT_EQ(target.load("lm_head.weight").const_data_ptr(), target.load("wte.weight").const_data_ptr());
  const TorchCheckpoint run(golden / "run" / "model_10.pth");
  EXPECT_EQ(run.find("_components.h-0-mlp-c_fc.V")->shape, (std::vector<std::int64_t>{24, 40}));
  for (const TorchTensorInfo& info : target.tensors()) {
    EXPECT_TRUE(at::equal(target.load(info.name), run.load("target_model." + info.name))) << info.name;
  }
}

TEST_F(Torch, NothingOfAHostileFileIsRun) {
  const TorchCheckpoint checkpoint(golden / "hostile.pth");
  EXPECT_EQ(checkpoint.harmful_names(), std::set<std::string>{"posix.system"});
  EXPECT_EQ(checkpoint.tensors().size(), 1u);
  EXPECT_DATA_ERROR("expected a tensor 'x', found what 'posix.system' would make; nothing of it was run",
                    checkpoint.load("x"));
  EXPECT_FALSE(fs::exists("pwned"));
}

// Checkpoints fresh from the PyTorch that tools/setup installs.
class FreshTorch : public Torch {
 protected:
  void SetUp() override {
    const fs::path root = testing::source_dir(), python = root / ".venv" / "bin" / "python";
    if (!fs::exists(python)) GTEST_SKIP() << "NOT TESTED: no PyTorch at " << python << ": run tools/setup";
    const std::string command = fmt::format("'{}' -W ignore '{}' '{}'", python.string(),
                                            (root / "tests" / "import" / "write_checkpoints.py").string(),
                                            directory_.path().string());
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }

  nlohmann::json read_json(const std::string& name) {
    return nlohmann::json::parse(read_text(directory_ / name));
  }
};

std::string hexadecimal(const at::Tensor& tensor) {
  const at::Tensor whole = tensor.contiguous();
  std::string digits;
  const auto* bytes = static_cast<const unsigned char*>(whole.const_data_ptr());
  for (std::size_t i = 0; i < whole.nbytes(); ++i) digits += fmt::format("{:02x}", bytes[i]);
  return digits;
}

TEST_F(FreshTorch, EveryTensorAsItWasSaved) {
  for (const std::string name : {"dtypes", "layouts_2", "layouts_3", "layouts_4", "layouts_5", "state_dict",
                                 "nested", "attributes", "without_sums"}) {
    const nlohmann::json expected = read_json(name + ".json");
    const TorchCheckpoint checkpoint(directory_ / (name + ".pt"));
    EXPECT_EQ(checkpoint.tensors().size(), expected.size()) << name;
    for (const auto& [key, content] : expected.items()) {
      const TorchTensorInfo* info = checkpoint.find(key);
      ASSERT_NE(info, nullptr) << name << " " << key;
      const at::Tensor tensor = checkpoint.load(key);
      EXPECT_EQ(info->shape, content["shape"].get<std::vector<std::int64_t>>()) << name << " " << key;
      EXPECT_EQ(tensor.sizes().vec(), info->shape) << name << " " << key;
      EXPECT_EQ(hexadecimal(tensor), content["bytes"]) << name << " " << key;
      // A type that safetensors has can be written to it at once, of any strides.
      if (name == "layouts_2") {
        save_safetensors(path_, {{key, tensor}});
        EXPECT_TRUE(at::equal(SafetensorsFile(path_).load(key), tensor)) << key;
      }
    }
  }
}

TEST_F(FreshTorch, EverythingElseIsPassedOver) {
  const nlohmann::json words = read_json("unread.json");
  for (const auto& [name, word] : words.items()) {
    const TorchCheckpoint checkpoint(directory_ / ("unread_" + name + ".pt"));
    EXPECT_EQ(checkpoint.load("good").numel(), 1) << name;
    EXPECT_DATA_ERROR(word.get<std::string>(), checkpoint.load("bad"));
  }
}

TEST_F(FreshTorch, OtherFormatsAreRefusedByTheirNames) {
  EXPECT_DATA_ERROR("before PyTorch 1.6", TorchCheckpoint{directory_ / "refused_legacy.pt"});
  EXPECT_DATA_ERROR("TorchScript", TorchCheckpoint{directory_ / "refused_script.pt"});
}

}  // namespace
}  // namespace vpd
