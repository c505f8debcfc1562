#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string_view>
#include <variant>

#include "vpd/config/field.hpp"
#include "vpd/config/prompts.hpp"
#include "vpd/config/synthetic.hpp"

// What the configurations of a decomposition and of a pretraining run share.

namespace vpd {

// Number type of matrix products; `automatic` is bf16 on CUDA and fp32 on a CPU.
enum class Precision { automatic, fp32, bf16, tf32 };

constexpr std::array<config::EnumName<Precision>, 4> config_names(Precision) {
  return {{{Precision::automatic, "auto"},
           {Precision::fp32, "fp32"},
           {Precision::bf16, "bf16"},
           {Precision::tf32, "tf32"}}};
}

constexpr config::Field device_field() {
  return config::field("device", "where to compute; auto: CUDA where there is one, else the CPU")
      .matching("auto|cpu|cuda|cuda:[0-9]{1,3}", "auto, cpu, cuda or cuda:N");
}

constexpr config::Field precision_field() {
  return config::field(
      "precision",
      "number type of matrix products; auto: bf16 on CUDA, fp32 on a CPU, where tf32 is fp32 too");
}

// Rows of token ids from shards.
struct TokensData {
  static constexpr std::string_view kind = "tokens";
  static constexpr std::string_view summary = "token ids from .bin or .npy shards";

  std::filesystem::path path;  // a file, a directory of shards, or a shell pattern
  std::int64_t sequence_length = 0;
  bool shuffle = true;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("path", "a .bin or .npy file, a directory of them, or a shell pattern").required(),
          self.path);
    visit(field("sequence_length", "tokens in a row").required().at_least(2), self.sequence_length);
    visit(field("shuffle",
                "true: a seeded permutation of the rows per epoch; false: consecutive rows, in order"),
          self.shuffle);
  }

  bool operator==(const TokensData&) const = default;
};

using DataSource = std::variant<TokensData, SparseFeaturesData, InductionData, PromptsData>;

// Positions of a row: T, which is 1 for features; of prompts the longest.
std::int64_t row_length(const DataSource& source);
// Where outputs are compared: everywhere but where prompts say otherwise.
ComparedPositions compared_positions(const DataSource& source);

}  // namespace vpd
