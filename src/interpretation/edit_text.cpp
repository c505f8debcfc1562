// Edits as people write them: options and edits.yaml.

#include <charconv>
#include <cmath>

#include <yaml-cpp/yaml.h>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/interpretation/edit.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

using EditKind = EditSpec::Kind;

struct KindWords {
  EditKind kind;
  const char* name;
  const char* argument;  ///< its key in edits.yaml; empty: none
};
constexpr KindWords kinds[] = {{EditKind::ablate, "ablate", ""},
                               {EditKind::scale, "scale", "factor"},
                               {EditKind::activation, "activation", "value"},
                               {EditKind::write, "write", "direction"},
                               {EditKind::read, "read", "from"},
                               {EditKind::swap, "swap", "with"}};

bool takes_number(EditKind kind) { return kind == EditKind::scale || kind == EditKind::activation; }

std::optional<double> number_in(std::string_view text) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(value)
             ? std::optional(value)
             : std::nullopt;
}
std::optional<std::int64_t> whole_in(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

std::vector<std::string> known_kinds() {
  std::vector<std::string> names;
  for (const KindWords& words : kinds) names.emplace_back(words.name);
  return names;
}

double finite(const YAML::Node& value, const std::string& where, const std::string& key) {
  const auto number = value.as<double>();
  VPD_CHECK(std::isfinite(number), DataError, "{}: expected a finite number under \"{}\", found {}", where,
            key, number);
  return number;
}

void read_where(const YAML::Node& node, EditWhere& to, const std::string& where) {
  VPD_CHECK(node.IsMap(), DataError, "{}: expected importance or positions under \"where\", found neither",
            where);
  for (const auto& entry : node) {
    const auto key = entry.first.as<std::string>();
    if (key == "importance") {
      to.importance = finite(entry.second, where, key);
      VPD_CHECK(*to.importance >= 0.0, DataError, "{}: expected an importance of at least 0, found {:g}",
                where, *to.importance);
    } else if (key == "positions") {
      VPD_CHECK(entry.second.IsSequence() && entry.second.size() == 2, DataError,
                "{}: expected positions as [first, end], found something else", where);
      to.positions = {entry.second[0].as<std::int64_t>(), entry.second[1].as<std::int64_t>()};
      VPD_CHECK(to.positions->first >= 0 && to.positions->second > to.positions->first, DataError,
                "{}: expected positions [first, end] from 0 on, found [{}, {}]", where, to.positions->first,
                to.positions->second);
    } else {
      throw DataError(fmt::format("{}: expected importance or positions under \"where\", found {}", where,
                                  quote_foreign(key)));
    }
  }
}

EditSpec read_edit(const YAML::Node& node, const std::string& where) {
  VPD_CHECK(node.IsMap(), DataError, "{}: expected an edit such as {{ablate: SITE:C}}, found something else",
            where);
  EditSpec edit;
  const KindWords* found = nullptr;
  for (const KindWords& words : kinds) {
    if (!node[words.name]) continue;
    VPD_CHECK(!found, DataError, "{}: expected one of {}, found {} and {}", where, join_words(known_kinds()),
              found->name, words.name);
    found = &words;
  }
  VPD_CHECK(found, DataError, "{}: expected one of {}, found none of them", where, join_words(known_kinds()));
  edit.kind = found->kind;
  edit.key = node[found->name].as<std::string>();
  for (const auto& entry : node) {
    const auto key = entry.first.as<std::string>();
    const YAML::Node& value = entry.second;
    if (key == found->name) continue;
    if (key == found->argument && takes_number(edit.kind)) {
      edit.number = finite(value, where, key);
    } else if (key == found->argument) {
      edit.other = value.as<std::string>();
    } else if (key == "strength" && edit.kind == EditKind::write) {
      edit.number = finite(value, where, key);
    } else if (key == "head") {
      edit.head = value.as<std::int64_t>();
    } else if (key == "where") {
      read_where(value, edit.where, where);
    } else {
      throw DataError(fmt::format("{}: expected {}, head or where beside {}, found {}", where,
                                  *found->argument ? found->argument : "nothing", found->name,
                                  quote_foreign(key)));
    }
  }
  VPD_CHECK(!*found->argument || node[found->argument], DataError,
            "{}: expected \"{}\" beside {}, found none", where, found->argument, found->name);
  return edit;
}

}  // namespace

std::string name_of(EditSpec::Kind kind) {
  for (const KindWords& words : kinds)
    if (words.kind == kind) return words.name;
  return {};
}

EditSpec parse_edit(EditSpec::Kind kind, const std::string& text) {
  EditSpec edit{.kind = kind};
  const std::size_t equals = text.find('=');
  edit.key = text.substr(0, equals);
  if (kind == EditKind::ablate) {
    VPD_CHECK(equals == std::string::npos, UsageError, "--ablate: expected a subcomponent alone, found {}",
              quote_foreign(text));
    return edit;
  }
  VPD_CHECK(equals != std::string::npos && equals + 1 < text.size(), UsageError,
            "--{}: expected SITE:C={}, found {}", name_of(kind),
            takes_number(kind)        ? "NUMBER"
            : kind == EditKind::write ? "unembed:TOKEN*STRENGTH or SITE:C*STRENGTH"
                                      : "SITE:C",
            quote_foreign(text));
  edit.other = text.substr(equals + 1);
  if (takes_number(kind)) {
    const auto number = number_in(edit.other);
    VPD_CHECK(number, UsageError, "--{} {}: expected a number behind =, found {}", name_of(kind), edit.key,
              quote_foreign(edit.other));
    edit.number = *number;
    edit.other.clear();
  } else if (const std::size_t times = edit.other.rfind('*');
             kind == EditKind::write && times != std::string::npos) {
    if (const auto strength = number_in(std::string_view(edit.other).substr(times + 1))) {
      edit.number = *strength;
      edit.other.resize(times);
    }
  }
  return edit;
}

double parse_where(const std::string& text) {
  constexpr std::string_view begin = "importance>";
  const auto threshold =
      text.starts_with(begin) ? number_in(std::string_view(text).substr(begin.size())) : std::nullopt;
  VPD_CHECK(threshold && *threshold >= 0.0, UsageError,
            "--where: expected importance>NUMBER, as in importance>0.1, found {}", quote_foreign(text));
  return *threshold;
}

std::pair<std::int64_t, std::int64_t> parse_positions(const std::string& text) {
  const std::size_t colon = text.find(':');
  const auto first = whole_in(text.substr(0, colon)),
             last = colon == std::string::npos ? first : whole_in(text.substr(colon + 1));
  VPD_CHECK(first && last && *first >= 0 && (colon == std::string::npos || *last > *first), UsageError,
            "--positions: expected FIRST:END, as in 3:9 for positions 3 to 8, or one position, found {}",
            quote_foreign(text));
  return {*first, colon == std::string::npos ? *first + 1 : *last};
}

std::vector<EditSpec> read_edits(const std::filesystem::path& path) {
  std::vector<EditSpec> edits;
  try {
    YAML::Node file = YAML::Load(read_text(path));
    if (file.IsMap() && file["edits"]) file = file["edits"];
    VPD_CHECK(file.IsSequence(), DataError, "{}: expected a list of edits, found something else",
              path.string());
    for (std::size_t i = 0; i < file.size(); ++i)
      edits.push_back(read_edit(file[i], fmt::format("{}: edit {}", path.string(), i + 1)));
  } catch (const YAML::Exception& error) {
    throw DataError(fmt::format("{}: expected a list of edits in YAML: {} in line {}", path.string(),
                                error.msg, error.mark.line + 1));
  }
  return edits;
}

nlohmann::ordered_json to_json(const EditSpec& edit) {
  nlohmann::ordered_json json;
  for (const KindWords& words : kinds) {
    if (words.kind != edit.kind) continue;
    json[words.name] = edit.key;
    if (!*words.argument) continue;
    json[words.argument] =
        takes_number(edit.kind) ? nlohmann::ordered_json(edit.number) : nlohmann::ordered_json(edit.other);
  }
  if (edit.kind == EditKind::write) json["strength"] = edit.number;
  if (edit.head) json["head"] = *edit.head;
  if (edit.where.positions)
    json["where"]["positions"] = {edit.where.positions->first, edit.where.positions->second};
  if (edit.where.importance) json["where"]["importance"] = *edit.where.importance;
  return json;
}

}  // namespace vpd
