#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/io/files.hpp"

// safetensors: eight bytes of little-endian header length, a JSON header, then the tensors' bytes without
// gaps. dtypes: F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL. A tensor of another dtype is listed, but not loaded.

namespace vpd {

struct TensorInfo {
  std::string name;
  std::string dtype;                          // as the file spells it
  std::optional<at::ScalarType> scalar_type;  // nothing where the dtype is none of those above
  std::vector<std::int64_t> shape;
  std::int64_t begin = 0;  // in bytes from the start of the file
  std::int64_t end = 0;
};

/// What a tensor is called, and its shape.
struct TensorSpec {
  std::string name;
  std::vector<std::int64_t> shape;
};

std::int64_t count_elements(at::IntArrayRef shape);
/// Of all of them together.
std::int64_t count_elements(const std::vector<TensorSpec>& specs);

// Reads and checks the header at once and a tensor's bytes only in load(). The file stays open, so it may be
// replaced by a rename meanwhile.
class SafetensorsFile {
 public:
  // Throws DataError naming the file, the tensor, what was expected and what was found: a header that does
  // not fit the file or is not the JSON it has to be, a name that comes twice, byte ranges that overlap,
  // leave gaps, lie outside the file or do not have the size of the shape.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  // In the order of their bytes.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  // Null when there is no such tensor.
  const TensorInfo* find(std::string_view name) const;
  // A tensor of its own on the CPU, with the file's dtype and shape. DataError when there is no such tensor,
  // or its dtype is not known.
  at::Tensor load(std::string_view name) const;
  // Its rows first, …, first + count - 1 alone.
  at::Tensor load_rows(std::string_view name, std::int64_t first, std::int64_t count) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  const TensorInfo& known(std::string_view name) const;
  at::Tensor read(const TensorInfo& info, at::IntArrayRef shape, std::int64_t begin) const;

  InputFile file_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::map<std::string, std::string> metadata_;
};

// DataError unless the header lists a floating-point tensor of exactly `expected_shape` under that name.
void check_header(const SafetensorsFile& file, std::string_view name, at::IntArrayRef expected_shape);

// Loads a weight that check_header() accepts, all of it finite, as float32 (or, where told, float64) on the
// CPU. Anything else is a DataError.
at::Tensor load_checked(const SafetensorsFile& file, std::string_view name, at::IntArrayRef expected_shape,
                        at::ScalarType type = at::kFloat);

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// Writes atomically. Tensors may be on any device and of any strides; one at a time is copied to contiguous
// CPU memory. UsageError for a name that comes twice or a dtype the format does not have, DataError when
// writing fails.
void save_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace vpd
