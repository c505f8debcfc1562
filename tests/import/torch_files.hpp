#pragma once

#include <filesystem>
#include <string>

#include <ATen/ATen.h>

#include "import/zip_archive.hpp"
#include "pickled.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/safetensors.hpp"
#include "zip_files.hpp"

// Checkpoints as torch.save writes them.

namespace vpd::testing {

inline std::string pickled_numbers(at::IntArrayRef values) {
  std::string body = "(";
  for (const std::int64_t value : values) body += pickled_number(value);
  return body + "t";
}

// A dictionary of tensors, each with a storage of its own; float32, float64, bfloat16 and int64.
inline void save_torch(const std::filesystem::path& path, const NamedTensors& tensors) {
  std::vector<ZipFile> files = {{.name = "x/data.pkl"}, {.name = "x/byteorder", .content = "little"}};
  std::string body = "\x80\x02}(";
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor whole = tensor.contiguous();
    const std::string type = whole.scalar_type() == at::kFloat      ? "Float"
                             : whole.scalar_type() == at::kDouble   ? "Double"
                             : whole.scalar_type() == at::kBFloat16 ? "BFloat16"
                                                                    : "Long";
    const std::string key = std::to_string(files.size());
    body += pickled_text(name) + "ctorch._utils\n_rebuild_tensor_v2\n((" + pickled_text("storage") +
            "ctorch\n" + type + "Storage\n" + pickled_text(key) + pickled_text("cpu") +
            pickled_number(whole.numel()) + "tQ" + pickled_number(0) + pickled_numbers(whole.sizes()) +
            pickled_numbers(whole.strides()) +
            "\x89"
            "ccollections\nOrderedDict\n)RtR";
    files.push_back({.name = "x/data/" + key,
                     .content = {static_cast<const char*>(whole.const_data_ptr()), whole.nbytes()}});
  }
  files[0].content = body + "u.";
  write_atomically(path, zip_of(files));
}

// Puts one more value, given by its opcodes, into the dictionary of a file that save_torch() wrote.
inline void add_to_torch(const std::filesystem::path& path, const std::string& name,
                         const std::string& value) {
  std::vector<ZipFile> files;
  const std::string content = read_text(path);
  const ZipArchive archive(bytes_of(content), path.string());
  for (const ZipEntry& entry : archive.entries()) {
    files.push_back({.name = entry.name,
                     .content = {reinterpret_cast<const char*>(entry.bytes.data()), entry.bytes.size()}});
  }
  std::string& pickle = files.front().content;
  pickle.replace(pickle.size() - 2, 2, pickled_text(name) + value + "u.");
  write_atomically(path, zip_of(files));
}

}  // namespace vpd::testing
