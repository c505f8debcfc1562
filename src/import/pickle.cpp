#include "pickle.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "pickle_opcodes.hpp"
#include "pickle_stack.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"

namespace vpd {
namespace {

constexpr std::size_t kLargestPickle = std::size_t{64} << 20;
constexpr std::size_t kLongestName = 256;

// Reads opcodes and their arguments, and lets a PickleStack do what they say.
class PickleReader {
 public:
  PickleReader(std::span<const std::byte> bytes, const std::string& where, const PickleWorld& world)
      : bytes_(bytes), where_(where), stack_(where, world) {}

  Pickle read() {
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
      stack_.set_position(begin_);
      const auto opcode = static_cast<Opcode>(take<std::uint8_t>());
      if (opcode == Opcode::stop) break;
      execute(opcode);
    }
    check(position_ == bytes_.size(), "nothing after the end");
    return stack_.finish();
  }

 private:
  void check(bool holds, std::string_view expected) const { stack_.check(holds, expected); }

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
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  // Up to the next line feed, which is taken too.
  std::string_view take_line() {
    const auto rest = bytes_.subspan(position_, std::min(kLongestName + 1, bytes_.size() - position_));
    const auto end = std::find(rest.begin(), rest.end(), std::byte{'\n'});
    check(end != rest.end(), "a name of at most 256 bytes");
    const std::string_view line = take_text(static_cast<std::uint64_t>(end - rest.begin()));
    check(to_valid_utf8(line) == line, "text in UTF-8");
    ++position_;
    return line;
  }

  void push_line_name() {
    const std::string_view module = take_line(), name = take_line();
    stack_.push_name(module, name);
  }

  std::uint64_t take_size() {
    const auto size = take<std::int32_t>();
    check(size >= 0, "a length of at least 0");
    return static_cast<std::uint64_t>(size);
  }

  void push_long(std::uint64_t size) {
    const auto bytes = take_bytes(size);
    if (size > 8) {
      stack_.push_placeholder("a whole number of more than 64 bits");
      return;
    }
    std::uint64_t number = 0;
    std::memcpy(&number, bytes.data(), bytes.size());
    const unsigned unused = 64 - 8 * static_cast<unsigned>(size);
    // Shifting there and back extends the sign.
    stack_.push(size == 0 ? std::int64_t{0} : static_cast<std::int64_t>(number << unused) >> unused);
  }

  void skip(std::uint64_t size, const char* what) {
    take_bytes(size);
    stack_.push_placeholder(what);
  }

  void execute(Opcode opcode);

  std::span<const std::byte> bytes_;
  const std::string& where_;
  PickleStack stack_;
  std::size_t position_ = 0;
  std::size_t begin_ = 0;  // of the opcode
};

void PickleReader::execute(Opcode opcode) {
  constexpr const char *old_string = "a byte string of Python 2",
                       *extension = "a name by its number in Python's extension registry";
  switch (opcode) {
    case Opcode::frame:
      check(take<std::uint64_t>() <= bytes_.size() - position_, "a frame that ends inside the pickle");
      break;
    case Opcode::mark:
      stack_.mark();
      break;
    case Opcode::none:
      stack_.push(std::monostate());
      break;
    case Opcode::newtrue:
      stack_.push(true);
      break;
    case Opcode::newfalse:
      stack_.push(false);
      break;
    case Opcode::binint:
      stack_.push(std::int64_t{take<std::int32_t>()});
      break;
    case Opcode::binint1:
      stack_.push(std::int64_t{take<std::uint8_t>()});
      break;
    case Opcode::binint2:
      stack_.push(std::int64_t{take<std::uint16_t>()});
      break;
    case Opcode::long1:
      push_long(take<std::uint8_t>());
      break;
    case Opcode::long4:
      push_long(take_size());
      break;
    case Opcode::binfloat:
      stack_.push(std::bit_cast<double>(__builtin_bswap64(take<std::uint64_t>())));
      break;
    case Opcode::short_binunicode:
      stack_.push_text(take_text(take<std::uint8_t>()));
      break;
    case Opcode::binunicode:
      stack_.push_text(take_text(take<std::uint32_t>()));
      break;
    case Opcode::binunicode8:
      stack_.push_text(take_text(take<std::uint64_t>()));
      break;
    case Opcode::short_binbytes:
      skip(take<std::uint8_t>(), "bytes");
      break;
    case Opcode::binbytes:
      skip(take<std::uint32_t>(), "bytes");
      break;
    case Opcode::binbytes8:
    case Opcode::bytearray8:
      skip(take<std::uint64_t>(), "bytes");
      break;
    case Opcode::short_binstring:
      skip(take<std::uint8_t>(), old_string);
      break;
    case Opcode::binstring:
      skip(take_size(), old_string);
      break;
    case Opcode::ext1:
      skip(1, extension);
      break;
    case Opcode::ext2:
      skip(2, extension);
      break;
    case Opcode::ext4:
      skip(4, extension);
      break;
    case Opcode::empty_list:
      stack_.push_list();
      break;
    case Opcode::append: {
      const PickleValue value = stack_.pop();
      stack_.append({value});
      break;
    }
    case Opcode::appends:
      stack_.append(stack_.pop_marked());
      break;
    case Opcode::empty_tuple:
      stack_.push_tuple(0);
      break;
    case Opcode::tuple1:
      stack_.push_tuple(1);
      break;
    case Opcode::tuple2:
      stack_.push_tuple(2);
      break;
    case Opcode::tuple3:
      stack_.push_tuple(3);
      break;
    case Opcode::tuple:
      stack_.push_tuple_of_marked();
      break;
    case Opcode::empty_dict:
      stack_.push_dictionary();
      break;
    case Opcode::setitem: {
      const PickleValue value = stack_.pop(), key = stack_.pop();
      stack_.set_items({key, value});
      break;
    }
    case Opcode::setitems:
      stack_.set_items(stack_.pop_marked());
      break;
    case Opcode::empty_set:
      stack_.push_placeholder("a set");
      break;
    case Opcode::additems:
      stack_.add(stack_.pop_marked());
      break;
    case Opcode::frozenset:
      stack_.pop_marked();
      stack_.push_placeholder("a set");
      break;
    case Opcode::pop:
      stack_.drop();
      break;
    case Opcode::pop_mark:
      stack_.pop_marked();
      break;
    case Opcode::dup:
      stack_.duplicate();
      break;
    case Opcode::binput:
      stack_.put(take<std::uint8_t>());
      break;
    case Opcode::long_binput:
      stack_.put(take<std::uint32_t>());
      break;
    case Opcode::memoize:
      stack_.memorise();
      break;
    case Opcode::binget:
      stack_.get(take<std::uint8_t>());
      break;
    case Opcode::long_binget:
      stack_.get(take<std::uint32_t>());
      break;
    case Opcode::global:
      push_line_name();
      break;
    case Opcode::stack_global: {
      const PickleValue name = stack_.pop(), module = stack_.pop();
      const auto* const* name_text = std::get_if<const std::string*>(&name);
      const auto* const* module_text = std::get_if<const std::string*>(&module);
      check(name_text && module_text, "a module's and a name's text");
      stack_.push_name(**module_text, **name_text);
      break;
    }
    case Opcode::reduce:
      stack_.call();
      break;
    case Opcode::inst:
      stack_.pop_marked();
      push_line_name();
      stack_.push_result(stack_.pop());
      break;
    case Opcode::obj: {
      const std::vector<PickleValue> parts = stack_.pop_marked();
      check(!parts.empty(), "a class to make an object of");
      stack_.push_result(parts.front());
      break;
    }
    case Opcode::newobj_ex:
      stack_.pop();
      [[fallthrough]];
    case Opcode::newobj:
      stack_.pop();
      stack_.push_result(stack_.pop());
      break;
    case Opcode::build:
      stack_.build();
      break;
    case Opcode::binpersid:
      stack_.persistent();
      break;
    case Opcode::proto:
      check(false, "a protocol number at the begin alone");
      break;
    default:
      throw DataError(fmt::format(
          "{}: expected the opcodes of torch.save, found {} (at byte {}); the file is damaged or no "
          "checkpoint of PyTorch, check the path",
          where_, refused(opcode), begin_));
  }
}

}  // namespace

Pickle read_pickle(std::span<const std::byte> bytes, const std::string& where, const PickleWorld& world) {
  return PickleReader(bytes, where, world).read();
}

}  // namespace vpd
