#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "vpd/config/field.hpp"

// Shapes of the toy models whose mechanisms are known (method, section 8): as in a checkpoint's
// model_config.json, and as the `model` of a pretraining run.

namespace vpd {

// What the fixed matrices between the two halves of a toy model of superposition are.
enum class HiddenMatrices { identity, random };

constexpr std::array<config::EnumName<HiddenMatrices>, 2> config_names(HiddenMatrices) {
  return {{{HiddenMatrices::identity, "identity"}, {HiddenMatrices::random, "random"}}};
}

struct TmsConfig {
  static constexpr std::string_view kind = "tms";
  static constexpr std::string_view model_type = "TMS";
  static constexpr std::string_view summary =
      "a toy model of superposition, ReLU(W2 H_k ... H_1 W1 x + b) with W2 = W1^T";

  std::int64_t n_features = 0;
  std::int64_t n_hidden = 0;
  std::int64_t n_hidden_layers = 0;
  HiddenMatrices hidden = HiddenMatrices::identity;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("n_features", "features of the input and of the output").required().at_least(1),
          self.n_features);
    visit(field("n_hidden", "width between the two matrices").required().at_least(1), self.n_hidden);
    visit(field("n_hidden_layers", "matrices between the two, which are not trained").at_least(0),
          self.n_hidden_layers);
    visit(field("hidden", "what those matrices are; random: entries from N(0, 1)"), self.hidden);
  }
  bool operator==(const TmsConfig&) const = default;
};

struct ResidualMlpConfig {
  static constexpr std::string_view kind = "residual_mlp";
  static constexpr std::string_view model_type = "ResidualMLP";
  static constexpr std::string_view summary =
      "residual blocks of an MLP with ReLU between a fixed random embedding and its transpose; learns "
      "ReLU(x) + x";

  std::int64_t n_features = 0;
  std::int64_t d_embed = 0;
  std::int64_t d_mlp = 0;
  std::int64_t n_layers = 0;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("n_features", "features of the input and of the output").required().at_least(1),
          self.n_features);
    visit(field("d_embed", "width of the residual stream").required().at_least(1), self.d_embed);
    visit(field("d_mlp", "neurons of a block").required().at_least(1), self.d_mlp);
    visit(field("n_layers", "blocks").required().at_least(1), self.n_layers);
  }
  bool operator==(const ResidualMlpConfig&) const = default;
};

struct InductionConfig {
  static constexpr std::string_view kind = "induction";
  static constexpr std::string_view model_type = "InductionTransformer";
  static constexpr std::string_view summary =
      "an attention-only transformer that says after the second of two equal tokens what followed the first";

  std::int64_t vocab_size = 0;
  std::int64_t block_size = 0;
  std::int64_t d_model = 0;
  std::int64_t n_heads = 1;
  std::int64_t n_layers = 2;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("vocab_size",
                "token ids are below this: 0 begins a row, the last one is the token that "
                "comes twice")
              .required()
              .at_least(3),
          self.vocab_size);
    visit(field("block_size", "longest sequence, in tokens").required().at_least(4), self.block_size);
    visit(field("d_model", "width of the residual stream").required().at_least(1), self.d_model);
    visit(field("n_heads", "attention heads of a block, a divisor of d_model").at_least(1), self.n_heads);
    visit(field("n_layers", "blocks").at_least(1), self.n_layers);
  }
  std::optional<config::Complaint> validate() const;
  bool operator==(const InductionConfig&) const = default;
};

using ToyConfig = std::variant<TmsConfig, ResidualMlpConfig, InductionConfig>;

// Reads the model_config.yaml or .json of a toy model's checkpoint. Unknown keys become a warning each; a
// missing or wrong value, or another model_type, is a DataError.
template <class Config>
Config read_toy_config(const std::filesystem::path& path, std::vector<std::string>& warnings);

// The text of a model_config.json.
template <class Config>
std::string toy_config_json(const Config& model);

}  // namespace vpd
