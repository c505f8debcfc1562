#include "import_state.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/io/safetensors.hpp"
#include "vpd/io/torch_checkpoint.hpp"

namespace vpd {
namespace {

bool replace_prefix(std::string& name, std::string_view prefix, std::string_view by) {
  if (!name.starts_with(prefix)) return false;
  name.replace(0, prefix.size(), by);
  return true;
}

void replace_all(std::string& name, std::string_view part, std::string_view by) {
  for (std::size_t at = name.find(part); at != std::string::npos; at = name.find(part, at + by.size())) {
    name.replace(at, part.size(), by);
  }
}

}  // namespace

std::string newest_name(std::string name) {
  replace_all(name, "_orig_mod.", "");  // of compiled modules
  replace_all(name, "_gates.", "_ci_fns.");
  replace_prefix(name, "patched_model.", "target_model.");
  replace_all(name, ".original.", ".");
  for (const std::string_view ending : {".components.U", ".components.V"}) {
    if (!name.ends_with(ending)) continue;
    std::string site = name.substr(0, name.size() - ending.size());
    replace_prefix(site, "target_model.", "");
    std::replace(site.begin(), site.end(), '.', '-');
    name = fmt::format("_components.{}.{}", site, ending.back());
  }
  replace_prefix(name, "_ci_fns.", "ci_fn._ci_fns.");
  return name;
}

ForeignState::ForeignState(const std::filesystem::path& file) : file_(file) {
  if (file.extension() == ".safetensors") {
    const auto tensors = std::make_shared<SafetensorsFile>(file);
    for (const TensorInfo& info : tensors->tensors()) add(info.name, info.shape, info.scalar_type);
    load_ = [tensors](const std::string& name) { return tensors->load(name); };
  } else {
    const auto checkpoint = std::make_shared<TorchCheckpoint>(file);
    for (const TorchTensorInfo& info : checkpoint->tensors()) add(info.name, info.shape, info.scalar_type);
    load_ = [checkpoint](const std::string& name) { return checkpoint->load(name); };
  }
}

void ForeignState::add(const std::string& name, std::vector<std::int64_t> shape, at::ScalarType type) {
  // Names come back in messages, where control characters could write over what a terminal shows.
  const bool is_plain = std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f; });
  VPD_CHECK(is_plain, DataError, "{}: expected tensors whose names are printable ASCII, found {}",
            file_.string(), quote_foreign(name));
  const std::string newest = newest_name(name);
  const auto [place, is_new] =
      entries_.try_emplace(newest, Entry{name, std::move(shape), at::isFloatingType(type)});
  VPD_CHECK(is_new, DataError, "{}: expected one tensor {}, found {} and {}", file_.string(), newest,
            place->second.name, name);
}

bool ForeignState::has_prefix(std::string_view prefix) const {
  const auto first = entries_.lower_bound(prefix);
  return first != entries_.end() && first->first.starts_with(prefix);
}

std::vector<std::string> ForeignState::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

std::vector<std::string> ForeignState::left(std::string_view prefix) const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) {
    if (name.starts_with(prefix) && !taken_.contains(name)) names.push_back(name);
  }
  return names;
}

const ForeignState::Entry& ForeignState::entry(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found != entries_.end()) return found->second;
  const auto close = nearest(name, names());
  throw DataError(fmt::format("{}: expected a tensor {}, found none of that name among {}{}", file_.string(),
                              name, entries_.size(),
                              close ? fmt::format("; the nearest is {}", *close) : ""));
}

std::vector<std::int64_t> ForeignState::shape(std::string_view name) const { return entry(name).shape; }

at::Tensor ForeignState::load(std::string_view name) const { return load_(entry(name).name).to(at::kFloat); }

at::Tensor ForeignState::take(std::string_view name, at::IntArrayRef expected_shape) {
  const Entry& found = entry(name);
  const std::string where = fmt::format("{}: tensor {}", file_.string(), name);
  VPD_CHECK(expected_shape.equals(found.shape), DataError,
            "{}: expected the shape [{}], found [{}]; check that model and configuration are those of the "
            "checkpoint",
            where, fmt::join(expected_shape.begin(), expected_shape.end(), ", "),
            fmt::join(found.shape, ", "));
  VPD_CHECK(found.is_floating, DataError, "{}: expected real floating-point numbers, found others", where);
  const at::Tensor tensor = load(name);
  const at::Tensor whole = tensor.contiguous();
  const auto* values = whole.const_data_ptr<float>();
  const auto* end = values + whole.numel();
  const auto* bad = std::find_if(values, end, [](float x) { return !std::isfinite(x); });
  VPD_CHECK(bad == end, DataError,
            "{}: expected finite values, found {} at element {}; use a checkpoint from before the training "
            "broke down",
            where, *bad, bad - values);
  taken_.emplace(name);
  return tensor;
}

}  // namespace vpd
