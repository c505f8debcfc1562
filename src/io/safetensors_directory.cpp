#include "vpd/io/safetensors_directory.hpp"

#include <set>

#include <nlohmann/json.hpp>

#include "vpd/base/error.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* whole = "model.safetensors";
constexpr const char* index = "model.safetensors.index.json";

/// weight_map of an index: from tensors to names of files beside it.
std::map<std::string, std::string> weight_map(const fs::path& path) {
  const json root = json::parse(read_text(path), nullptr, /*allow_exceptions=*/false);
  VPD_CHECK(root.is_object(), DataError, "{}: expected a JSON object with a weight_map, found {}",
            path.string(), root.is_discarded() ? "a syntax error" : root.type_name());
  const auto found = root.find("weight_map");
  VPD_CHECK(found != root.end() && found->is_object() && !found->empty(), DataError,
            "{}: expected an object weight_map from tensors to files, found {}", path.string(),
            found == root.end() ? "none"
            : found->empty()    ? "an empty one"
                                : found->type_name());
  std::map<std::string, std::string> map;
  for (const auto& [tensor, file] : found->items()) {
    VPD_CHECK(file.is_string(), DataError, "{}: expected the name of a file for the tensor '{}', found {}",
              path.string(), tensor, json_text(file));
    const auto name = file.get<std::string>();
    VPD_CHECK(!name.empty() && fs::path(name).filename() == fs::path(name) && name != "..", DataError,
              "{}: expected a file beside the index for the tensor '{}', found '{}'", path.string(), tensor,
              name);
    map[tensor] = name;
  }
  return map;
}

}  // namespace

SafetensorsDirectory::SafetensorsDirectory(const fs::path& directory) : directory_(directory) {
  if (fs::exists(directory / whole)) {
    files_.emplace_back(directory / whole);
    for (const TensorInfo& tensor : files_.front().tensors()) place_.emplace(tensor.name, 0);
    return;
  }
  if (fs::exists(directory / index)) {
    read_index();
    return;
  }
  const bool pickled =
      fs::exists(directory / "pytorch_model.bin") || fs::exists(directory / "pytorch_model.bin.index.json");
  throw DataError(fmt::format(
      "{}: expected {}, or {} beside its shards, found neither{}", directory.string(), whole, index,
      pickled ? "; pytorch_model.bin is not read: save the model again as safetensors" : ""));
}

void SafetensorsDirectory::read_index() {
  index_ = directory_ / index;
  const std::map<std::string, std::string> map = weight_map(index_);
  std::map<std::string, std::size_t> numbers;  // in the order of the names
  for (const auto& [tensor, file] : map) numbers.emplace(file, 0);
  for (auto& [file, number] : numbers) {
    VPD_CHECK(fs::exists(directory_ / file), DataError,
              "{}: expected the shard {} beside it, found no such file: copy it there", index_.string(),
              file);
    number = files_.size();
    files_.emplace_back(directory_ / file);
  }
  for (const auto& [tensor, file] : map) {
    const std::size_t number = numbers.at(file);
    VPD_CHECK(files_[number].find(tensor), DataError,
              "{}: expected a tensor '{}', which {} places there, found none of that name among {}",
              files_[number].path().string(), tensor, index, files_[number].tensors().size());
    place_.emplace(tensor, number);
  }
}

std::vector<fs::path> SafetensorsDirectory::paths() const {
  std::vector<fs::path> paths;
  for (const SafetensorsFile& file : files_) paths.push_back(file.path());
  if (!index_.empty()) paths.push_back(index_);
  return paths;
}

const SafetensorsFile& SafetensorsDirectory::file_of(std::string_view name) const {
  const auto found = place_.find(name);
  VPD_CHECK(found != place_.end(), DataError, "{}: expected a tensor '{}', found none of that name among {}",
            (index_.empty() ? files_.front().path() : index_).string(), name, place_.size());
  return files_[found->second];
}

}  // namespace vpd
