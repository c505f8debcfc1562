#pragma once

#include <optional>
#include <string>
#include <string_view>

// How a configuration struct speaks about itself. Each struct is plain, its defaults stand at its members,
// and one function names every field once:
//
//   struct OutputConfig {
//     static constexpr std::string_view summary = "what is written, and how often";
//     std::int64_t log_every = 200;
//     template <class Self, class Visitor>
//     static void describe(Self& self, Visitor& visit) {
//       visit(config::field("log_every", "steps between two logged steps").at_least(1), self.log_every);
//     }
//     bool operator==(const OutputConfig&) const = default;
//   };
//
// A kind of a variant adds `static constexpr std::string_view kind`, the value of its `type` key. A struct
// whose fields depend on each other adds `std::optional<config::Complaint> validate() const`. An enumeration
// has a function `config_names(Enum)` beside it. Reading, printing, the JSON Schema and the reference all
// derive from these (reflection.hpp), and only the two or three sources that do so include that header.

namespace vpd::config {

// What a path has to be when files are looked for.
enum class PathKind { directory, file_directory_or_pattern };

struct Field {
  std::string_view key;
  std::string_view meaning;  // one line, with the unit and the neutral value where there is one

  // A range speaks of the number itself, of each number of a list, and of every value of a schedule.
  std::optional<double> minimum = std::nullopt;
  std::optional<double> above = std::nullopt;  // exclusive minimum
  std::optional<double> maximum = std::nullopt;
  std::optional<double> below = std::nullopt;  // exclusive maximum

  bool is_required = false;
  bool is_non_empty = false;
  std::string_view regex = {};          // the whole text has to match
  std::string_view regex_meaning = {};  // the same in words
  PathKind path_kind = PathKind::file_directory_or_pattern;
  std::string_view default_kind = {};  // of a variant: what it is where the file gives no `type`
  bool is_label = false;  // of an entry of a list: its text names the entry in paths, as an index does

  constexpr Field required() const {
    Field copy = *this;
    copy.is_required = true;
    return copy;
  }
  constexpr Field non_empty() const {
    Field copy = *this;
    copy.is_non_empty = true;
    return copy;
  }
  constexpr Field at_least(double bound) const {
    Field copy = *this;
    copy.minimum = bound;
    return copy;
  }
  constexpr Field at_most(double bound) const {
    Field copy = *this;
    copy.maximum = bound;
    return copy;
  }
  constexpr Field more_than(double bound) const {
    Field copy = *this;
    copy.above = bound;
    return copy;
  }
  constexpr Field less_than(double bound) const {
    Field copy = *this;
    copy.below = bound;
    return copy;
  }
  constexpr Field fraction() const { return at_least(0).at_most(1); }
  constexpr Field matching(std::string_view pattern, std::string_view in_words) const {
    Field copy = *this;
    copy.regex = pattern;
    copy.regex_meaning = in_words;
    return copy;
  }
  constexpr Field of_kind_by_default(std::string_view kind) const {
    Field copy = *this;
    copy.default_kind = kind;
    return copy;
  }
  constexpr Field label() const {
    Field copy = *this;
    copy.is_label = true;
    return copy;
  }
  constexpr Field directory() const {
    Field copy = *this;
    copy.path_kind = PathKind::directory;
    return copy;
  }
};

constexpr Field field(std::string_view key, std::string_view meaning) { return {key, meaning}; }

// What is wrong between the fields of one struct: the path from that struct to the culprit, and the rest of
// the sentence ("expected ..., found ...").
struct Complaint {
  std::string where;
  std::string text;
};

// One value of an enumeration and its name in files.
template <class Enum>
struct EnumName {
  Enum value;
  std::string_view name;
};

}  // namespace vpd::config
