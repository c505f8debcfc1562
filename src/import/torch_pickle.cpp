#include "torch_pickle.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include <spdlog/fmt/ranges.h>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"

namespace vpd {
namespace {

// A dtype has a name, torch.float32, and, if it is an old one, a type of storage, torch.FloatStorage.
struct Dtype {
  std::string_view name;
  std::string_view storage;
  at::ScalarType type;
};

constexpr std::array<Dtype, 20> kDtypes = {{
    {"torch.float64", "torch.DoubleStorage", at::kDouble},
    {"torch.float32", "torch.FloatStorage", at::kFloat},
    {"torch.float16", "torch.HalfStorage", at::kHalf},
    {"torch.bfloat16", "torch.BFloat16Storage", at::kBFloat16},
    {"torch.int64", "torch.LongStorage", at::kLong},
    {"torch.int32", "torch.IntStorage", at::kInt},
    {"torch.int16", "torch.ShortStorage", at::kShort},
    {"torch.int8", "torch.CharStorage", at::kChar},
    {"torch.uint8", "torch.ByteStorage", at::kByte},
    {"torch.bool", "torch.BoolStorage", at::kBool},
    {"torch.complex128", "torch.ComplexDoubleStorage", at::kComplexDouble},
    {"torch.complex64", "torch.ComplexFloatStorage", at::kComplexFloat},
    {"torch.complex32", "", at::kComplexHalf},
    {"torch.uint64", "", at::kUInt64},
    {"torch.uint32", "", at::kUInt32},
    {"torch.uint16", "", at::kUInt16},
    {"torch.float8_e4m3fn", "", at::kFloat8_e4m3fn},
    {"torch.float8_e4m3fnuz", "", at::kFloat8_e4m3fnuz},
    {"torch.float8_e5m2", "", at::kFloat8_e5m2},
    {"torch.float8_e5m2fnuz", "", at::kFloat8_e5m2fnuz},
}};

constexpr std::string_view kUntypedStorage = "torch.storage.UntypedStorage";
constexpr std::string_view kRebuildTensor2 = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kRebuildTensor3 = "torch._utils._rebuild_tensor_v3";
constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";
constexpr std::string_view kRebuildParameterWithState = "torch._utils._rebuild_parameter_with_state";
constexpr std::string_view kRebuildFromType = "torch._tensor._rebuild_from_type_v2";
// Types of tensors whose elements are what is stored.
constexpr std::array<std::string_view, 3> kTensorTypes = {"torch.Tensor", "torch.nn.parameter.Parameter",
                                                          "torch.nn.parameter.Buffer"};

const at::ScalarType* dtype_of_storage(std::string_view name) {
  for (const Dtype& dtype : kDtypes) {
    if (!dtype.storage.empty() && dtype.storage == name) return &dtype.type;
  }
  return nullptr;
}

const at::ScalarType* dtype_of_name(std::string_view name) {
  for (const Dtype& dtype : kDtypes) {
    if (dtype.name == name) return &dtype.type;
  }
  return nullptr;
}

struct StorageObject final : PickleObject {
  const ZipEntry* entry = nullptr;
  const at::ScalarType* type = nullptr;  // null: bytes, whose dtype the tensor says
};

std::optional<std::string_view> text(const PickleValue& value) {
  const auto* const* found = std::get_if<const std::string*>(&value);
  return found ? std::optional<std::string_view>(**found) : std::nullopt;
}

// Empty where the value is no name.
std::string_view name(const PickleValue& value) {
  const auto* const* found = std::get_if<const PickleName*>(&value);
  return found ? std::string_view((*found)->text) : std::string_view();
}

template <class Object>
const Object* object(const PickleValue& value) {
  const auto* const* found = std::get_if<const PickleObject*>(&value);
  return found ? dynamic_cast<const Object*>(*found) : nullptr;
}

bool is_tensor_type(std::string_view name) {
  return std::find(kTensorTypes.begin(), kTensorTypes.end(), name) != kTensorTypes.end();
}

const PickleDictionary* dictionary(const PickleValue& value) {
  auto* const* found = std::get_if<PickleDictionary*>(&value);
  return found ? *found : nullptr;
}

}  // namespace

bool TorchWorld::knows(std::string_view name) const {
  return name == kRebuildTensor2 || name == kRebuildTensor3 || name == kRebuildParameter ||
         name == kRebuildParameterWithState || name == kRebuildFromType || is_tensor_type(name) ||
         name == kUntypedStorage || dtype_of_storage(name) != nullptr || dtype_of_name(name) != nullptr;
}

// ("storage", type, key, device, number of elements)
std::unique_ptr<PickleObject> TorchWorld::persistent(const PickleValue& id) const {
  const auto* const* tuple = std::get_if<const PickleTuple*>(&id);
  check(tuple && (*tuple)->items.size() == 5 && text((*tuple)->items[0]) == "storage",
        "a storage as a tuple of five", describe(id));
  const std::vector<PickleValue>& parts = (*tuple)->items;
  const std::optional<std::string_view> key = text(parts[2]);
  const std::int64_t count = whole(parts[4], "a storage's number of elements");
  auto storage = std::make_unique<StorageObject>();
  storage->type = dtype_of_storage(name(parts[1]));
  check(storage->type != nullptr || name(parts[1]) == kUntypedStorage, "the type of a storage",
        describe(parts[1]));
  check(key.has_value(), "the key of a storage", describe(parts[2]));
  storage->entry = archive_.find(fmt::format("{}data/{}", prefix_, *key));
  check(storage->entry != nullptr, "the bytes of every storage in the archive",
        fmt::format("none for the storage {}", quote_foreign(*key)));
  archive_.check_stored(*storage->entry);
  const std::size_t size = storage->type ? c10::elementSize(*storage->type) : 1;
  const std::size_t found = storage->entry->bytes.size();
  check(static_cast<std::uint64_t>(count) == found / size && found % size == 0,
        fmt::format("{} elements of {} bytes in the storage {}", count, size, quote_foreign(*key)),
        fmt::format("{} bytes", found));
  return storage;
}

std::unique_ptr<PickleObject> TorchWorld::call(const PickleName& called, const PickleTuple& arguments) const {
  const std::vector<PickleValue>& items = arguments.items;
  if (is_tensor_type(called.text)) throw NotMade{fmt::format("what {} would make", called.text)};
  if (called.text == kRebuildFromType) {
    // (one of the other calls, a type, its arguments, attributes): a tensor with attributes is the tensor.
    const std::string_view maker = items.size() == 4 ? name(items[0]) : std::string_view();
    const auto* const* inside = items.size() == 4 ? std::get_if<const PickleTuple*>(&items[2]) : nullptr;
    check(inside && (maker == kRebuildTensor2 || maker == kRebuildTensor3) && is_tensor_type(name(items[1])),
          "a tensor with attributes as 4 values", describe(&arguments));
    return call(*std::get<const PickleName*>(items[0]), **inside);
  }
  if (called.text == kRebuildParameter || called.text == kRebuildParameterWithState) {
    // (tensor, requires_grad, hooks[, attributes]): a parameter is its tensor.
    const std::size_t size = called.text == kRebuildParameter ? 3 : 4;
    const auto* tensor = items.size() == size ? object<TensorObject>(items[0]) : nullptr;
    check(tensor != nullptr, "a parameter of a tensor", describe(&arguments));
    check_hooks(items[2]);
    return std::make_unique<TensorObject>(*tensor);
  }
  if (called.text == kRebuildTensor2) {
    // (storage, offset, shape, strides, requires_grad, hooks[, metadata])
    check(items.size() == 6 || items.size() == 7, "a tensor as 6 or 7 values", describe(&arguments));
    return tensor(arguments, nullptr, 6);
  }
  // The same with the dtype after the hooks.
  check(called.text == kRebuildTensor3, "a call that makes a tensor", "one of " + called.text);
  check(items.size() == 7 || items.size() == 8, "a tensor as 7 or 8 values", describe(&arguments));
  const at::ScalarType* type = dtype_of_name(name(items[6]));
  check(type != nullptr, "the dtype of a tensor", describe(items[6]));
  return tensor(arguments, type, 7);
}

void TorchWorld::check(bool holds, std::string_view expected, std::string_view found) const {
  VPD_CHECK(holds, DataError, "{}: expected {}, found {}; write the file again with torch.save", where_,
            expected, found);
}

// Functions that Python would run at each backward pass.
void TorchWorld::check_hooks(const PickleValue& hooks) const {
  check(dictionary(hooks) != nullptr, "a tensor without hooks", describe(hooks));
  if (!dictionary(hooks)->items.empty()) throw NotMade{"a tensor with hooks"};
}

std::int64_t TorchWorld::whole(const PickleValue& value, std::string_view what) const {
  const auto* found = std::get_if<std::int64_t>(&value);
  check(found != nullptr && *found >= 0, fmt::format("{} as a whole number of at least 0", what),
        describe(value));
  return *found;
}

std::vector<std::int64_t> TorchWorld::wholes(const PickleValue& value, std::string_view what) const {
  constexpr std::size_t most = 64;  // LibTorch's own limit on dimensions
  const auto* const* tuple = std::get_if<const PickleTuple*>(&value);
  check(tuple != nullptr && (*tuple)->items.size() <= most, fmt::format("{} as a tuple of at most 64", what),
        describe(value));
  std::vector<std::int64_t> numbers;
  for (const PickleValue& inside : (*tuple)->items) numbers.push_back(whole(inside, what));
  return numbers;
}

// `type` is the tensor's own, null where it is the storage's; `metadata` the place of the last, optional
// argument.
std::unique_ptr<TensorObject> TorchWorld::tensor(const PickleTuple& arguments, const at::ScalarType* type,
                                                 std::size_t metadata) const {
  const std::vector<PickleValue>& items = arguments.items;
  const auto* storage = object<StorageObject>(items[0]);
  check(storage != nullptr, "the storage of a tensor", describe(items[0]));
  auto tensor = std::make_unique<TensorObject>();
  tensor->entry = storage->entry;
  if (type == nullptr) type = storage->type;
  check(type != nullptr && (storage->type == nullptr || *storage->type == *type),
        "a tensor of its storage's dtype", type ? c10::toString(*type) : "none");
  tensor->type = *type;
  tensor->offset = whole(items[1], "a tensor's offset");
  tensor->shape = wholes(items[2], "a tensor's shape");
  tensor->strides = wholes(items[3], "a tensor's strides");
  check_hooks(items[5]);
  if (items.size() > metadata) {
    // Says that values are to be conjugated or negated when they are read.
    const PickleValue& notes = items[metadata];
    check(std::holds_alternative<std::monostate>(notes) || dictionary(notes) != nullptr,
          "a dictionary of notes on a tensor", describe(notes));
    if (dictionary(notes) && !dictionary(notes)->items.empty()) {
      throw NotMade{
          "a tensor whose values are not those in the file (Tensor.resolve_conj and resolve_neg make them "
          "so)"};
    }
  }
  check_extent(*tensor);
  return tensor;
}

// Every element has to lie in the storage, and a few bytes must not pose as a tensor without end.
void TorchWorld::check_extent(const TensorObject& tensor) const {
  const std::string layout =
      fmt::format("the shape [{}] with strides [{}] from element {}", fmt::join(tensor.shape, ", "),
                  fmt::join(tensor.strides, ", "), tensor.offset);
  check(tensor.shape.size() == tensor.strides.size(), "one stride for each dimension", layout);
  const auto item_size = static_cast<std::int64_t>(c10::elementSize(tensor.type));
  const auto storage_size = static_cast<std::int64_t>(tensor.entry->bytes.size());
  const std::int64_t available = storage_size / item_size;
  std::int64_t last = tensor.offset, bytes = item_size;
  bool fits = true, empty = false;
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    const std::int64_t size = tensor.shape[i], steps = std::max<std::int64_t>(size - 1, 0);
    std::int64_t reach = 0;
    empty = empty || size == 0;
    fits = fits && !__builtin_mul_overflow(bytes, std::max<std::int64_t>(size, 1), &bytes) &&
           !__builtin_mul_overflow(steps, tensor.strides[i], &reach) &&
           !__builtin_add_overflow(last, reach, &last);
  }
  fits = fits && (empty ? tensor.offset <= available : last < available);
  check(fits, fmt::format("a tensor inside its storage of {} elements", available), layout);
  constexpr std::int64_t slack = std::int64_t{64} << 20;
  check(bytes <= storage_size + slack, "a tensor not much larger than its storage", layout);
}

}  // namespace vpd
