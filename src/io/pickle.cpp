#include "pickle.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>

#include "pickle_opcodes.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"

namespace vpd {
namespace {

constexpr std::size_t kLargestPickle = std::size_t{64} << 20;
constexpr std::size_t kMostValues = 4'000'000;
constexpr std::size_t kLongestName = 256;
constexpr int kDeepest = 64;
constexpr std::string_view kOrderedDict = "collections.OrderedDict";

// The stack machine of a pickle.
class Machine {
 public:
  Machine(std::span<const std::byte> bytes, const std::string& where, const PickleWorld& world)
      : bytes_(bytes), where_(where), world_(world) {}

  Pickle run() {
    VPD_CHECK(
        bytes_.size() <= kLargestPickle, DataError,
        "{}: expected a pickle of at most {} bytes, found {}; the tensors' values do not belong into it",
        where_, kLargestPickle, bytes_.size());
    check(take<std::uint8_t>() == static_cast<std::uint8_t>(Opcode::proto), "a protocol number at its begin");
    const auto protocol = take<std::uint8_t>();
    VPD_CHECK(
        protocol >= 2 && protocol <= 5, DataError,
        "{}: expected a pickle of protocol 2 to 5, found protocol {}; write the file with torch.save and "
        "no other pickle_protocol",
        where_, protocol);
    for (;;) {
      begin_ = position_;
      const auto opcode = static_cast<Opcode>(take<std::uint8_t>());
      if (opcode == Opcode::stop) break;
      execute(opcode);
    }
    check(stack_.size() == 1 && marks_.empty(), "one value at the end");
    check(position_ == bytes_.size(), "nothing after the end");
    pickle_.root = stack_.front();
    height(pickle_.root, 1);
    return std::move(pickle_);
  }

 private:
  // Damage, or malice that looks like it: the file does not keep to the format.
  void check(bool holds, std::string_view expected) const {
    VPD_CHECK(holds, DataError,
              "{}: expected {}, found something else at byte {}; the file is damaged or no pickle, copy it "
              "again",
              where_, expected, begin_);
  }

  [[noreturn]] void refuse(const std::string& what) const {
    throw DataError(fmt::format(
        "{}: expected only tensors, numbers, texts, lists, tuples and dictionaries, found {} (at byte {}); "
        "nothing of it was run: do not load the file in Python unless you trust who made it, and save the "
        "tensors alone with torch.save(model.state_dict(), file)",
        where_, what, begin_));
  }

  template <class Number>
  Number take() {
    Number number = 0;
    std::memcpy(&number, take_bytes(sizeof(number)).data(), sizeof(number));
    return number;
  }

  std::span<const std::byte> take_bytes(std::uint64_t size) {
    const std::size_t left = bytes_.size() - position_;
    VPD_CHECK(
        size <= left, DataError,
        "{}: expected {} more bytes at byte {}, found {}; the file is damaged or truncated, copy it again",
        where_, size, position_, left);
    const auto taken = bytes_.subspan(position_, static_cast<std::size_t>(size));
    position_ += taken.size();
    return taken;
  }

  std::string_view take_text(std::uint64_t size) {
    const auto bytes = take_bytes(size);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    check(to_valid_utf8(text) == text, "text in UTF-8");
    return text;
  }

  // Up to the next line feed, which is taken too.
  std::string_view take_line() {
    const auto rest = bytes_.subspan(position_, std::min(kLongestName + 1, bytes_.size() - position_));
    const auto end = std::find(rest.begin(), rest.end(), std::byte{'\n'});
    check(end != rest.end(), "a name of at most 256 bytes");
    const std::string_view line = take_text(static_cast<std::uint64_t>(end - rest.begin()));
    ++position_;
    return line;
  }

  std::int64_t take_long(std::uint64_t size) {
    const auto bytes = take_bytes(size);
    VPD_CHECK(size <= 8, DataError,
              "{}: expected whole numbers of 64 bits, found one of {} bytes at byte {}; leave it out of the "
              "checkpoint",
              where_, size, begin_);
    std::uint64_t number = 0;
    if (size > 0) {
      std::memcpy(&number, bytes.data(), static_cast<std::size_t>(size));
      const unsigned unused = 64 - 8 * static_cast<unsigned>(size);
      return static_cast<std::int64_t>(number << unused) >> unused;  // extends the sign
    }
    return 0;
  }

  void count() {
    VPD_CHECK(++values_ <= kMostValues, DataError,
              "{}: expected at most {} values, found more; leave all but the tensors out of the checkpoint",
              where_, kMostValues);
  }

  void push(PickleValue value) {
    count();
    stack_.push_back(value);
  }

  PickleValue pop() {
    check(stack_.size() > (marks_.empty() ? 0 : marks_.back()), "a value on the stack");
    const PickleValue value = stack_.back();
    stack_.pop_back();
    return value;
  }

  // All values above the last mark, which goes away.
  std::vector<PickleValue> pop_marked() {
    check(!marks_.empty(), "a mark on the stack");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickleValue> values(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return values;
  }

  template <class Pointer>
  Pointer top_as(std::string_view expected) {
    const PickleValue value = pop();
    stack_.push_back(value);
    const Pointer* found = std::get_if<Pointer>(&value);
    check(found != nullptr, expected);
    return *found;
  }

  void push_tuple(std::size_t size) {
    std::vector<PickleValue> items(size);
    for (std::size_t i = size; i-- > 0;) items[i] = pop();
    push(pickle_.memory.tuple(std::move(items)));
  }

  void put(std::uint64_t place) {
    count();
    const PickleValue value = pop();
    stack_.push_back(value);
    memo_.insert_or_assign(place, value);
  }

  void get(std::uint64_t place) {
    const auto found = memo_.find(place);
    check(found != memo_.end(), "a value that was put aside before");
    push(found->second);
  }

  void append(const std::vector<PickleValue>& values) {
    auto* list = top_as<PickleList*>("a list to append to");
    list->items.insert(list->items.end(), values.begin(), values.end());
  }

  void set_items(const std::vector<PickleValue>& values) {
    auto* dictionary = top_as<PickleDictionary*>("a dictionary to put values into");
    check(values.size() % 2 == 0, "a value for each key");
    for (std::size_t i = 0; i < values.size(); i += 2) {
      const bool hashable = !std::holds_alternative<PickleList*>(values[i]) &&
                            !std::holds_alternative<PickleDictionary*>(values[i]);
      check(hashable, "keys that are no lists and no dictionaries");
      dictionary->items.emplace_back(values[i], values[i + 1]);
    }
  }

  void push_name(std::string_view module, std::string_view name) {
    std::string text = fmt::format("{}.{}", module, name);
    if (text != kOrderedDict && !world_.knows(text)) {
      refuse(fmt::format("the name {}, which Python would import and could call", quote_foreign(text)));
    }
    push(pickle_.memory.name(std::move(text)));
  }

  void call() {
    const PickleValue arguments = pop(), called = pop();
    const auto* const* name = std::get_if<const PickleName*>(&called);
    const auto* const* tuple = std::get_if<const PickleTuple*>(&arguments);
    check(name && tuple, "a name and a tuple of arguments to call it with");
    if ((*name)->text != kOrderedDict) {
      push(pickle_.memory.object(world_.call(**name, **tuple)));
    } else {
      check((*tuple)->items.empty(), "an empty OrderedDict, filled afterwards");
      push(pickle_.memory.dictionary());
    }
  }

  // Attributes of an OrderedDict, such as the _metadata of a module's state dict. They hold no tensors.
  void build() {
    const PickleValue state = pop();
    if (!std::holds_alternative<PickleDictionary*>(state)) refuse("a state that is no dictionary");
    static_cast<void>(top_as<PickleDictionary*>("a dictionary that has attributes"));
  }

  void execute(Opcode opcode);

  // Levels below a value. Nothing that a caller walks through may lead back to itself, or very deep.
  int height(const PickleValue& value, int depth) {
    const void* place = nullptr;
    if (const auto* const* list = std::get_if<PickleList*>(&value)) place = *list;
    if (const auto* const* tuple = std::get_if<const PickleTuple*>(&value)) place = *tuple;
    if (const auto* const* dictionary = std::get_if<PickleDictionary*>(&value)) place = *dictionary;
    if (place == nullptr) return 0;
    constexpr int in_progress = -1;
    const auto [found, is_new] = heights_.emplace(place, in_progress);
    VPD_CHECK(is_new || found->second != in_progress, DataError,
              "{}: expected values that end somewhere, found {} that holds itself; leave it out of the "
              "checkpoint",
              where_, describe(value));
    int below = is_new ? 0 : found->second;
    VPD_CHECK(depth + below <= kDeepest, DataError,
              "{}: expected values of at most {} levels, found more; leave all but the tensors out of the "
              "checkpoint",
              where_, kDeepest);
    if (!is_new) return below;
    const auto look = [&](const PickleValue& inside) {
      below = std::max(below, 1 + height(inside, depth + 1));
    };
    if (const auto* const* list = std::get_if<PickleList*>(&value)) {
      for (const PickleValue& item : (*list)->items) look(item);
    } else if (const auto* const* tuple = std::get_if<const PickleTuple*>(&value)) {
      for (const PickleValue& item : (*tuple)->items) look(item);
    } else {
      for (const auto& [key, item] : std::get<PickleDictionary*>(value)->items) {
        look(key);
        look(item);
      }
    }
    heights_[place] = below;
    return below;
  }

  std::span<const std::byte> bytes_;
  const std::string& where_;
  const PickleWorld& world_;
  std::size_t position_ = 0;
  std::size_t begin_ = 0;  // of the opcode
  std::size_t values_ = 0;
  std::vector<PickleValue> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, PickleValue> memo_;
  std::unordered_map<const void*, int> heights_;
  Pickle pickle_;
};

void Machine::execute(Opcode opcode) {
  switch (opcode) {
    case Opcode::frame:
      check(take<std::uint64_t>() <= bytes_.size() - position_, "a frame that ends inside the pickle");
      break;
    case Opcode::mark:
      count();
      marks_.push_back(stack_.size());
      break;
    case Opcode::none:
      push(std::monostate());
      break;
    case Opcode::newtrue:
      push(true);
      break;
    case Opcode::newfalse:
      push(false);
      break;
    case Opcode::binint:
      push(std::int64_t{take<std::int32_t>()});
      break;
    case Opcode::binint1:
      push(std::int64_t{take<std::uint8_t>()});
      break;
    case Opcode::binint2:
      push(std::int64_t{take<std::uint16_t>()});
      break;
    case Opcode::long1:
      push(take_long(take<std::uint8_t>()));
      break;
    case Opcode::long4: {
      const auto size = take<std::int32_t>();
      check(size >= 0, "a length of at least 0");
      push(take_long(static_cast<std::uint64_t>(size)));
      break;
    }
    case Opcode::binfloat:
      push(std::bit_cast<double>(__builtin_bswap64(take<std::uint64_t>())));
      break;
    case Opcode::short_binunicode:
      push(pickle_.memory.text(take_text(take<std::uint8_t>())));
      break;
    case Opcode::binunicode:
      push(pickle_.memory.text(take_text(take<std::uint32_t>())));
      break;
    case Opcode::binunicode8:
      push(pickle_.memory.text(take_text(take<std::uint64_t>())));
      break;
    case Opcode::empty_list:
      push(pickle_.memory.list());
      break;
    case Opcode::append: {
      const PickleValue value = pop();
      append({value});
      break;
    }
    case Opcode::appends:
      append(pop_marked());
      break;
    case Opcode::empty_tuple:
      push_tuple(0);
      break;
    case Opcode::tuple1:
      push_tuple(1);
      break;
    case Opcode::tuple2:
      push_tuple(2);
      break;
    case Opcode::tuple3:
      push_tuple(3);
      break;
    case Opcode::tuple:
      push(pickle_.memory.tuple(pop_marked()));
      break;
    case Opcode::empty_dict:
      push(pickle_.memory.dictionary());
      break;
    case Opcode::setitem: {
      const PickleValue value = pop(), key = pop();
      set_items({key, value});
      break;
    }
    case Opcode::setitems:
      set_items(pop_marked());
      break;
    case Opcode::binput:
      put(take<std::uint8_t>());
      break;
    case Opcode::long_binput:
      put(take<std::uint32_t>());
      break;
    case Opcode::memoize:
      put(memo_.size());
      break;
    case Opcode::binget:
      get(take<std::uint8_t>());
      break;
    case Opcode::long_binget:
      get(take<std::uint32_t>());
      break;
    case Opcode::global: {
      const std::string_view module = take_line(), name = take_line();
      push_name(module, name);
      break;
    }
    case Opcode::stack_global: {
      const PickleValue name = pop(), module = pop();
      const auto* const* name_text = std::get_if<const std::string*>(&name);
      const auto* const* module_text = std::get_if<const std::string*>(&module);
      check(name_text && module_text, "a module's and a name's text");
      push_name(**module_text, **name_text);
      break;
    }
    case Opcode::inst: {
      const std::string_view module = take_line(), name = take_line();
      refuse(fmt::format("an object of the class {}", quote_foreign(fmt::format("{}.{}", module, name))));
    }
    case Opcode::reduce:
      call();
      break;
    case Opcode::build:
      build();
      break;
    case Opcode::binpersid: {
      const PickleValue id = pop();
      push(pickle_.memory.object(world_.persistent(id)));
      break;
    }
    case Opcode::proto:
      check(false, "a protocol number at the begin alone");
      break;
    default:
      refuse(refused(opcode));
  }
}

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

std::string plural(std::size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

}  // namespace

Pickle read_pickle(std::span<const std::byte> bytes, const std::string& where, const PickleWorld& world) {
  return Machine(bytes, where, world).run();
}

std::string describe(const PickleValue& value) {
  return std::visit(
      Overloaded{
          [](std::monostate) -> std::string { return "None"; },
          [](bool x) -> std::string { return x ? "True" : "False"; },
          [](std::int64_t x) { return fmt::format("the number {}", x); },
          [](double x) { return fmt::format("the number {}", x); },
          [](const std::string* x) { return fmt::format("the text {}", quote_foreign(*x)); },
          [](PickleList* x) { return fmt::format("a list of {}", plural(x->items.size(), "value")); },
          [](const PickleTuple* x) { return fmt::format("a tuple of {}", plural(x->items.size(), "value")); },
          [](PickleDictionary* x) {
            return fmt::format("a dictionary of {}", plural(x->items.size(), "value"));
          },
          [](const PickleName* x) { return fmt::format("the name {}", x->text); },
          [](const PickleObject*) -> std::string { return "a tensor or a storage"; },
      },
      value);
}

}  // namespace vpd
