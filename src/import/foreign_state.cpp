#include "foreign_state.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include <ATen/ATen.h>

#include "names.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/import/torch_checkpoint.hpp"
#include "vpd/io/safetensors.hpp"

namespace vpd {
namespace {

std::string quoted(const std::vector<std::string>& names) {
  std::vector<std::string> each;
  for (const std::string& name : names) each.push_back(quote_foreign(name));
  return join_words(each);
}

}  // namespace

ForeignState::ForeignState(const std::filesystem::path& file) : file_(file) {
  std::vector<Entry> found;
  if (file.extension() == ".safetensors") {
    const auto tensors = std::make_shared<SafetensorsFile>(file);
    for (const TensorInfo& info : tensors->tensors()) {
      const bool is_floating = info.scalar_type && at::isFloatingType(*info.scalar_type);
      found.push_back({info.name, info.shape, is_floating, info.dtype});
    }
    load_ = [tensors](const std::string& name) { return tensors->load(name); };
  } else {
    const auto checkpoint = std::make_shared<TorchCheckpoint>(file);
    for (const TorchTensorInfo& info : checkpoint->tensors()) {
      found.push_back(
          {info.name, info.shape, at::isFloatingType(info.scalar_type), c10::toString(info.scalar_type)});
    }
    unread_ = checkpoint->unread();
    harmful_names_.assign(checkpoint->harmful_names().begin(), checkpoint->harmful_names().end());
    load_ = [checkpoint](const std::string& name) { return checkpoint->load(name); };
  }
  std::vector<std::string> names;
  for (const Entry& entry : found) names.push_back(unwrapped_name(entry.name));
  place_ = find_model(names);
  if (!place_.certain) {
    std::vector<std::string> places = place_.others;
    places.insert(places.begin(), place_.prefix);
    throw DataError(
        fmt::format("{}: expected the weights of one model, found those of several, whose names begin with "
                    "{}: save one of them alone",
                    file_.string(), quoted(places)));
  }
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto is_other = [&](const std::string& place) {
      return place.size() > place_.prefix.size() && names[i].starts_with(place);
    };
    if (std::any_of(place_.others.begin(), place_.others.end(), is_other)) continue;
    if (names[i].starts_with(place_.prefix)) add(names[i].substr(place_.prefix.size()), std::move(found[i]));
  }
}

void ForeignState::add(const std::string& name, Entry entry) {
  if (is_beside_model(name)) return;
  // Names come back in messages, where control characters could write over what a terminal shows.
  const bool is_plain = std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f; });
  VPD_CHECK(is_plain, DataError, "{}: expected tensors whose names are printable ASCII, found {}",
            file_.string(), quote_foreign(name));
  const std::string newest = newest_name(name);
  const auto [place, is_new] = entries_.try_emplace(newest, entry);
  VPD_CHECK(is_new, DataError, "{}: expected one tensor {}, found {} and {}", file_.string(), newest,
            place->second.name, entry.name);
}

std::vector<std::string> ForeignState::remarks() const {
  std::vector<std::string> remarks;
  if (!place_.others.empty()) {
    remarks.push_back(fmt::format(
        "{}: the tensors whose names begin with {} were taken for the model, and those of {} passed over",
        file_.string(), quote_foreign(place_.prefix), quoted(place_.others)));
  }
  for (const auto& [name, what] : unread_) {
    const std::string plain = unwrapped_name(name);
    if (plain.starts_with(place_.prefix) && is_in_model(plain.substr(place_.prefix.size()))) {
      remarks.push_back(
          fmt::format("{}: {} is {} and was passed over", file_.string(), quote_foreign(name), what));
    }
  }
  if (const std::string warning = harm(); !warning.empty())
    remarks.push_back(fmt::format("{}: {}", file_.string(), warning));
  return remarks;
}

std::string ForeignState::unread_in_words() const {
  if (unread_.empty()) return "";
  const auto& [name, what] = *unread_.begin();
  return fmt::format("; {} is {}, and nothing of it was run{}",
                     name.empty() ? "all of it" : quote_foreign(name), what,
                     unread_.size() > 1 ? fmt::format(" ({} more such values)", unread_.size() - 1) : "");
}

std::string ForeignState::harm() const {
  if (harmful_names_.empty()) return "";
  return fmt::format(
      "found the name {}, which Python would import and could call; nothing of it was run: do not load the "
      "file in Python",
      quoted(harmful_names_));
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
  for (const auto& [other, what] : unread_) {
    const std::string plain = unwrapped_name(other);
    VPD_CHECK(!plain.starts_with(place_.prefix) || newest_name(plain.substr(place_.prefix.size())) != name,
              DataError,
              "{}: expected a tensor {}, found {}; nothing of it was run: save the tensors alone with "
              "torch.save(model.state_dict(), file)",
              file_.string(), name, what);
  }
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
  VPD_CHECK(found.is_floating, DataError, "{}: expected real floating-point numbers, found {}", where,
            found.dtype);
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
