#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "pickle.hpp"
#include "zip_archive.hpp"

namespace vpd {

// A tensor of a checkpoint: where its elements lie.
struct TensorObject final : PickleObject {
  const ZipEntry* entry = nullptr;  // the storage's bytes
  at::ScalarType type = at::kFloat;
  std::int64_t offset = 0;  // in elements, as are the strides
  std::vector<std::int64_t> shape, strides;
};

// What torch.save puts into a pickle beyond plain values: storages, whose bytes are entries of the archive,
// and the calls that make tensors and parameters of them. Every tensor that it makes lies inside its storage.
class TorchWorld final : public PickleWorld {
 public:
  // `prefix` is what the names of the checkpoint's entries begin with, `where` what messages call the pickle.
  TorchWorld(const ZipArchive& archive, std::string prefix, std::string where)
      : archive_(archive), prefix_(std::move(prefix)), where_(std::move(where)) {}

  bool knows(std::string_view name) const override;
  std::unique_ptr<PickleObject> persistent(const PickleValue& id) const override;
  std::unique_ptr<PickleObject> call(const PickleName& name, const PickleTuple& arguments) const override;

 private:
  void check(bool holds, std::string_view expected, std::string_view found) const;
  std::int64_t whole(const PickleValue& value, std::string_view what) const;
  std::vector<std::int64_t> wholes(const PickleValue& value, std::string_view what) const;
  std::unique_ptr<TensorObject> tensor(const PickleTuple& arguments, const at::ScalarType* type,
                                       std::size_t metadata) const;
  void check_hooks(const PickleValue& hooks) const;
  void check_extent(const TensorObject& tensor) const;

  const ZipArchive& archive_;
  std::string prefix_;
  std::string where_;
};

}  // namespace vpd
