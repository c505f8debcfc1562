#include "vpd/io/safetensors_directory.hpp"

#include <algorithm>
#include <charconv>
#include <set>
#include <system_error>

#include <nlohmann/json.hpp>

#include "vpd/base/error.hpp"
#include "vpd/base/file_format.hpp"
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
  const std::string text = read_text(path);
  const json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  VPD_CHECK(root.is_object(), DataError, "{}: expected a JSON object with a weight_map, found {}",
            path.string(),
            root.is_discarded() ? other_format(text, path, FileUse::configuration).value_or("a syntax error")
                                : root.type_name());
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

/// What `<name>-00002-of-00003.safetensors` says of itself.
struct Shard {
  fs::path path;
  std::string name;
  std::int64_t number = 0, count = 0;
};

std::optional<Shard> shard_at(const fs::path& path) {
  const std::string stem = path.stem().string();
  // Names with a leading dot are other programs' own files (._model-00001-of-00002.safetensors).
  if (path.extension() != ".safetensors" || stem.starts_with('.')) return std::nullopt;
  const std::size_t of = stem.rfind("-of-");
  const std::size_t dash = of == std::string::npos || of == 0 ? std::string::npos : stem.rfind('-', of - 1);
  if (dash == std::string::npos) return std::nullopt;
  Shard shard{path, stem.substr(0, dash)};
  const auto read = [&](std::size_t begin, std::size_t end, std::int64_t& number) {
    const auto [stop, error] = std::from_chars(stem.data() + begin, stem.data() + end, number);
    return error == std::errc() && stop == stem.data() + end && number >= 1;
  };
  const bool numbered = read(dash + 1, of, shard.number) && read(of + 4, stem.size(), shard.count);
  return numbered && shard.number <= shard.count ? std::optional(shard) : std::nullopt;
}

/// The shards of a directory in the order of their names; those of a model before any others.
std::vector<Shard> shards_in(const fs::path& directory) {
  std::vector<Shard> shards;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (const std::optional<Shard> shard = shard_at(entry.path())) shards.push_back(*shard);
  }
  std::sort(shards.begin(), shards.end(), [](const Shard& a, const Shard& b) { return a.path < b.path; });
  const auto of_a_model = [](const Shard& shard) { return shard.name == "model"; };
  if (std::any_of(shards.begin(), shards.end(), of_a_model)) {
    std::erase_if(shards, [&](const Shard& shard) { return !of_a_model(shard); });
  }
  return shards;
}

/// Without an index, shards have to be one set, and whole.
void check_set(const fs::path& directory, const std::vector<Shard>& shards) {
  const auto fail = [&](const std::string& found) {
    throw DataError(
        fmt::format("{}: expected {}, or {} beside its shards, or a whole set of shards, found {}",
                    directory.string(), whole, index, found));
  };
  const Shard& first = shards.front();
  std::set<std::int64_t> numbers;
  for (const Shard& shard : shards) {
    if (shard.name != first.name || shard.count != first.count) {
      fail(fmt::format("those of two sets, {} and {}: leave the model's alone there",
                       first.path.filename().string(), shard.path.filename().string()));
    }
    numbers.insert(shard.number);
  }
  for (std::int64_t number = 1; number <= first.count; ++number) {
    if (numbers.contains(number)) continue;
    fail(fmt::format("{} of {} and no {}-{:05}-of-{:05}.safetensors: copy it there", numbers.size(),
                     first.count, first.name, number, first.count));
  }
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
  if (const std::vector<Shard> shards = shards_in(directory); !shards.empty()) {
    check_set(directory, shards);
    std::vector<fs::path> paths;
    for (const Shard& shard : shards) paths.push_back(shard.path);
    read_shards(paths);
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

void SafetensorsDirectory::read_shards(const std::vector<fs::path>& paths) {
  for (const fs::path& path : paths) {
    files_.emplace_back(path);
    for (const TensorInfo& tensor : files_.back().tensors()) {
      const auto [place, is_new] = place_.emplace(tensor.name, files_.size() - 1);
      VPD_CHECK(
          is_new, DataError,
          "{}: expected each tensor in one shard, found '{}' in {} and in {}, and no {} to say which is "
          "meant: copy it there",
          directory_.string(), tensor.name, files_[place->second].path().filename().string(),
          path.filename().string(), index);
    }
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
