#include <algorithm>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "vpd/config/type.hpp"

// The reference page: one section for each map of the file, in its order, then the maps that stand for a
// number.

namespace vpd::config {
namespace {

using TypeKind = Type::Kind;

std::string in_cell(std::string text) {
  for (std::size_t at = text.find('|'); at != std::string::npos; at = text.find('|', at + 2))
    text.insert(at, "\\");
  return text;
}

const Type& without_wrapping(const Type& type) {
  const bool wraps = type.kind == TypeKind::optional || type.kind == TypeKind::list;
  return wraps ? without_wrapping(type.inside[0]) : type;
}

std::string type_cell(const Type& type) {
  switch (type.kind) {
    case TypeKind::optional:
      return type_cell(type.inside[0]) + ", or null";
    case TypeKind::list:
      return (type.limits.is_non_empty ? "list, not empty: " : "list: ") + type_cell(type.inside[0]);
    case TypeKind::map:
      return "map of names to " + type_cell(type.inside[0]);
    case TypeKind::fields:
      return "map, below";
    case TypeKind::variant: {
      std::string kinds;
      for (const Type& kind : type.inside) {
        kinds += fmt::format("{}`{}`{}", kinds.empty() ? "" : ", ", kind.name,
                             kind.name == type.limits.default_kind ? " (which may go unsaid)" : "");
      }
      return "map, below, of type " + kinds;
    }
    case TypeKind::number_or_fields: {
      Type number;
      number.kind = TypeKind::number;
      number.limits = type.limits;
      return fmt::format("{}, or a {}", describe_expected(number), type.name);
    }
    default: {
      Type plain = type;
      plain.or_null = false;
      return describe_expected(plain);
    }
  }
}

std::string default_cell(const Member& member) {
  if (member.field.is_required) return "required";
  const std::string line = to_yaml_line(member.default_value);
  constexpr std::size_t longest = 60;
  const bool has_section = member.type.kind == TypeKind::fields || member.type.kind == TypeKind::variant;
  return !has_section || line.size() <= longest ? fmt::format("`{}`", line) : "the defaults below";
}

class Page {
 public:
  void section(const Type& type, const std::string& path, const std::string& heading) {
    const Type& inner = without_wrapping(type);
    if (inner.kind == TypeKind::variant) {
      const bool is_choice = inner.inside.size() > 1;
      if (is_choice) text += fmt::format("\n## {}\n\nOne of {} types.\n", heading, inner.inside.size());
      for (const Type& kind : inner.inside) {
        text += fmt::format("\n{} {}, type `{}`\n\n{}.\n", is_choice ? "###" : "##", heading, kind.name,
                            capitalised(kind.summary));
        table(kind);
        nested(kind, path);
      }
    } else {
      text += fmt::format("\n## {}\n\n{}.\n", heading, capitalised(inner.summary));
      table(inner);
      nested(inner, path);
    }
  }

  void numbers() {
    for (const Type* type : numbers_) {
      text += fmt::format("\n## A {}\n\n{}.\n", type->name, capitalised(type->inside[0].summary));
      table(type->inside[0]);
    }
  }

  std::string text;

 private:
  /// A sentence's first word with a capital; a formula's first symbol stays.
  static std::string capitalised(std::string sentence) {
    const auto small = [](char c) { return c >= 'a' && c <= 'z'; };
    if (sentence.size() > 1 && small(sentence[0]) && (small(sentence[1]) || sentence[1] == ' ')) {
      sentence[0] = static_cast<char>(sentence[0] - 'a' + 'A');
    }
    return sentence;
  }

  void table(const Type& fields) {
    if (fields.members.empty()) return;
    text += "\n| key | value | default | meaning |\n|---|---|---|---|\n";
    for (const Member& member : fields.members) {
      text += fmt::format("| `{}` | {} | {} | {} |\n", member.field.key, in_cell(type_cell(member.type)),
                          in_cell(default_cell(member)), in_cell(std::string(member.field.meaning)));
    }
  }

  void nested(const Type& fields, const std::string& path) {
    for (const Member& member : fields.members) {
      const Type& inner = without_wrapping(member.type);
      std::string place = join(path, member.field.key);
      for (const Type* wrapped = &member.type; wrapped != &inner; wrapped = &wrapped->inside[0]) {
        if (wrapped->kind == TypeKind::list) place += "[]";
      }
      if (inner.kind == TypeKind::fields || inner.kind == TypeKind::variant) {
        once(inner, place);
      } else if (inner.kind == TypeKind::number_or_fields) {
        const bool known = std::any_of(numbers_.begin(), numbers_.end(),
                                       [&](const Type* other) { return other->name == inner.name; });
        if (!known) numbers_.push_back(&inner);
      }
    }
  }

  // Two places with the same map, as data.train and data.eval, need one description.
  void once(const Type& type, const std::string& place) {
    Page page;
    page.section(type, "", "");
    const auto known = std::find_if(described_.begin(), described_.end(),
                                    [&](const auto& described) { return described.first == page.text; });
    if (known == described_.end()) {
      described_.emplace_back(page.text, place);
      section(type, place, fmt::format("`{}`", place));
    } else if (known->second != place) {
      text += fmt::format("\n## `{}`\n\nAs `{}`.\n", place, known->second);
    }
  }

  std::vector<const Type*> numbers_;
  std::vector<std::pair<std::string, std::string>> described_;
};

}  // namespace

std::string reference(const Type& type, const std::string& title) {
  Page page;
  page.section(type, "", title);
  const std::size_t summary = page.text.find("\n\n| key ");
  page.text.insert(
      summary,
      " YAML, or JSON in a file that ends so. Relative paths begin at the directory of that "
      "file, those of `--set` "
      "too.\n`--set key=value` takes a place of any depth (`training.steps=100`, "
      "`objective.faithfulness.coefficient=1e6`) and a value in YAML. An entry of a list goes by "
      "its label, or by its index, from 0:\na term of the objective and a metric by its `name`, "
      "else by its type; sites by their pattern (`sites.h.*.mlp.c_fc.C=512`).");
  page.numbers();
  return page.text.substr(2);  // the first section's heading is the page's
}

}  // namespace vpd::config
