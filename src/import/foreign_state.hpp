#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include "names.hpp"

namespace vpd {

/// The tensors of a model in a checkpoint that another program wrote (torch.save or safetensors, told apart
/// by content), under the names of the newest version of that program. They may lie under any key ("model",
/// "state_dict" ...) and have the names of wrapped modules; what lies beside the model is passed over. Each
/// is taken out once; what nobody took is there to be told.
class ForeignState {
 public:
  explicit ForeignState(const std::filesystem::path& file);

  const std::filesystem::path& file() const { return file_; }
  bool contains(std::string_view name) const { return entries_.contains(name); }
  /// A sentence for each thing about the file that its user should know.
  std::vector<std::string> remarks() const;
  /// One of the values that were passed over because only Python could make them, as the end of a sentence.
  std::string unread_in_words() const;
  /// A sentence on names with which Python would run programs, or nothing.
  std::string harm() const;
  /// Whether some name begins so.
  bool has_prefix(std::string_view prefix) const;
  /// All names, in alphabetical order.
  std::vector<std::string> names() const;
  std::vector<std::int64_t> shape(std::string_view name) const;
  /// float32 on the CPU, in memory that must not be written to. DataError where there is no such tensor.
  at::Tensor load(std::string_view name) const;

  /// The same, counted as taken. DataError also where it is of another shape, of whole numbers, or not
  /// finite.
  at::Tensor take(std::string_view name, at::IntArrayRef expected_shape);
  /// Counts a tensor as taken, if it is there.
  void skip(std::string_view name) { taken_.emplace(name); }
  /// The names that were not taken and begin so.
  std::vector<std::string> left(std::string_view prefix) const;

 private:
  struct Entry {
    std::string name;  // as the file has it
    std::vector<std::int64_t> shape;
    bool is_floating = false;
    std::string dtype;
  };

  void add(const std::string& name, Entry entry);
  const Entry& entry(std::string_view name) const;

  std::filesystem::path file_;
  std::function<at::Tensor(const std::string& name)> load_;
  ModelPlace place_;
  std::map<std::string, Entry, std::less<>> entries_;
  std::map<std::string, std::string, std::less<>> unread_;
  std::vector<std::string> harmful_names_;
  std::set<std::string, std::less<>> taken_;
};

}  // namespace vpd
