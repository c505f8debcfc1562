#pragma once

// Columns of tables as tensors, and back.

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "harvest_state.hpp"
#include "vpd/base/error.hpp"
#include "vpd/io/safetensors.hpp"

namespace vpd {

template <class T>
at::Tensor tensor_of(const std::vector<T>& values) {
  const at::Tensor tensor =
      at::empty({static_cast<std::int64_t>(values.size())}, c10::CppTypeToScalarType<T>::value);
  std::copy(values.begin(), values.end(), tensor.data_ptr<T>());
  return tensor;
}

template <class T>
std::vector<T> vector_of(const at::Tensor& tensor, const std::string& where) {
  VPD_CHECK(tensor.scalar_type() == c10::CppTypeToScalarType<T>::value, DataError,
            "{}: expected {}, found {}; harvest again", where, toString(c10::CppTypeToScalarType<T>::value),
            toString(tensor.scalar_type()));
  const auto* data = tensor.const_data_ptr<T>();
  return {data, data + tensor.numel()};
}

/// Examples of columns, one after the other, by kind and then by rank.
class ExampleTable {
 public:
  void add(const HarvestColumn& column);
  /// As `<prefix>offsets`, `row`, `centre`, `kind`, `key`, `token`, `importance`, `activation`.
  void put(NamedTensors& tensors, const std::string& prefix, std::int64_t width,
           at::ScalarType numbers) const;

  /// Those of a file. Throws DataError.
  void take(const SafetensorsFile& file, const std::string& prefix, std::size_t columns, std::int64_t width);
  std::size_t begin(std::size_t column) const { return static_cast<std::size_t>(offsets_[column]); }
  std::size_t end(std::size_t column) const { return static_cast<std::size_t>(offsets_[column + 1]); }
  ExampleKind kind_at(std::size_t e) const { return static_cast<ExampleKind>(kind_[e]); }
  KeptExample example(std::size_t e) const;

 private:
  std::vector<std::int64_t> offsets_ = {0}, row_, key_;
  std::vector<std::int32_t> centre_, token_;
  std::vector<std::uint8_t> kind_;
  std::vector<float> importance_, activation_;
};

}  // namespace vpd
