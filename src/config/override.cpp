#include <charconv>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>
#include <vpd/base/text.hpp>
#include <vpd/config/type.hpp>

// One value of a configuration, given as "training.steps=100" or "objective.0.coefficient=1e6".

namespace vpd::config {
namespace {

using Kind = Type::Kind;

void set_origin(Value& value, const std::string& origin) {
  value.origin = origin;
  if (Value::List* list = value.list()) {
    for (Value& element : *list) set_origin(element, origin);
  } else if (Value::Map* map = value.map()) {
    for (Entry& entry : *map) set_origin(entry.value, origin);
  }
}

// "a.b[0].c" and "a.b.0.c" into words.
std::vector<std::string> split(const std::string& path, const std::string& origin) {
  std::vector<std::string> words;
  std::size_t begin = 0;
  while (begin <= path.size()) {
    const std::size_t end = std::min(path.find_first_of(".[]", begin), path.size());
    // What follows "]" is the next separator, which ends an empty word that means nothing.
    const bool after_bracket = begin > 0 && path[begin - 1] == ']';
    if (end > begin) {
      words.push_back(path.substr(begin, end - begin));
    } else if (!after_bracket) {
      fail(origin, "", fmt::format("expected a path such as objective[0].coefficient, found \"{}\"", path));
    }
    begin = end + 1;
  }
  return words;
}

class Walk {
 public:
  Walk(Value& root, const Type& type, std::string origin)
      : value_(&root), type_(&type), origin_(std::move(origin)) {}

  void step(const std::string& word) {
    if (type_->kind == Kind::optional) type_ = &type_->inside[0];
    switch (type_->kind) {
      case Kind::fields:
        step_into(*type_, word, false);
        break;
      case Kind::variant:
        step_into_kind(word);
        break;
      case Kind::number_or_fields: {
        const Type& fields = type_->inside[0];
        if (!value_->map() && !value_->is_null()) {
          value_->data = Value::Map{{std::string(fields.members[0].field.key), *value_}};
        }
        step_into(fields, word, false);
        break;
      }
      case Kind::map:
        need_map();
        enter(word, Value());
        type_ = &type_->inside[0];
        break;
      case Kind::list:
        step_into_list(word);
        break;
      default:
        fail(origin_, path_,
             fmt::format("expected the end of the path, since this is {}, found \".{}\"",
                         describe_expected(*type_), word));
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
    const std::optional<std::string> likely = nearest(word, known);
    fail(origin_, join(path_, word),
         fmt::format("expected a known key ({}), found \"{}\"{}", join_words(known), word,
                     likely ? fmt::format(" (the nearest is \"{}\")", *likely) : ""));
  }

  void step_into_kind(const std::string& word) {
    static const Type text = [] {
      Type type;
      type.kind = Kind::text;
      return type;
    }();
    need_map();
    if (word == "type") {
      enter(word, Value());
      type_ = &text;
      return;
    }
    const Value* selected = value_->find("type");
    for (const Type& kind : type_->inside) {
      const bool is_it = selected ? selected->text() && *selected->text() == kind.name
                                  : kind.name == type_->limits.default_kind;
      if (is_it) return step_into(kind, word, true);
    }
    fail(origin_, join(path_, "type"),
         fmt::format("expected a known type before \"{}\" can be set, found {}", word,
                     selected ? describe_found(*selected) : "none"));
  }

  void step_into_list(const std::string& word) {
    if (!value_->list()) {
      fail(origin_, path_, fmt::format("expected a list, found {}", describe_found(*value_)));
    }
    const std::size_t size = value_->list()->size();
    std::size_t index = 0;
    const char* end = word.data() + word.size();
    const auto [stop, error] = std::from_chars(word.data(), end, index);
    if (stop != end || error != std::errc() || index >= size) {
      fail(origin_, path_,
           fmt::format("expected an index below {}, the number of its entries, found \"{}\"", size, word));
    }
    value_ = &(*value_->list())[index];
    path_ = join(path_, index);
    type_ = &type_->inside[0];
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
  const std::vector<std::string> words = split(override_text.substr(0, equals), origin);
  Value value = parse_yaml(override_text.substr(equals + 1), origin);
  set_origin(value, origin);

  Walk walk(root, type, origin);
  for (const std::string& word : words) walk.step(word);
  walk.value() = std::move(value);
}

}  // namespace vpd::config
