#include "vpd/config/load.hpp"

#include "vpd/config/type.hpp"

namespace vpd::config {

Value load(const std::filesystem::path& path, const std::vector<std::string>& overrides, const Type& type,
           Files files) {
  Value value = read_file(path);
  for (const std::string& text : overrides) apply_override(value, type, text);
  accept(value, type, "", {std::filesystem::absolute(path).parent_path(), files});
  return value;
}

}  // namespace vpd::config
