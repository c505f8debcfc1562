#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "pickle.hpp"

namespace vpd {

// The stack, the marks on it and the memory of Python's pickle machine, and what its opcodes do to them.
// Nothing is imported and nothing called: see pickle.hpp.
class PickleStack {
 public:
  PickleStack(const std::string& where, const PickleWorld& world) : where_(where), world_(world) {}

  // Damage, or malice that looks like it: the file does not keep to the format.
  void check(bool holds, std::string_view expected) const;
  // Where the opcode stands whose work is done, for messages.
  void set_position(std::size_t position) { position_ = position; }

  void push(PickleValue value);
  void push_text(std::string_view text);
  void push_name(std::string_view module, std::string_view name);
  void push_placeholder(const std::string& what) { push(pickle_.memory.placeholder(what)); }
  void push_list() { push(pickle_.memory.list()); }
  void push_dictionary() { push(pickle_.memory.dictionary()); }
  void push_tuple(std::size_t size);
  void push_tuple_of_marked() { push(pickle_.memory.tuple(pop_marked())); }

  void mark();
  PickleValue pop();
  // All values above the last mark, which goes away.
  std::vector<PickleValue> pop_marked();
  // A value, or the mark on which nothing lies.
  void drop();
  void duplicate() { push(PickleValue(top())); }

  void put(std::uint64_t place);
  void memorise() { put(memo_.size()); }
  void get(std::uint64_t place);

  void append(const std::vector<PickleValue>& values);
  void add(const std::vector<PickleValue>& values);  // to a set
  void set_items(const std::vector<PickleValue>& values);
  // What calling a name with a tuple of arguments gives.
  void call();
  // What making an object of a class gives, or of a call that nobody knows: a placeholder.
  void push_result(const PickleValue& called);
  // Attributes of an object, such as the _metadata of a module's state dict.
  void build();
  void persistent();

  // The one value that is left.
  Pickle finish();

 private:
  const PickleValue& top() const;
  void count();
  template <class Make>
  void push_made(const PickleValue& arguments, const Make& make);

  const std::string& where_;
  const PickleWorld& world_;
  std::size_t position_ = 0;
  std::size_t values_ = 0;
  std::vector<PickleValue> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, PickleValue> memo_;
  Pickle pickle_;
};

}  // namespace vpd
