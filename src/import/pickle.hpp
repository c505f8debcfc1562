#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

// A reader of Python's pickles that runs nothing. In Python a pickle is a program: it may import any name and
// call it. This reader builds None, booleans, numbers, texts, lists, tuples and dictionaries
// (collections.OrderedDict among them), and whatever a PickleWorld makes of the few names that it knows. What
// only Python could make of any other name is passed over: a placeholder that says what would stand there.

namespace vpd {

struct PickleList;
struct PickleTuple;
struct PickleDictionary;
struct PickleName;
struct PicklePlaceholder;

// What a PickleWorld makes: a tensor, say.
class PickleObject {
 public:
  virtual ~PickleObject() = default;
};

// A value of a pickle. What it points to lives in the Pickle; the same thing may be pointed to from several
// places.
using PickleValue = std::variant<std::monostate, bool, std::int64_t, double, const std::string*, PickleList*,
                                 const PickleTuple*, PickleDictionary*, const PickleName*,
                                 const PickleObject*, PicklePlaceholder*>;

struct PickleList {
  std::vector<PickleValue> items;
};

struct PickleTuple {
  std::vector<PickleValue> items;
};

struct PickleDictionary {
  std::vector<std::pair<PickleValue, PickleValue>> items;  // in the file's order, keys as often as they come
};

// Something that Python would import, "torch.FloatStorage". Only names that the PickleWorld knows exist.
struct PickleName {
  std::string text;
};

// Stands where something would stand that this reader does not make: what a name that nobody knows is, or
// would give if it were called, bytes, sets, numbers of more than 64 bits ... Nothing of it is read but the
// entries that are put into it as into a dictionary, because a class may be a dictionary with a name of its
// own.
struct PicklePlaceholder {
  std::string_view what;  // "what 'argparse.Namespace' would make"
  std::vector<std::pair<PickleValue, PickleValue>> items;
};

// Thrown by a PickleWorld for what is in order and not supported. It becomes a placeholder.
struct NotMade {
  std::string what;
};

// What there is beyond plain values. Throws DataError where arguments are not what they have to be, and
// NotMade.
class PickleWorld {
 public:
  virtual ~PickleWorld() = default;
  virtual bool knows(std::string_view name) const = 0;
  // The object of a persistent id, with which a pickle points to something outside it.
  virtual std::unique_ptr<PickleObject> persistent(const PickleValue& id) const = 0;
  // The object that calling a known name with these arguments gives, of which none is a placeholder, nor
  // holds one in a tuple.
  virtual std::unique_ptr<PickleObject> call(const PickleName& name, const PickleTuple& arguments) const = 0;
};

// Owns every value of a pickle, so that one which holds itself is no leak.
class PickleMemory {
 public:
  const std::string* text(std::string_view content) { return &texts_.emplace_back(content); }
  PickleList* list() { return &lists_.emplace_back(); }
  const PickleTuple* tuple(std::vector<PickleValue> items) {
    return &tuples_.emplace_back(PickleTuple{std::move(items)});
  }
  PickleDictionary* dictionary() { return &dictionaries_.emplace_back(); }
  const PickleName* name(std::string text) { return &names_.emplace_back(PickleName{std::move(text)}); }
  const PickleObject* object(std::unique_ptr<PickleObject> object) {
    return objects_.emplace_back(std::move(object)).get();
  }
  PicklePlaceholder* placeholder(const std::string& what) {
    return &placeholders_.emplace_back(PicklePlaceholder{*words_.insert(what).first, {}});
  }

 private:
  std::deque<std::string> texts_;
  std::deque<PickleList> lists_;
  std::deque<PickleTuple> tuples_;
  std::deque<PickleDictionary> dictionaries_;
  std::deque<PickleName> names_;
  std::deque<std::unique_ptr<PickleObject>> objects_;
  std::deque<PicklePlaceholder> placeholders_;
  std::unordered_set<std::string> words_;  // of placeholders, of which many say the same
};

struct Pickle {
  PickleMemory memory;
  PickleValue root;
  // Names with which Python would run programs or code, "posix.system": no honest checkpoint has any.
  std::set<std::string> harmful_names;
};

// Reads one pickle of protocol 2, 3, 4 or 5 that fills `bytes`. `where` is what messages call it. The result
// may be deep and may hold itself. Throws DataError for anything else: an opcode that pickles of these
// protocols do not have, a pickle that ends early, goes on after its end or takes what is not there, more
// than 64 MiB or four million values.
Pickle read_pickle(std::span<const std::byte> bytes, const std::string& where, const PickleWorld& world);

// "None", "the number 3", "the text 'a'", "a list of 2 values", "the name torch.FloatStorage", ...
std::string describe(const PickleValue& value);

}  // namespace vpd
