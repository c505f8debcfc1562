#include "vpd/config/value.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "vpd/base/error.hpp"
#include "vpd/base/file_format.hpp"
#include "vpd/base/path_meaning.hpp"
#include "vpd/config/type.hpp"

namespace vpd::config {
namespace {

std::string counted(std::size_t count, std::string_view what, std::string_view plural) {
  return count == 0 ? fmt::format("an empty {}", what)
                    : fmt::format("a {} of {} {}", what, count, count == 1 ? "entry" : plural);
}

bool same(const Value& a, const Value& b) { return to_yaml_line(a) == to_yaml_line(b); }

const std::string* type_of_map(const Value& value) {
  const Value* type = value.find("type");
  return type ? type->text() : nullptr;
}

void compare(const Value& before, const Value& after, const std::string& path,
             std::vector<std::string>& lines) {
  if (same(before, after)) return;
  const std::string* type_before = type_of_map(before);
  const std::string* type_after = type_of_map(after);
  const bool other_kind = type_before && type_after && *type_before != *type_after;
  if (before.map() && after.map() && !other_kind) {
    for (const Entry& entry : *before.map()) {
      const std::string place = join(path, entry.key);
      if (const Value* other = after.find(entry.key)) {
        compare(entry.value, *other, place, lines);
      } else {
        lines.push_back(fmt::format("{}: {} was removed", place, to_yaml_line(entry.value)));
      }
    }
    for (const Entry& entry : *after.map()) {
      if (before.find(entry.key)) continue;
      lines.push_back(fmt::format("{}: {} was added", join(path, entry.key), to_yaml_line(entry.value)));
    }
  } else if (before.list() && after.list()) {
    const Value::List& old_list = *before.list();
    const Value::List& new_list = *after.list();
    for (std::size_t i = 0; i < std::max(old_list.size(), new_list.size()); ++i) {
      const std::string place = join(path, i);
      if (i >= new_list.size()) {
        lines.push_back(fmt::format("{}: {} was removed", place, to_yaml_line(old_list[i])));
      } else if (i >= old_list.size()) {
        lines.push_back(fmt::format("{}: {} was added", place, to_yaml_line(new_list[i])));
      } else {
        compare(old_list[i], new_list[i], place, lines);
      }
    }
  } else {
    lines.push_back(fmt::format("{}: {} became {}", path, to_yaml_line(before), to_yaml_line(after)));
  }
}

}  // namespace

const Value* Value::find(std::string_view key) const {
  const Map* entries = map();
  if (!entries) return nullptr;
  const auto found =
      std::find_if(entries->begin(), entries->end(), [&](const Entry& e) { return e.key == key; });
  return found == entries->end() ? nullptr : &found->value;
}

Value* Value::find(std::string_view key) { return const_cast<Value*>(std::as_const(*this).find(key)); }

std::string describe_found(const Value& value) {
  if (value.is_null()) return "null";
  if (const bool* boolean = std::get_if<bool>(&value.data)) return *boolean ? "true" : "false";
  if (const std::string* text = value.text()) {
    constexpr std::size_t longest = 60;
    return text->size() <= longest ? fmt::format("the text \"{}\"", *text)
                                   : fmt::format("the text \"{}...\"", text->substr(0, longest));
  }
  if (const Value::List* list = value.list()) return counted(list->size(), "list", "entries");
  if (const Value::Map* map = value.map()) return counted(map->size(), "map", "entries");
  return fmt::format("the number {}", to_yaml_line(value));
}

Value read_file(const std::filesystem::path& path) {
  std::error_code error;
  VPD_CHECK(!std::filesystem::is_directory(path, error), ConfigError,
            "{}: expected a configuration file, found a directory", path.string());
  std::ifstream file(path, std::ios::binary);
  const int reason = errno;
  VPD_CHECK(file.good(), ConfigError, "{}: expected a configuration file, found {}", path.string(),
            obstacle(path).value_or(fmt::format("none that can be read ({})", std::strerror(reason))));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  VPD_CHECK(!file.bad(), ConfigError, "{}: expected a configuration file, but reading it failed",
            path.string());
  // Asked only where the text makes no sense as a map: a Git LFS pointer, for one, is a text to YAML.
  const auto refuse_another_format = [&] {
    const auto format = other_format(text, path, FileUse::configuration);
    const bool is_text = text.find('\0') == std::string::npos;
    VPD_CHECK(!format, ConfigError, "{}: expected a configuration in YAML or JSON, found {}{}", path.string(),
              is_text ? "" : "a file that is no text: ", *format);
  };
  try {
    const bool json = path.extension() == ".json";
    Value value = json ? parse_json(text, path.string()) : parse_yaml(text, path.string());
    if (value.text()) refuse_another_format();
    return value;
  } catch (const ConfigError&) {
    refuse_another_format();
    throw;
  }
}

std::vector<std::string> differences(const Value& before, const Value& after) {
  std::vector<std::string> lines;
  compare(before, after, "", lines);
  return lines;
}

}  // namespace vpd::config
