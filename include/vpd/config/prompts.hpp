#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "vpd/config/field.hpp"

namespace vpd {

// At which positions of a row outputs are compared.
enum class ComparedPositions { all, last };

constexpr std::array<config::EnumName<ComparedPositions>, 2> config_names(ComparedPositions) {
  return {{{ComparedPositions::all, "all"}, {ComparedPositions::last, "last"}}};
}

// A few prompts, over and over (targeted decomposition).
struct PromptsData {
  static constexpr std::string_view kind = "prompts";
  static constexpr std::string_view summary = "a few prompts, over and over: a JSON object a line";

  std::filesystem::path path;
  std::int64_t sequence_length = 0;
  ComparedPositions positions = ComparedPositions::all;
  std::optional<std::filesystem::path> tokenizer;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("path",
                R"(a file with a JSON object a line: {"prompt": "text"}, or {"tokens": [1, 2]}; a batch has )"
                "prompts of one length, each length as often as it has prompts")
              .required(),
          self.path);
    visit(field("sequence_length", "tokens of the longest prompt").required().at_least(1),
          self.sequence_length);
    visit(field("positions",
                "where reconstruction compares outputs: everywhere, or at a prompt's last position"),
          self.positions);
    visit(field("tokenizer", "tokenizer.json that encodes text; null: that beside the target"),
          self.tokenizer);
  }

  bool operator==(const PromptsData&) const = default;
};

}  // namespace vpd
