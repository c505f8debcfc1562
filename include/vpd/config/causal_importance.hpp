#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "vpd/config/field.hpp"
#include "vpd/config/scalar.hpp"

// The function that says what may not be ablated (method, section 3), of one of several kinds.

namespace vpd {

// `published`: N(0, gain^2 / fan_in); `framework`: LibTorch's defaults.
enum class CiInitialization { published, framework };

constexpr std::array<config::EnumName<CiInitialization>, 2> config_names(CiInitialization) {
  return {{{CiInitialization::published, "published"}, {CiInitialization::framework, "framework"}}};
}

namespace config {

constexpr Field initialization_field() {
  return field("initialization", "published: N(0, gain^2 / fan_in); framework: LibTorch's defaults");
}

// Where each subcomponent has a network of its own, that has at least one hidden layer; a network for many
// may be a linear map.
constexpr Field own_hidden_dims_field() {
  return field("hidden_dims", "widths of each network's hidden layers").required().non_empty().at_least(1);
}
constexpr Field shared_hidden_dims_field() {
  return field("hidden_dims", "widths of the hidden layers; none: one linear map").required().at_least(1);
}

}  // namespace config

struct GlobalSharedTransformerConfig {
  static constexpr std::string_view kind = "global_shared_transformer";
  static constexpr std::string_view summary = "one bidirectional transformer that reads all sites' inputs";

  std::int64_t d_model = 0;
  std::int64_t n_blocks = 0;
  std::int64_t n_heads = 0;
  std::int64_t d_mlp = 0;
  double rope_base = 10000.0;
  CiInitialization initialization = CiInitialization::published;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("d_model", "width").required().at_least(1), self.d_model);
    visit(field("n_blocks", "blocks").required().at_least(1), self.n_blocks);
    visit(field("n_heads", "attention heads of a block; divides d_model into even parts")
              .required()
              .at_least(1),
          self.n_heads);
    visit(field("d_mlp", "hidden width of a block's MLP").required().at_least(1), self.d_mlp);
    visit(field("rope_base", "base of the rotary angles").more_than(0), self.rope_base);
    visit(config::initialization_field(), self.initialization);
  }

  std::optional<config::Complaint> validate() const;
  bool operator==(const GlobalSharedTransformerConfig&) const = default;
};

// The kinds that are MLPs: exact GELU after each layer but the last.

struct MlpCiConfig {
  static constexpr std::string_view kind = "mlp";
  static constexpr std::string_view summary =
      "an MLP of its own for each subcomponent, which reads the subcomponent's inner activation x V_c";
  std::vector<std::int64_t> hidden_dims;
  CiInitialization initialization = CiInitialization::published;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::own_hidden_dims_field(), self.hidden_dims);
    visit(config::initialization_field(), self.initialization);
  }
  bool operator==(const MlpCiConfig&) const = default;
};

struct VectorMlpCiConfig {
  static constexpr std::string_view kind = "vector_mlp";
  static constexpr std::string_view summary =
      "an MLP of its own for each subcomponent, which reads the site's input vector";
  std::vector<std::int64_t> hidden_dims;
  CiInitialization initialization = CiInitialization::published;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::own_hidden_dims_field(), self.hidden_dims);
    visit(config::initialization_field(), self.initialization);
  }
  bool operator==(const VectorMlpCiConfig&) const = default;
};

struct SharedMlpCiConfig {
  static constexpr std::string_view kind = "shared_mlp";
  static constexpr std::string_view summary =
      "one MLP for each site, from the site's input vector to all of its subcomponents";
  std::vector<std::int64_t> hidden_dims;
  CiInitialization initialization = CiInitialization::published;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::shared_hidden_dims_field(), self.hidden_dims);
    visit(config::initialization_field(), self.initialization);
  }
  bool operator==(const SharedMlpCiConfig&) const = default;
};

struct GlobalSharedMlpCiConfig {
  static constexpr std::string_view kind = "global_shared_mlp";
  static constexpr std::string_view summary = "one MLP from all sites' inputs to all subcomponents";
  std::vector<std::int64_t> hidden_dims;
  CiInitialization initialization = CiInitialization::published;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::shared_hidden_dims_field(), self.hidden_dims);
    visit(config::initialization_field(), self.initialization);
  }
  bool operator==(const GlobalSharedMlpCiConfig&) const = default;
};

struct CustomCiConfig {
  static constexpr std::string_view kind = "custom";
  static constexpr std::string_view summary =
      "a kind that the program adds to the library with register_causal_importance()";
  std::string name;
  std::map<std::string, config::Scalar> options;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("name", "name under which the kind was registered").required().non_empty(),
          self.name);
    visit(config::field("options", "what the kind itself wants to know"), self.options);
  }
  bool operator==(const CustomCiConfig&) const = default;
};

using CausalImportanceConfig = std::variant<GlobalSharedTransformerConfig, MlpCiConfig, VectorMlpCiConfig,
                                            SharedMlpCiConfig, GlobalSharedMlpCiConfig, CustomCiConfig>;

}  // namespace vpd
