#include "pickle_opcodes.hpp"

#include <spdlog/fmt/fmt.h>

namespace vpd {

std::string refused(Opcode opcode) {
  switch (opcode) {
    case Opcode::binbytes:
    case Opcode::short_binbytes:
    case Opcode::binbytes8:
      return "bytes";
    case Opcode::string:
    case Opcode::binstring:
    case Opcode::short_binstring:
      return "a byte string of Python 2";
    case Opcode::bytearray8:
      return "a bytearray";
    case Opcode::empty_set:
    case Opcode::additems:
      return "a set";
    case Opcode::frozenset:
      return "a frozenset";
    case Opcode::next_buffer:
    case Opcode::readonly_buffer:
      return "a buffer outside the file";
    case Opcode::obj:
    case Opcode::newobj:
    case Opcode::newobj_ex:
      return "an object of a class";
    case Opcode::ext1:
    case Opcode::ext2:
    case Opcode::ext4:
      return "a name by its number in Python's extension registry";
    case Opcode::persid:
    case Opcode::float_text:
    case Opcode::int_text:
    case Opcode::long_text:
    case Opcode::unicode:
    case Opcode::get:
    case Opcode::put:
    case Opcode::dict:
    case Opcode::list:
    case Opcode::pop:
    case Opcode::pop_mark:
    case Opcode::dup:
      return fmt::format("the opcode '{}', which torch.save never writes", static_cast<char>(opcode));
    default:
      return fmt::format("the byte 0x{:02x}, which is no opcode", static_cast<unsigned>(opcode));
  }
}

}  // namespace vpd
