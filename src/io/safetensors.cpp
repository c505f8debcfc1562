#include "vpd/io/safetensors.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <set>

#include <ATen/ops/empty.h>
#include <nlohmann/json.hpp>
#include <spdlog/fmt/ranges.h>

#include "vpd/base/error.hpp"
#include "vpd/base/file_format.hpp"
#include "vpd/base/json_text.hpp"

namespace vpd {

static_assert(std::endian::native == std::endian::little,
              "tensor bytes are read and written as they lie in memory");

std::int64_t count_elements(at::IntArrayRef shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

std::int64_t count_elements(const std::vector<TensorSpec>& specs) {
  std::int64_t count = 0;
  for (const TensorSpec& spec : specs) count += count_elements(spec.shape);
  return count;
}

namespace {

using nlohmann::json;

// The reference implementation's limit: more is a corrupt length, not a header.
constexpr std::uint64_t kMaxHeaderSize = 100'000'000;
constexpr const char* kMetadataKey = "__metadata__";

struct Dtype {
  std::string_view name;
  at::ScalarType type;
};

constexpr std::array<Dtype, 10> kDtypes = {{{"F64", at::kDouble},
                                            {"F32", at::kFloat},
                                            {"F16", at::kHalf},
                                            {"BF16", at::kBFloat16},
                                            {"I64", at::kLong},
                                            {"I32", at::kInt},
                                            {"I16", at::kShort},
                                            {"I8", at::kChar},
                                            {"U8", at::kByte},
                                            {"BOOL", at::kBool}}};

std::string dtype_names() {
  std::string names;
  for (const Dtype& dtype : kDtypes) names += fmt::format("{}{}", names.empty() ? "" : ", ", dtype.name);
  return names;
}

std::string tensor_in(const std::string& path, std::string_view name) {
  return fmt::format("{}: tensor '{}'", path, name);
}

// nlohmann::json keeps the last of two equal keys in silence; the callback sees both.
json parse_header(const std::string& path, const std::string& text) {
  std::vector<std::set<std::string>> keys_of_open_objects;
  std::optional<std::string> duplicate;
  const auto callback = [&](int, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) {
      keys_of_open_objects.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys_of_open_objects.pop_back();
    } else if (event == json::parse_event_t::key) {
      auto key = parsed.get<std::string>();
      if (!keys_of_open_objects.back().insert(key).second && !duplicate) duplicate = std::move(key);
    }
    return true;
  };
  json header;
  try {
    header = json::parse(text, callback);
  } catch (const json::exception& error) {
    throw DataError(
        fmt::format("{}: expected a JSON header of safetensors, found text that does not parse ({})", path,
                    error.what()));
  }
  VPD_CHECK(!duplicate, DataError, "{}: expected every name in the header once, found '{}' twice", path,
            *duplicate);
  VPD_CHECK(header.is_object(), DataError, "{}: expected a JSON object as header, found {}", path,
            header.type_name());
  return header;
}

std::optional<std::int64_t> non_negative(const json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  const auto number = value.get<std::uint64_t>();
  if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
  return static_cast<std::int64_t>(number);
}

std::vector<std::int64_t> non_negative_list(const std::string& where, const json& entry, const char* key) {
  const auto found = entry.find(key);
  VPD_CHECK(found != entry.end() && found->is_array(), DataError, "{}: expected a list '{}', found {}", where,
            key, found == entry.end() ? "none" : json_text(*found));
  std::vector<std::int64_t> numbers;
  for (const json& value : *found) {
    const auto number = non_negative(value);
    VPD_CHECK(number, DataError, "{}: expected non-negative integers in '{}', found {}", where, key,
              json_text(*found));
    numbers.push_back(*number);
  }
  return numbers;
}

// The bytes of a tensor, or nothing where the product leaves 64 bits. Zeros count as ones in that check,
// because strides are computed of the other sizes all the same.
std::optional<std::int64_t> byte_size(const std::vector<std::int64_t>& shape, std::size_t item_size) {
  auto size = static_cast<std::int64_t>(item_size);
  bool empty = false;
  for (const std::int64_t extent : shape) {
    if (extent == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(size, extent, &size)) {
      return std::nullopt;
    }
  }
  return empty ? 0 : size;
}

TensorInfo read_entry(const std::string& path, const std::string& name, const json& entry,
                      std::int64_t data_begin, std::int64_t data_size) {
  const std::string where = tensor_in(path, name);
  VPD_CHECK(entry.is_object(), DataError,
            "{}: expected an object with dtype, shape and data_offsets, found {}", where, entry.type_name());
  for (const auto& item : entry.items()) {
    VPD_CHECK(item.key() == "dtype" || item.key() == "shape" || item.key() == "data_offsets", DataError,
              "{}: expected only dtype, shape and data_offsets, found '{}'", where, item.key());
  }
  TensorInfo info;
  info.name = name;
  const auto dtype = entry.find("dtype");
  VPD_CHECK(dtype != entry.end() && dtype->is_string(), DataError, "{}: expected a string 'dtype', found {}",
            where, dtype == entry.end() ? "none" : json_text(*dtype));
  info.dtype = dtype->get<std::string>();
  const auto known =
      std::find_if(kDtypes.begin(), kDtypes.end(), [&](const Dtype& d) { return d.name == info.dtype; });
  // One that is not known matters where the tensor is asked for, and nobody may ask.
  if (known != kDtypes.end()) info.scalar_type = known->type;
  info.shape = non_negative_list(where, entry, "shape");

  const std::vector<std::int64_t> offsets = non_negative_list(where, entry, "data_offsets");
  VPD_CHECK(offsets.size() == 2 && offsets[0] <= offsets[1], DataError,
            "{}: expected data_offsets [begin, end] with begin <= end, found [{}]", where,
            fmt::join(offsets, ", "));
  VPD_CHECK(
      offsets[1] <= data_size, DataError,
      "{}: expected its bytes within the {} bytes after the header, found [{}, {}]; the file is truncated or "
      "damaged, copy it again",
      where, data_size, offsets[0], offsets[1]);
  const std::size_t item_size = info.scalar_type ? c10::elementSize(*info.scalar_type) : 1;
  const auto expected_size = byte_size(info.shape, item_size);
  VPD_CHECK(expected_size, DataError, "{}: expected a size that fits in 64 bits, found the shape [{}]", where,
            fmt::join(info.shape, ", "));
  VPD_CHECK(!info.scalar_type || offsets[1] - offsets[0] == *expected_size, DataError,
            "{}: expected {} bytes for {} [{}], found data_offsets [{}, {}], {} bytes", where, *expected_size,
            info.dtype, fmt::join(info.shape, ", "), offsets[0], offsets[1], offsets[1] - offsets[0]);
  info.begin = data_begin + offsets[0];
  info.end = data_begin + offsets[1];
  return info;
}

std::map<std::string, std::string> read_metadata(const std::string& path, const json& entry) {
  VPD_CHECK(entry.is_object(), DataError, "{}: expected an object of strings as {}, found {}", path,
            kMetadataKey, entry.type_name());
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : entry.items()) {
    VPD_CHECK(value.is_string(), DataError, "{}: expected a string as '{}' in {}, found {}", path, key,
              kMetadataKey, value.type_name());
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

// Sorted by offset, every tensor must begin where the one before it ended, and the last must end with the
// file.
void check_layout(const std::string& path, const std::vector<TensorInfo>& tensors, std::int64_t data_begin,
                  std::int64_t file_size) {
  std::int64_t end = data_begin;
  for (const TensorInfo& tensor : tensors) {
    VPD_CHECK(tensor.begin == end, DataError,
              "{}: expected its bytes to begin at offset {} of the data, where the tensor before it ends, "
              "found {} ({})",
              tensor_in(path, tensor.name), end - data_begin, tensor.begin - data_begin,
              tensor.begin < end ? "the two overlap" : "a gap between them");
    end = tensor.end;
  }
  VPD_CHECK(end == file_size, DataError,
            "{}: expected the file to end with its last tensor at byte {}, found {} bytes", path, end,
            file_size);
}

std::string missing(const SafetensorsFile& file, std::string_view name) {
  return fmt::format("{}: expected a tensor '{}', found none of that name among {}", file.path().string(),
                     name, file.tensors().size());
}

std::vector<std::int64_t> index_of(std::int64_t flat, at::IntArrayRef shape) {
  std::vector<std::int64_t> index(shape.size());
  for (std::size_t i = shape.size(); i-- > 0; flat /= shape[i]) index[i] = flat % shape[i];
  return index;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  const std::string name = path.string();
  const auto refuse_another_format = [&] {
    const auto format = other_format(path, FileUse::safetensors);
    VPD_CHECK(!format, DataError, "{}: expected a safetensors file, found {}", name, *format);
  };
  if (file_.size() > 0 && file_.size() < 8) refuse_another_format();
  VPD_CHECK(file_.size() >= 8, DataError,
            "{}: expected a safetensors file, which begins with eight bytes of header length, found {} bytes",
            name, file_.size());
  std::uint64_t header_size = 0;
  file_.read(0, &header_size, sizeof(header_size));
  const bool fits =
      header_size <= kMaxHeaderSize && header_size <= static_cast<std::uint64_t>(file_.size()) - 8;
  if (!fits) refuse_another_format();
  VPD_CHECK(fits, DataError,
            "{}: expected a safetensors header within the file's {} bytes, found a header length of {}; the "
            "file is "
            "truncated or not a safetensors file",
            name, file_.size(), header_size);
  std::string text(header_size, '\0');
  file_.read(8, text.data(), text.size());
  const json header = parse_header(name, text);

  const auto data_begin = static_cast<std::int64_t>(8 + header_size);
  for (const auto& [key, entry] : header.items()) {
    if (key == kMetadataKey) {
      metadata_ = read_metadata(name, entry);
    } else {
      tensors_.push_back(read_entry(name, key, entry, data_begin, file_.size() - data_begin));
    }
  }
  std::stable_sort(tensors_.begin(), tensors_.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  check_layout(name, tensors_, data_begin, file_.size());
  for (std::size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].name, i);
}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

at::Tensor SafetensorsFile::load(std::string_view name) const {
  const TensorInfo& info = known(name);
  return read(info, info.shape, info.begin);
}

at::Tensor SafetensorsFile::load_rows(std::string_view name, std::int64_t first, std::int64_t count) const {
  const TensorInfo& info = known(name);
  VPD_CHECK(!info.shape.empty() && first >= 0 && count >= 0 && first + count <= info.shape[0], UsageError,
            "{}: rows {} to {} of a tensor of {}", tensor_in(path().string(), name), first, first + count,
            info.shape.empty() ? 0 : info.shape[0]);
  std::vector<std::int64_t> shape = info.shape;
  const std::int64_t row = shape[0] == 0 ? 0 : (info.end - info.begin) / shape[0];
  shape[0] = count;
  return read(info, shape, info.begin + first * row);
}

const TensorInfo& SafetensorsFile::known(std::string_view name) const {
  const TensorInfo* info = find(name);
  VPD_CHECK(info != nullptr, DataError, "{}", missing(*this, name));
  VPD_CHECK(info->scalar_type, DataError, "{}: expected a dtype among {}, found {}; convert the tensor first",
            tensor_in(path().string(), name), dtype_names(), info->dtype);
  return *info;
}

at::Tensor SafetensorsFile::read(const TensorInfo& info, at::IntArrayRef shape, std::int64_t begin) const {
  at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(*info.scalar_type).device(at::kCPU));
  const auto size = static_cast<std::size_t>(tensor.nbytes());
  file_.read(begin, tensor.data_ptr(), size);
  if (info.scalar_type == at::kBool) {
    // Any other byte in a bool is undefined behaviour further on.
    const auto* bytes = static_cast<const std::uint8_t*>(tensor.data_ptr());
    for (std::size_t i = 0; i < size; ++i) {
      VPD_CHECK(bytes[i] <= 1, DataError, "{}: expected BOOL bytes of 0 or 1, found {} at element {}",
                tensor_in(path().string(), info.name), bytes[i], i);
    }
  }
  return tensor;
}

void check_header(const SafetensorsFile& file, std::string_view name, at::IntArrayRef expected_shape) {
  const std::string where = tensor_in(file.path().string(), name);
  const TensorInfo* info = file.find(name);
  VPD_CHECK(info != nullptr, DataError, "{}", missing(file, name));
  VPD_CHECK(expected_shape.equals(info->shape), DataError, "{}: expected the shape [{}], found [{}]", where,
            fmt::join(expected_shape.begin(), expected_shape.end(), ", "), fmt::join(info->shape, ", "));
  VPD_CHECK(info->scalar_type && at::isFloatingType(*info->scalar_type), DataError,
            "{}: expected a floating-point dtype (F64, F32, F16 or BF16), found {}", where, info->dtype);
}

at::Tensor load_checked(const SafetensorsFile& file, std::string_view name, at::IntArrayRef expected_shape,
                        at::ScalarType type) {
  check_header(file, name, expected_shape);
  const std::string where = tensor_in(file.path().string(), name);
  VPD_CHECK(type == at::kFloat || type == at::kDouble, UsageError,
            "{}: expected to be asked for float32 or float64, found {}", where, at::toString(type));
  const at::Tensor tensor = file.load(name).to(type);

  std::int64_t count = 0;
  std::int64_t first = 0;
  const auto look = [&](const auto* values) {
    for (std::int64_t i = 0; i < tensor.numel(); ++i) {
      if (!std::isfinite(values[i]) && count++ == 0) first = i;
    }
  };
  type == at::kFloat ? look(tensor.const_data_ptr<float>()) : look(tensor.const_data_ptr<double>());
  VPD_CHECK(count == 0, DataError,
            "{}: expected finite values, found {} that {} NaN or infinite, first at index [{}]", where, count,
            count == 1 ? "is" : "are", fmt::join(index_of(first, tensor.sizes()), ", "));
  return tensor;
}

void save_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& metadata) {
  // Larger items first, so that each tensor lies on a multiple of its item size for readers that map the
  // file.
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (const auto& [name, tensor] : tensors) {
    VPD_CHECK(tensor.defined(), UsageError, "{}: expected a tensor, found an undefined one",
              tensor_in(path.string(), name));
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return tensors[a].second.element_size() > tensors[b].second.element_size();
  });

  json header = json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  std::int64_t offset = 0;
  for (const std::size_t i : order) {
    const auto& [name, tensor] = tensors[i];
    const std::string where = tensor_in(path.string(), name);
    VPD_CHECK(name != kMetadataKey && !header.contains(name), UsageError,
              "{}: expected names that come once and are not {}", where, kMetadataKey);
    const auto dtype = std::find_if(kDtypes.begin(), kDtypes.end(),
                                    [&](const Dtype& d) { return d.type == tensor.scalar_type(); });
    VPD_CHECK(dtype != kDtypes.end(), UsageError, "{}: expected a dtype among {}, found {}", where,
              dtype_names(), c10::toString(tensor.scalar_type()));
    const auto end = offset + static_cast<std::int64_t>(tensor.nbytes());
    header[name] = {{"dtype", dtype->name}, {"shape", tensor.sizes().vec()}, {"data_offsets", {offset, end}}};
    offset = end;
  }

  std::string text = json_text(header);
  VPD_CHECK(json::parse(text) == header, UsageError, "{}: expected names and metadata in UTF-8, found others",
            path.string());
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t header_size = text.size();

  AtomicFile file(path);
  file.write(&header_size, sizeof(header_size));
  file.write(text.data(), text.size());
  for (const std::size_t i : order) {
    const at::Tensor bytes = tensors[i].second.detach().contiguous().cpu();
    file.write(bytes.const_data_ptr(), bytes.nbytes());
  }
  file.commit();
}

}  // namespace vpd
