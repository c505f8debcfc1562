// The causal-importance function of the original code's configuration: ci_config, or the keys of older
// versions.

#include <cmath>

#include "config.hpp"
#include "vpd/base/error.hpp"

namespace vpd {
namespace {

std::int64_t size(ForeignMap& map, const char* key) {
  const std::optional<std::int64_t> number = map.whole(key);
  if (!number || *number < 1) map.fail(key, "a whole number of at least 1");
  return *number;
}

std::vector<std::int64_t> widths(ForeignMap& map, const char* key) {
  std::vector<std::int64_t> result;
  for (const double width : map.numbers(key)) {
    if (width < 1.0 || std::trunc(width) != width) map.fail(key, "whole numbers of at least 1");
    result.push_back(static_cast<std::int64_t>(width));
  }
  return result;
}

GlobalSharedTransformerConfig transformer_of(ForeignMap& map) {
  std::optional<ForeignMap> transformer = map.map("simple_transformer_ci_cfg");
  if (!transformer) map.fail("simple_transformer_ci_cfg", "the transformer's sizes");
  std::optional<ForeignMap> attention = transformer->map("attn_config");
  if (!attention) transformer->fail("attn_config", "the transformer's attention");
  GlobalSharedTransformerConfig config;
  config.d_model = size(*transformer, "d_model");
  config.n_blocks = size(*transformer, "n_blocks");
  config.n_heads = size(*attention, "n_heads");
  config.rope_base = attention->number("rope_base").value_or(10000.0);
  const std::vector<std::int64_t> hidden = widths(*transformer, "mlp_hidden_dim");
  if (hidden.size() > 1) transformer->fail("mlp_hidden_dim", "one hidden layer");
  config.d_mlp = hidden.empty() ? 4 * config.d_model : hidden[0];
  attention->has("max_len");  // the longest table of angles, without influence on any angle
  for (const ForeignMap* part : {&*transformer, &*attention}) {
    for (const auto& [key, value] : part->unasked()) part->fail(key, "none");
  }
  return config;
}

CausalImportanceConfig function_of(ForeignMap& map, const std::string& type, const char* type_key,
                                   const char* widths_key) {
  if (type == "global_shared_transformer") return transformer_of(map);
  if (type == "mlp") return MlpCiConfig{.hidden_dims = widths(map, widths_key)};
  if (type == "vector_mlp") return VectorMlpCiConfig{.hidden_dims = widths(map, widths_key)};
  if (type == "shared_mlp") return SharedMlpCiConfig{.hidden_dims = widths(map, widths_key)};
  if (type == "global_shared_mlp") return GlobalSharedMlpCiConfig{.hidden_dims = widths(map, widths_key)};
  map.fail(type_key, "mlp, vector_mlp, shared_mlp, global_shared_mlp or global_shared_transformer");
}

}  // namespace

CausalImportanceConfig translate_causal_importance(ForeignMap& top) {
  if (std::optional<ForeignMap> map = top.map("ci_config")) {
    map->text("mode");  // follows from the type
    if (map->has("extra_input_module_patterns")) {
      map->fail("extra_input_module_patterns", "none, since the function reads its sites' inputs alone here");
    }
    CausalImportanceConfig config =
        function_of(*map, map->text("fn_type").value_or(""), "fn_type", "hidden_dims");
    // Whatever else a version of that code could set changes what the function computes.
    for (const auto& [key, value] : map->unasked()) map->fail(key, "none");
    return config;
  }
  // Older versions: ci_fn_type, and before that gate_type; use_global_ci made one MLP of a site's kind
  // global.
  for (const auto& [type_key, widths_key] :
       {std::pair("ci_fn_type", "ci_fn_hidden_dims"), std::pair("gate_type", "gate_hidden_dims")}) {
    const std::optional<std::string> type = top.text(type_key);
    if (!type) continue;
    const bool global = top.truth("use_global_ci").value_or(false) && !type->starts_with("global_");
    return function_of(top, global ? "global_shared_mlp" : *type, type_key, widths_key);
  }
  top.fail("ci_config", "the causal-importance function");
}

}  // namespace vpd
