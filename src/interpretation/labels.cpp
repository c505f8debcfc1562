#include "vpd/interpretation/labels.hpp"

#include <algorithm>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::size_t longest_label = 200;

struct LabelField {
  const char* name;
  std::string Label::*text;
};
constexpr LabelField fields[] = {{"label", &Label::label},
                                 {"input_label", &Label::input_label},
                                 {"output_label", &Label::output_label},
                                 {"confidence", &Label::confidence},
                                 {"source", &Label::source},
                                 {"time", &Label::time}};

/// Controls, line separators, and marks that turn the direction of text.
bool steers(char32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200b && c <= 0x200f) ||
         (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || c == 0x61c;
}

/// Line ends and every kind of space, which become plain spaces.
bool is_space(char32_t c) {
  return c == '\n' || c == '\r' || c == '\t' || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
         c == 0x202f || c == 0x205f || c == 0x3000;
}

std::string allowed(const std::string& text, const std::string& where, const char* field) {
  std::string kept;
  std::size_t length = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const DecodedCharacter character = decode_utf8(rest);
    VPD_CHECK(character.code_point != 0xfffd || rest.starts_with("\xEF\xBF\xBD"), DataError,
              "{}: expected UTF-8 under \"{}\", found bytes that are none", where, field);
    if (is_space(character.code_point)) {
      kept += ' ';
      ++length;
    } else if (!steers(character.code_point)) {
      kept.append(rest.substr(0, character.length));
      ++length;
    }
    rest.remove_prefix(character.length);
    VPD_CHECK(length <= longest_label, DataError,
              "{}: expected at most {} characters under \"{}\", found more", where, longest_label, field);
  }
  return kept;
}

}  // namespace

fs::path labels_path(const RunDirectory& run, std::int64_t step) {
  return results_path(run, step) / "labels.json";
}

Labels::Labels(fs::path path) : path_(std::move(path)) {
  std::error_code error;
  if (!fs::exists(path_, error)) return;
  const Json json = Json::parse(read_text(path_), nullptr, /*allow_exceptions=*/false);
  VPD_CHECK(json.is_object(), DataError,
            "{}: expected an object of labels, found something else; move it away", path_.string());
  for (const auto& [key, value] : json.items()) {
    VPD_CHECK(value.is_object(), DataError, "{}: expected an object under {}, found something else",
              path_.string(), quote_foreign(key));
    Label label;
    for (const LabelField& field : fields)
      if (value.contains(field.name) && value[field.name].is_string())
        label.*field.text = value[field.name].get<std::string>();
    labels_[key] = label;
  }
}

std::string Labels::label_of(const std::string& key) const {
  const auto found = labels_.find(key);
  return found == labels_.end() ? "" : found->second.label;
}

void Labels::set(const std::string& key, Label label, const std::string& where) {
  for (const LabelField& field : fields) label.*field.text = allowed(label.*field.text, where, field.name);
  const bool blank =
      std::all_of(label.label.begin(), label.label.end(), [](unsigned char c) { return c == ' '; });
  VPD_CHECK(!blank, DataError, "{}: expected a label of {}, found none", where, quote_foreign(key));
  labels_[key] = std::move(label);
}

void Labels::save() const {
  Json json = Json::object();
  for (const auto& [key, label] : labels_)
    for (const LabelField& field : fields)
      if (!(label.*field.text).empty()) json[key][field.name] = label.*field.text;
  std::error_code ignored;
  fs::create_directories(path_.parent_path(), ignored);
  write_atomically(path_, json_text(json, 1) + "\n");
}

}  // namespace vpd
