#include "pickle_stack.hpp"

#include <algorithm>
#include <iterator>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"

namespace vpd {
namespace {

constexpr std::size_t kMostValues = 4'000'000;
constexpr std::size_t kMostHarmful = 8;
constexpr std::size_t kMostArguments = 64;
constexpr std::string_view kOrderedDict = "collections.OrderedDict";
constexpr std::string_view kName = "the name ", kResult = "what ", kDepends = "something that depends on ";

// Whether Python would run programs, code or other files by the name. Nothing depends on the answer but a
// warning to those who might load the file elsewhere.
bool is_harmful(std::string_view name) {
  constexpr std::string_view modules[] = {"posix.",    "nt.",        "os.",     "subprocess.",
                                          "pty.",      "runpy.",     "socket.", "shutil.",
                                          "ctypes.",   "importlib.", "code.",   "webbrowser.",
                                          "commands.", "torch.hub.", "pip.",    "asyncio.subprocess."};
  constexpr std::string_view functions[] = {"eval",       "exec", "execfile", "compile",
                                            "__import__", "open", "input"};
  const auto starts = [&](std::string_view module) { return name.starts_with(module); };
  if (std::any_of(std::begin(modules), std::end(modules), starts)) return true;
  for (const std::string_view module : {"builtins.", "__builtin__."}) {
    if (starts(module)) {
      return std::find(std::begin(functions), std::end(functions), name.substr(module.size())) !=
             std::end(functions);
    }
  }
  return false;
}

// The placeholder that a value is, or that a tuple holds. Longer and deeper ones are no arguments of any call
// that is known, and may be looked into over and over.
const PicklePlaceholder* placeholder_in(const PickleValue& value, int depth = 0) {
  if (auto* const* found = std::get_if<PicklePlaceholder*>(&value)) return *found;
  const auto* const* tuple = std::get_if<const PickleTuple*>(&value);
  if (!tuple || depth > 2) return nullptr;
  if ((*tuple)->items.size() > kMostArguments) return nullptr;
  for (const PickleValue& item : (*tuple)->items) {
    if (const PicklePlaceholder* found = placeholder_in(item, depth + 1)) return found;
  }
  return nullptr;
}

}  // namespace

void PickleStack::check(bool holds, std::string_view expected) const {
  VPD_CHECK(
      holds, DataError,
      "{}: expected {}, found something else at byte {}; the file is damaged or no pickle, copy it again",
      where_, expected, position_);
}

void PickleStack::count() {
  VPD_CHECK(++values_ <= kMostValues, DataError,
            "{}: expected at most {} values, found more; leave all but the tensors out of the checkpoint",
            where_, kMostValues);
}

void PickleStack::push(PickleValue value) {
  count();
  stack_.push_back(value);
}

// Python writes halves of surrogate pairs too, in which it keeps names of files that are no UTF-8.
void PickleStack::push_text(std::string_view text) {
  if (to_valid_utf8(text) == text) {
    push(pickle_.memory.text(text));
  } else {
    push_placeholder("a text that is not UTF-8");
  }
}

void PickleStack::push_name(std::string_view module, std::string_view name) {
  std::string text = fmt::format("{}.{}", module, name);
  if (text == kOrderedDict || world_.knows(text)) {
    push(pickle_.memory.name(std::move(text)));
    return;
  }
  if (is_harmful(text) && pickle_.harmful_names.size() < kMostHarmful) pickle_.harmful_names.insert(text);
  push_placeholder(fmt::format("{}{}", kName, quote_foreign(text)));
}

void PickleStack::push_tuple(std::size_t size) {
  std::vector<PickleValue> items(size);
  for (std::size_t i = size; i-- > 0;) items[i] = pop();
  push(pickle_.memory.tuple(std::move(items)));
}

void PickleStack::mark() {
  count();
  marks_.push_back(stack_.size());
}

const PickleValue& PickleStack::top() const {
  check(stack_.size() > (marks_.empty() ? 0 : marks_.back()), "a value on the stack");
  return stack_.back();
}

PickleValue PickleStack::pop() {
  const PickleValue value = top();
  stack_.pop_back();
  return value;
}

std::vector<PickleValue> PickleStack::pop_marked() {
  check(!marks_.empty(), "a mark on the stack");
  const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  std::vector<PickleValue> values(begin, stack_.end());
  stack_.erase(begin, stack_.end());
  marks_.pop_back();
  return values;
}

void PickleStack::drop() {
  if (!marks_.empty() && marks_.back() == stack_.size()) {
    marks_.pop_back();
  } else {
    pop();
  }
}

void PickleStack::put(std::uint64_t place) {
  count();
  memo_.insert_or_assign(place, top());
}

void PickleStack::get(std::uint64_t place) {
  const auto found = memo_.find(place);
  check(found != memo_.end(), "a value that was put aside before");
  push(found->second);
}

void PickleStack::append(const std::vector<PickleValue>& values) {
  if (std::holds_alternative<PicklePlaceholder*>(top())) return;
  auto* const* list = std::get_if<PickleList*>(&top());
  check(list != nullptr, "a list to append to");
  (*list)->items.insert((*list)->items.end(), values.begin(), values.end());
}

void PickleStack::add(const std::vector<PickleValue>&) {
  check(std::holds_alternative<PicklePlaceholder*>(top()), "a set to put values into");
}

void PickleStack::set_items(const std::vector<PickleValue>& values) {
  auto* const* placeholder = std::get_if<PicklePlaceholder*>(&top());
  auto* const* dictionary = std::get_if<PickleDictionary*>(&top());
  check(placeholder || dictionary, "a dictionary to put values into");
  check(values.size() % 2 == 0, "a value for each key");
  auto& items = placeholder ? (*placeholder)->items : (*dictionary)->items;
  for (std::size_t i = 0; i < values.size(); i += 2) {
    const bool hashable = !std::holds_alternative<PickleList*>(values[i]) &&
                          !std::holds_alternative<PickleDictionary*>(values[i]);
    check(hashable, "keys that are no lists and no dictionaries");
    items.emplace_back(values[i], values[i + 1]);
  }
}

void PickleStack::push_result(const PickleValue& called) {
  auto* const* placeholder = std::get_if<PicklePlaceholder*>(&called);
  const auto* const* name = std::get_if<const PickleName*>(&called);
  check(placeholder || name, "a name and a tuple of arguments to call it with");
  std::string_view what = name ? std::string_view((*name)->text) : (*placeholder)->what;
  if (what.starts_with(kName)) what.remove_prefix(kName.size());
  push_placeholder(what.starts_with(kResult) ? std::string(what)
                                             : fmt::format("{}{} would make", kResult, what));
}

// What depends on a placeholder is one itself.
template <class Make>
void PickleStack::push_made(const PickleValue& arguments, const Make& make) {
  if (const PicklePlaceholder* found = placeholder_in(arguments)) {
    push_placeholder(found->what.starts_with(kDepends) ? std::string(found->what)
                                                       : fmt::format("{}{}", kDepends, found->what));
    return;
  }
  try {
    push(pickle_.memory.object(make()));
  } catch (const NotMade& reason) {
    push_placeholder(reason.what);
  }
}

void PickleStack::call() {
  const PickleValue arguments = pop(), called = pop();
  const auto* const* name = std::get_if<const PickleName*>(&called);
  if (name == nullptr) {
    push_result(called);
    return;
  }
  const auto* const* tuple = std::get_if<const PickleTuple*>(&arguments);
  check(tuple != nullptr, "a name and a tuple of arguments to call it with");
  if ((*name)->text != kOrderedDict) {
    push_made(arguments, [&] { return world_.call(**name, **tuple); });
  } else if ((*tuple)->items.empty()) {
    push_dictionary();
  } else {
    push_result(called);
  }
}

// Tensors that are needed are no attributes.
void PickleStack::build() {
  pop();
  const bool has_attributes =
      std::holds_alternative<PicklePlaceholder*>(top()) || std::holds_alternative<PickleDictionary*>(top());
  check(has_attributes, "an object that has attributes");
}

void PickleStack::persistent() {
  const PickleValue id = pop();
  push_made(id, [&] { return world_.persistent(id); });
}

Pickle PickleStack::finish() {
  check(stack_.size() == 1 && marks_.empty(), "one value at the end");
  pickle_.root = stack_.front();
  return std::move(pickle_);
}

}  // namespace vpd
