#include "vpd/import/torch_checkpoint.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include <ATen/ops/from_blob.h>

#include "torch_pickle.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/file_format.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/io/files.hpp"
#include "zip_archive.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

// The sentence for a file that is no zip archive.
[[noreturn]] void refuse_other_format(const std::string& path, std::span<const std::byte> bytes) {
  // The pickle of torch.save's magic number, with which files began before PyTorch 1.6.
  constexpr std::string_view legacy = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
  const std::string_view begin(reinterpret_cast<const char*>(bytes.data()),
                               std::min<std::size_t>(bytes.size(), 4096));
  if (begin.size() > 2 && begin.substr(2).starts_with(legacy)) {
    throw DataError(
        fmt::format("{}: expected a zip archive of torch.save, found its format of before PyTorch 1.6; load "
                    "it in Python with torch.load(file, weights_only=True) and save it again",
                    path));
  }
  const auto format = other_format(begin, path, FileUse::torch_checkpoint);
  const std::string what =
      bytes.empty() ? "" : fmt::format("a file that begins with {}", quote_foreign(begin.substr(0, 8)));
  throw DataError(fmt::format("{}: expected a zip archive of torch.save (.pt, .pth), found {}{}{}", path,
                              what, what.empty() || !format ? "" : ", ",
                              format.value_or("; check the path, or copy the file again")));
}

// "archive/" of the entry "archive/data.pkl".
std::string find_prefix(const ZipArchive& archive) {
  constexpr std::string_view pickle = "data.pkl";
  const ZipEntry* found = nullptr;
  for (const ZipEntry& entry : archive.entries()) {
    const std::size_t slash = entry.name.find('/');
    if (slash == std::string::npos || entry.name.substr(slash + 1) != pickle) continue;
    VPD_CHECK(found == nullptr, DataError, "{}: expected one data.pkl, found {} and {}", archive.path(),
              quote_foreign(found->name), quote_foreign(entry.name));
    found = &entry;
  }
  VPD_CHECK(found != nullptr, DataError,
            "{}: expected a zip archive of torch.save with a data.pkl, found {} other entries: {}",
            archive.path(), archive.entries().size(),
            other_format(archive.path(), FileUse::torch_checkpoint).value_or("check the path"));
  const std::string prefix = found->name.substr(0, found->name.size() - pickle.size());
  VPD_CHECK(archive.find(prefix + "constants.pkl") == nullptr, DataError,
            "{}: expected a checkpoint of torch.save, found a program of TorchScript; save the model's "
            "state_dict() instead",
            archive.path());
  if (const ZipEntry* order = archive.find(prefix + "byteorder")) {
    const std::string_view text(reinterpret_cast<const char*>(order->bytes.data()), order->bytes.size());
    VPD_CHECK(text == "little", DataError,
              "{}: expected numbers in little-endian order, found {}; save the file again on a little-endian "
              "machine",
              archive.path(), quote_foreign(text));
  }
  return prefix;
}

std::string key_text(const PickleValue& key) {
  if (const auto* const* text = std::get_if<const std::string*>(&key)) return **text;
  if (const auto* number = std::get_if<std::int64_t>(&key)) return std::to_string(*number);
  return describe(key);
}

}  // namespace

struct TorchCheckpoint::Content {
  explicit Content(const fs::path& path)
      : file(std::make_shared<MappedFile>(path)), archive(open_archive(*file)) {
    const std::string prefix = find_prefix(archive);
    const ZipEntry& entry = *archive.find(prefix + "data.pkl");
    archive.check(entry);
    const std::string where = fmt::format("{}: {}", path.string(), entry.name);
    pickle = read_pickle(entry.bytes, where, TorchWorld(archive, prefix, where));
    collect("", pickle.root, 1);
  }

  static ZipArchive open_archive(const MappedFile& file) {
    const std::string path = file.path().string();
    if (!looks_like_zip(file.bytes())) refuse_other_format(path, file.bytes());
    return ZipArchive(file.bytes(), path);
  }

  // Every tensor below `value`, by its keys. Lists that are shared may have exponentially many ways to them.
  // What is very deep, or inside itself, holds no weights that anybody could name.
  void collect(const std::string& name, const PickleValue& value, int depth) {
    const void* place = nullptr;
    const std::vector<PickleValue>* items = nullptr;
    const std::vector<std::pair<PickleValue, PickleValue>>* entries = nullptr;
    if (auto* const* dictionary = std::get_if<PickleDictionary*>(&value)) {
      place = *dictionary, entries = &(*dictionary)->items;
    } else if (auto* const* list = std::get_if<PickleList*>(&value)) {
      place = *list, items = &(*list)->items;
    } else if (const auto* const* tuple = std::get_if<const PickleTuple*>(&value)) {
      place = *tuple, items = &(*tuple)->items;
    } else if (auto* const* placeholder = std::get_if<PicklePlaceholder*>(&value)) {
      place = *placeholder, entries = &(*placeholder)->items;
      if (unread.size() < most_unread) unread.emplace(name, (*placeholder)->what);
    } else if (const auto* const* object = std::get_if<const PickleObject*>(&value)) {
      if (const auto* tensor = dynamic_cast<const TensorObject*>(*object)) add(name, *tensor);
    }
    if (depth > deepest || std::find(open.begin(), open.end(), place) != open.end()) return;
    const std::size_t size = items ? items->size() : entries ? entries->size() : 0;
    visited += size;
    VPD_CHECK(
        visited <= most_visited, DataError,
        "{}: expected at most {} million values in dictionaries and lists, found more; leave all but the "
        "tensors out of the checkpoint",
        archive.path(), most_visited / 1'000'000);
    open.push_back(place);
    const auto inside = [&](const std::string& key, const PickleValue& item) {
      collect(name.empty() ? key : name + "." + key, item, depth + 1);
    };
    for (std::size_t i = 0; i < size; ++i) {
      if (entries) {
        if (may_hold((*entries)[i].second)) inside(key_text((*entries)[i].first), (*entries)[i].second);
      } else if (may_hold((*items)[i])) {
        inside(std::to_string(i), (*items)[i]);
      }
    }
    open.pop_back();
  }

  // Plain values hold nothing; there may be millions, as in a list of losses.
  static bool may_hold(const PickleValue& value) {
    return std::holds_alternative<PickleDictionary*>(value) || std::holds_alternative<PickleList*>(value) ||
           std::holds_alternative<const PickleTuple*>(value) ||
           std::holds_alternative<const PickleObject*>(value) ||
           std::holds_alternative<PicklePlaceholder*>(value);
  }

  void add(const std::string& name, const TensorObject& tensor) {
    VPD_CHECK(index.emplace(name, infos.size()).second, DataError,
              "{}: expected each tensor's name once, found {} again; save them under names of their own",
              archive.path(), quote_foreign(name));
    infos.push_back({name, tensor.type, tensor.shape});
    tensors.push_back(&tensor);
  }

  static constexpr int deepest = 64;
  static constexpr std::size_t most_unread = 1000, most_visited = 4'000'000;

  std::shared_ptr<MappedFile> file;
  ZipArchive archive;
  Pickle pickle;
  std::vector<TorchTensorInfo> infos;
  std::vector<const TensorObject*> tensors;  // of each of the infos
  std::map<std::string, std::size_t, std::less<>> index;
  std::map<std::string, std::string, std::less<>> unread;
  std::size_t visited = 0;
  std::vector<const void*> open;      // the containers around the one that is being looked into
  std::set<const ZipEntry*> checked;  // storages whose sums were right
};

TorchCheckpoint::TorchCheckpoint(const fs::path& path) : content_(std::make_unique<Content>(path)) {}
TorchCheckpoint::~TorchCheckpoint() = default;
TorchCheckpoint::TorchCheckpoint(TorchCheckpoint&&) noexcept = default;
TorchCheckpoint& TorchCheckpoint::operator=(TorchCheckpoint&&) noexcept = default;

const fs::path& TorchCheckpoint::path() const { return content_->file->path(); }

const std::vector<TorchTensorInfo>& TorchCheckpoint::tensors() const { return content_->infos; }

const TorchTensorInfo* TorchCheckpoint::find(std::string_view name) const {
  const auto found = content_->index.find(name);
  return found == content_->index.end() ? nullptr : &content_->infos[found->second];
}

const std::map<std::string, std::string, std::less<>>& TorchCheckpoint::unread() const {
  return content_->unread;
}

const std::set<std::string>& TorchCheckpoint::harmful_names() const { return content_->pickle.harmful_names; }

at::Tensor TorchCheckpoint::load(std::string_view name) const {
  const TorchTensorInfo* info = find(name);
  const auto other = content_->unread.find(name);
  VPD_CHECK(
      info != nullptr || other == content_->unread.end(), DataError,
      "{}: expected a tensor {}, found {}; nothing of it was run: do not load the file in Python unless you "
      "trust who made it, and save the tensors alone with torch.save(model.state_dict(), file)",
      path().string(), quote_foreign(name), other->second);
  VPD_CHECK(info != nullptr, DataError, "{}: expected a tensor {}, found none of that name among {}",
            path().string(), quote_foreign(name), tensors().size());
  const TensorObject& tensor = *content_->tensors[static_cast<std::size_t>(info - tensors().data())];
  if (!content_->checked.contains(tensor.entry)) {
    content_->archive.check(*tensor.entry);
    content_->checked.insert(tensor.entry);
  }
  const std::span<const std::byte> bytes = tensor.entry->bytes;
  if (tensor.type == at::kBool) {
    // Any other byte in a bool is undefined behaviour further on.
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      VPD_CHECK(std::to_integer<unsigned>(bytes[i]) <= 1, DataError,
                "{}: tensor {}: expected truth values of 0 or 1, found {} at byte {} of its storage",
                path().string(), quote_foreign(name), std::to_integer<unsigned>(bytes[i]), i);
    }
  }
  const at::TensorOptions options = at::TensorOptions().dtype(info->scalar_type).device(at::kCPU);
  const std::size_t item_size = c10::elementSize(info->scalar_type);
  // from_blob wants memory that may be written; nothing here writes to it.
  auto* begin = const_cast<std::byte*>(bytes.data()) + static_cast<std::size_t>(tensor.offset) * item_size;
  const auto keep = content_->file;
  if (reinterpret_cast<std::uintptr_t>(begin) % item_size == 0) {
    return at::from_blob(
        begin, tensor.shape, tensor.strides, [keep](void*) {}, options);
  }
  auto copy = std::make_shared<std::vector<std::max_align_t>>(bytes.size() / sizeof(std::max_align_t) + 1);
  std::memcpy(copy->data(), bytes.data(), bytes.size());
  auto* copied =
      reinterpret_cast<std::byte*>(copy->data()) + static_cast<std::size_t>(tensor.offset) * item_size;
  return at::from_blob(
      copied, tensor.shape, tensor.strides, [copy](void*) {}, options);
}

}  // namespace vpd
