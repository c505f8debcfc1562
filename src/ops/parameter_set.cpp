#include "vpd/ops/parameter_set.hpp"

#include <set>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"

namespace vpd {
ParameterSet::ParameterSet(std::vector<TensorSpec> specs, const Numerics& numerics)
    : specs_(std::move(specs)) {
  constexpr std::int64_t alignment = 16;
  std::int64_t total = 0;
  for (const TensorSpec& spec : specs_) {
    offsets_.push_back(total);
    total += (count_elements(spec.shape) + alignment - 1) / alignment * alignment;
  }
  flat_ = at::zeros({total}, numerics.options());
  compute_ = numerics.compute == numerics.wide
                 ? flat_
                 : at::zeros({total}, numerics.options().dtype(numerics.compute));
}

std::int64_t ParameterSet::count() const { return count_elements(specs_); }

at::Tensor ParameterSet::make_gradient() const { return at::zeros_like(flat_); }

at::Tensor ParameterSet::view(const at::Tensor& buffer, std::size_t i) const {
  return buffer.narrow(0, offsets_[i], count_elements(specs_[i].shape)).view(specs_[i].shape);
}

std::vector<Parameter> ParameterSet::bind(const at::Tensor& gradient, bool overwrites_gradient,
                                          DeferredGradients* deferred) const {
  std::vector<Parameter> parameters;
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    parameters.push_back({view(compute_, i), gradient.defined() ? view(gradient, i) : at::Tensor(),
                          overwrites_gradient, deferred});
  }
  return parameters;
}

void ParameterSet::refresh() const {
  if (!compute_.is_same(flat_)) at::Tensor(compute_).copy_(flat_);
}

NamedTensors ParameterSet::named(const at::Tensor& buffer) const {
  NamedTensors tensors;
  for (std::size_t i = 0; i < specs_.size(); ++i) tensors.emplace_back(specs_[i].name, view(buffer, i));
  return tensors;
}

void ParameterSet::load(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  std::set<std::string> known;
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    value(i).copy_(load_checked(file, specs_[i].name, specs_[i].shape));
    known.insert(specs_[i].name);
  }
  for (const TensorInfo& tensor : file.tensors()) {
    VPD_CHECK(known.contains(tensor.name), DataError,
              "{}: found the tensor {}, which this configuration's sites and causal-importance function do "
              "not have: check that the file "
              "belongs to the configuration",
              path.string(), tensor.name);
  }
  refresh();
}

}  // namespace vpd
