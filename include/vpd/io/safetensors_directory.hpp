#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "vpd/io/safetensors.hpp"

namespace vpd {

// The tensors of a model in Hugging Face's own layout: those of `model.safetensors`, or of the shards that
// `model.safetensors.index.json` names, or, without either, of a whole set of shards that are called
// `model-00001-of-00003.safetensors` and so on. Headers are read at once, tensors when they are asked for.
class SafetensorsDirectory {
 public:
  // Throws DataError where there are no such files, where the index is not what it has to be, where a shard
  // is missing or is not a safetensors file, where the index places a tensor in a shard that does not have
  // it, and where two shards without an index hold a tensor of the same name.
  explicit SafetensorsDirectory(const std::filesystem::path& directory);

  // The files of tensors, in the order of their names, and the index, if there is one.
  const std::vector<SafetensorsFile>& files() const { return files_; }
  std::vector<std::filesystem::path> paths() const;

  bool has(std::string_view name) const { return place_.find(name) != place_.end(); }
  // The file that holds a tensor. DataError where there is no such tensor.
  const SafetensorsFile& file_of(std::string_view name) const;

 private:
  void read_index();
  void read_shards(const std::vector<std::filesystem::path>& paths);

  std::filesystem::path directory_, index_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, std::size_t, std::less<>> place_;  // of a tensor: its file
};

}  // namespace vpd
