#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vpd/config/value.hpp"

namespace vpd {

/// A map of a configuration that another program wrote. Whoever reads it asks for each key by name and type;
/// what nobody asked for is there to be told, so that nothing is passed over in silence. A key whose value is
/// null counts as absent.
///
/// Every function that finds a value of another type throws DataError with file, line, place, what was
/// expected and what was found.
class ForeignMap {
 public:
  /// `value` has to live as long as this; `path` is where it stands in the file, "" at the top.
  ForeignMap(const config::Value& value, std::string path);

  const std::string& path() const { return path_; }

  std::optional<double> number(std::string_view key);
  std::optional<std::int64_t> whole(std::string_view key);
  std::optional<bool> truth(std::string_view key);
  std::optional<std::string> text(std::string_view key);
  std::optional<ForeignMap> map(std::string_view key);
  /// Empty where there is no such list.
  std::vector<ForeignMap> maps(std::string_view key);
  std::vector<double> numbers(std::string_view key);
  std::vector<std::string> texts(std::string_view key);
  /// The keys of a map of lists of texts.
  std::vector<std::pair<std::string, std::vector<std::string>>> text_lists(std::string_view key);

  /// Whether there is such a key, which is then counted as asked for.
  bool has(std::string_view key) { return find(key) != nullptr; }
  bool is_text(std::string_view key) const;
  bool is_map(std::string_view key) const;

  /// "run.yaml:12: ci_config.mode", for sentences; of the map itself for an empty key.
  std::string place(std::string_view key = {}) const;
  /// Throws DataError: the place, then "expected ..., found ..." with the value at the key.
  [[noreturn]] void fail(std::string_view key, const std::string& expected) const;

  /// Key and value, on one line, of what is there and was not asked for, nulls apart.
  std::vector<std::pair<std::string, std::string>> unasked() const;

 private:
  const config::Value* find(std::string_view key);
  const config::Value* peek(std::string_view key) const;

  const config::Value* value_;
  std::string path_;
  std::set<std::string, std::less<>> asked_;
};

}  // namespace vpd
