#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

// A reader of Python's pickles that runs nothing. In Python a pickle is a program: it may import any name and
// call it. This reader builds None, booleans, numbers, texts, lists, tuples and dictionaries
// (collections.OrderedDict among them), and whatever a PickleWorld makes of the few names that it knows. Any
// other name is an error that says it.

namespace vpd {

struct PickleList;
struct PickleTuple;
struct PickleDictionary;
struct PickleName;

// What a PickleWorld makes: a tensor, say.
class PickleObject {
 public:
  virtual ~PickleObject() = default;
};

// A value of a pickle. What it points to lives in the Pickle; the same thing may be pointed to from several
// places.
using PickleValue =
    std::variant<std::monostate, bool, std::int64_t, double, const std::string*, PickleList*,
                 const PickleTuple*, PickleDictionary*, const PickleName*, const PickleObject*>;

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

// What there is beyond plain values. Throws DataError where arguments are not what they have to be.
class PickleWorld {
 public:
  virtual ~PickleWorld() = default;
  virtual bool knows(std::string_view name) const = 0;
  // The object of a persistent id, with which a pickle points to something outside it.
  virtual std::unique_ptr<PickleObject> persistent(const PickleValue& id) const = 0;
  // The object that calling a known name with these arguments gives.
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

 private:
  std::deque<std::string> texts_;
  std::deque<PickleList> lists_;
  std::deque<PickleTuple> tuples_;
  std::deque<PickleDictionary> dictionaries_;
  std::deque<PickleName> names_;
  std::deque<std::unique_ptr<PickleObject>> objects_;
};

struct Pickle {
  PickleMemory memory;
  PickleValue root;
};

// Reads one pickle of protocol 2, 3, 4 or 5 that fills `bytes`. `where` is what messages call it. The result
// holds no cycle and is at most 64 levels deep. Throws DataError for anything else: an opcode or a name that
// is not accepted (by its name), a pickle that ends early, goes on after its end or takes what is not there,
// more than 64 MiB or four million values.
Pickle read_pickle(std::span<const std::byte> bytes, const std::string& where, const PickleWorld& world);

// "None", "the number 3", "the text 'a'", "a list of 2 values", "the name torch.FloatStorage", ...
std::string describe(const PickleValue& value);

}  // namespace vpd
