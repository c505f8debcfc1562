#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "vpd/base/text.hpp"
#include "vpd/config/type.hpp"

// One value of a configuration, given as "training.steps=100" or "objective.faithfulness.coefficient=1e6".

namespace vpd::config {
namespace {

using TypeKind = Type::Kind;

void set_origin(Value& value, const std::string& origin) {
  value.origin = origin;
  if (Value::List* list = value.list()) {
    for (Value& element : *list) set_origin(element, origin);
  } else if (Value::Map* map = value.map()) {
    for (Entry& entry : *map) set_origin(entry.value, origin);
  }
}

// "a.b[0].c", "a.b.0.c" and "sites.h.*.mlp.c_fc.C", taken apart word by word: where a word ends may hang on
// the names that there are.
class Path {
 public:
  Path(std::string text, const std::string& origin) : text_(std::move(text)), origin_(origin) {
    if (text_.empty() || text_.front() == '.' || text_.back() == '.' ||
        text_.find("..") != std::string::npos) {
      refuse();
    }
  }

  bool done() const { return at_ > text_.size(); }

  // The longest of the names that stands here whole, or what comes before the next separator.
  std::string next(const std::vector<std::string>& names = {}) {
    std::size_t longest = 0;
    for (const std::string& name : names) {
      if (name.size() > longest && rest().starts_with(name) && ends(at_ + name.size())) longest = name.size();
    }
    const std::size_t end =
        longest > 0 ? at_ + longest : std::min(text_.find_first_of(".[]", at_), text_.size());
    if (end == at_) refuse();
    const std::string word = text_.substr(at_, end - at_);
    at_ = end + 1;
    // What follows "]" is the next separator.
    const bool closed = end < text_.size() && text_[end] == ']';
    if (closed && (at_ == text_.size() || text_[at_] == '.' || text_[at_] == '[')) ++at_;
    return word;
  }

 private:
  [[noreturn]] void refuse() const {
    fail(origin_, "",
         fmt::format("expected a path such as objective.faithfulness.coefficient, found \"{}\"", text_));
  }
  std::string_view rest() const { return std::string_view(text_).substr(at_); }
  bool ends(std::size_t end) const {
    return end == text_.size() || text_[end] == '.' || text_[end] == '[' || text_[end] == ']';
  }

  std::string text_;
  std::string origin_;
  std::size_t at_ = 0;
};

const std::string* text_at(const Value& value, std::string_view key) {
  const Value* found = value.find(key);
  return found ? found->text() : nullptr;
}

const Type& without_null(const Type& type) { return type.kind == TypeKind::optional ? type.inside[0] : type; }

// The kind of a variant that the value is; null where it is none.
const Type* selected_kind(const Value& value, const Type& variant) {
  const Value* selected = value.find("type");
  for (const Type& kind : variant.inside) {
    const bool is_it = selected ? selected->text() && *selected->text() == kind.name
                                : kind.name == variant.limits.default_kind;
    if (is_it) return &kind;
  }
  return nullptr;
}

// What an entry of a list is called: the text of its field that is a label, else its type, else nothing.
std::string label_of(const Value& entry, const Type& type) {
  const Type* fields = type.kind == TypeKind::variant ? selected_kind(entry, type) : &type;
  if (!fields) return "";
  for (const Member& member : fields->members) {
    const std::string* name = member.field.is_label ? text_at(entry, member.field.key) : nullptr;
    if (name) return *name;
  }
  return type.kind == TypeKind::variant ? fields->name : "";
}

class Walk {
 public:
  Walk(Value& root, const Type& type, std::string origin)
      : value_(&root), type_(&type), origin_(std::move(origin)) {}

  void step(Path& path) {
    type_ = &without_null(*type_);
    switch (type_->kind) {
      case TypeKind::fields:
        step_into(*type_, path.next(), false);
        break;
      case TypeKind::variant:
        step_into_kind(path.next());
        break;
      case TypeKind::number_or_fields: {
        const Type& fields = type_->inside[0];
        if (!value_->map() && !value_->is_null()) {
          value_->data = Value::Map{{std::string(fields.members[0].field.key), *value_}};
        }
        step_into(fields, path.next(), false);
        break;
      }
      case TypeKind::map: {
        need_map();
        std::vector<std::string> names;
        for (const Entry& entry : *value_->map()) names.push_back(entry.key);
        enter(path.next(names), Value());
        type_ = &type_->inside[0];
        break;
      }
      case TypeKind::list:
        step_into_list(path);
        break;
      default:
        fail(origin_, path_,
             fmt::format("expected the end of the path, since this is {}, found \".{}\"",
                         describe_expected(*type_), path.next()));
    }
  }

  Value& value() { return *value_; }

 private:
  void need_map() {
    if (value_->is_null()) *value_ = Value(Value::Map());
    if (!value_->map()) {
      fail(origin_, path_,
           fmt::format("expected {}, found {}", describe_expected(*type_), describe_found(*value_)));
    }
  }

  void enter(const std::string& key, const Value& default_value) {
    if (!value_->find(key)) {
      value_->map()->push_back({key, default_value});
      set_origin(value_->map()->back().value, origin_);
    }
    value_ = value_->find(key);
    path_ = join(path_, key);
  }

  void step_into(const Type& fields, const std::string& word, bool kinded) {
    need_map();
    std::vector<std::string> known;
    if (kinded) known.emplace_back("type");
    for (const Member& member : fields.members) {
      if (member.field.key == word) {
        enter(word, member.default_value);
        type_ = &member.type;
        return;
      }
      known.emplace_back(member.field.key);
    }
    if (known.empty()) fail(origin_, path_, fmt::format("expected no keys here, found \"{}\"", word));
    fail(origin_, join(path_, word),
         fmt::format("expected a known key ({}), found \"{}\"{}", join_words(known), word,
                     nearest_hint(word, known)));
  }

  void step_into_kind(const std::string& word) {
    static const Type text = [] {
      Type type;
      type.kind = TypeKind::text;
      return type;
    }();
    need_map();
    if (word == "type") {
      enter(word, Value());
      type_ = &text;
      return;
    }
    if (const Type* kind = selected_kind(*value_, *type_)) return step_into(*kind, word, true);
    const Value* selected = value_->find("type");
    fail(origin_, join(path_, "type"),
         fmt::format("expected a known type before \"{}\" can be set, found {}", word,
                     selected ? describe_found(*selected) : "none"));
  }

  // An index comes before a label that looks like one.
  void step_into_list(Path& path) {
    if (!value_->list()) {
      fail(origin_, path_, fmt::format("expected a list, found {}", describe_found(*value_)));
    }
    const Type& entry_type = without_null(type_->inside[0]);
    const std::size_t size = value_->list()->size();
    std::vector<std::string> labels, names;  // of all entries; those that are not empty
    for (const Value& entry : *value_->list()) {
      labels.push_back(label_of(entry, entry_type));
      if (!labels.back().empty()) names.push_back(labels.back());
    }
    const std::string word = path.next(names);
    std::size_t index = 0;
    const char* end = word.data() + word.size();
    const auto [stop, error] = std::from_chars(word.data(), end, index);
    if (stop != end || error != std::errc() || index >= size) index = index_of(word, labels, names);
    value_ = &(*value_->list())[index];
    path_ = join(path_, index);
    type_ = &type_->inside[0];
  }

  std::size_t index_of(const std::string& word, const std::vector<std::string>& labels,
                       const std::vector<std::string>& names) const {
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      if (labels[i] == word) found.push_back(i);
    }
    if (found.size() == 1) return found[0];
    // A metric that has a name of its own still goes by its type where it is the only one of it.
    if (found.empty()) {
      for (std::size_t i = 0; i < labels.size(); ++i) {
        const std::string* type = text_at((*value_->list())[i], "type");
        if (type && *type == word) found.push_back(i);
      }
      if (found.size() == 1) return found[0];
    }
    if (found.size() > 1) {
      fail(origin_, path_,
           fmt::format("expected an index or a label that one entry has, found \"{}\", which {} have: "
                       "write [{}] or [{}]",
                       word, found.size(), found[0], found[1]));
    }
    fail(origin_, path_,
         fmt::format("expected an index below {}, the number of its entries{}, found \"{}\"{}", labels.size(),
                     names.empty() ? "" : ", or a label (" + join_words(names) + ")", word,
                     nearest_hint(word, names)));
  }

  Value* value_;
  const Type* type_;
  std::string origin_;
  std::string path_;
};

}  // namespace

void apply_override(Value& root, const Type& type, const std::string& override_text) {
  const std::string origin = "--set " + override_text;
  const std::size_t equals = override_text.find('=');
  if (equals == std::string::npos) fail(origin, "", "expected KEY=VALUE, found no \"=\"");
  Value value = parse_yaml(override_text.substr(equals + 1), origin);
  set_origin(value, origin);

  Path path(override_text.substr(0, equals), origin);
  Walk walk(root, type, origin);
  do walk.step(path);
  while (!path.done());
  walk.value() = std::move(value);
}

}  // namespace vpd::config
