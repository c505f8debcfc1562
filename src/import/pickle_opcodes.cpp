#include "pickle_opcodes.hpp"

#include <spdlog/fmt/fmt.h>

namespace vpd {

std::string refused(Opcode opcode) {
  switch (opcode) {
    case Opcode::next_buffer:
    case Opcode::readonly_buffer:
      return "a buffer outside the file";
    case Opcode::persid:
    case Opcode::float_text:
    case Opcode::int_text:
    case Opcode::long_text:
    case Opcode::unicode:
    case Opcode::string:
    case Opcode::get:
    case Opcode::put:
    case Opcode::dict:
    case Opcode::list:
      return fmt::format("the opcode '{}', which torch.save never writes", static_cast<char>(opcode));
    default:
      return fmt::format("the byte 0x{:02x}, which is no opcode", static_cast<unsigned>(opcode));
  }
}

}  // namespace vpd
