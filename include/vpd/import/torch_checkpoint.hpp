#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

// Checkpoints of PyTorch (torch.save: .pt, .pth), read without running the pickle inside them. Such a file
// is a zip archive of one pickle, which in Python is a program, and of the tensors' bytes. This reader builds
// only tensors, numbers, texts, lists, tuples and dictionaries, and passes over everything else, unread.

namespace vpd {

struct TorchTensorInfo {
  std::string name;  // keys of nested dictionaries and lists joined with '.': "model.wte.weight"
  at::ScalarType scalar_type = at::kFloat;
  std::vector<std::int64_t> shape;
};

// Maps the file into memory and reads the pickle at once; a tensor's bytes are looked at only in load().
class TorchCheckpoint {
 public:
  // Throws DataError naming the file, what was expected, what was found and the cure: another file, the
  // format of before PyTorch 1.6, TorchScript, big-endian numbers; a damaged or deceitful archive; a tensor
  // whose shape and strides lead out of its storage; two tensors of one name.
  explicit TorchCheckpoint(const std::filesystem::path& path);
  ~TorchCheckpoint();
  TorchCheckpoint(TorchCheckpoint&&) noexcept;
  TorchCheckpoint& operator=(TorchCheckpoint&&) noexcept;

  const std::filesystem::path& path() const;
  // In the order of the file.
  const std::vector<TorchTensorInfo>& tensors() const;
  // Null when there is no such tensor.
  const TorchTensorInfo* find(std::string_view name) const;
  // What was passed over (the first thousand of it), by its keys as tensors are: in words, such as "what
  // 'argparse.Namespace' would make".
  const std::map<std::string, std::string, std::less<>>& unread() const;
  // Names in the file with which Python would run programs or code: no honest checkpoint has any.
  const std::set<std::string>& harmful_names() const;
  // The tensor on the CPU, with the file's dtype, shape and strides. Where alignment allows it is a view of
  // the file's map, which it keeps alive: it takes no memory of its own, and must not be written to. Checks
  // the storage's CRC-32. DataError when there is no such tensor, also where something else of that name was
  // passed over, or its bytes are damaged.
  at::Tensor load(std::string_view name) const;

 private:
  struct Content;
  std::unique_ptr<Content> content_;
};

}  // namespace vpd
