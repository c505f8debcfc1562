#include "learned.hpp"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/decomposition/causal_importance.hpp"
#include "vpd/decomposition/subcomponents.hpp"
#include "vpd/target/llama_simple_mlp.hpp"

namespace vpd {
namespace {

constexpr std::string_view components_prefix = "_components.";
constexpr std::string_view ci_prefix = "ci_fn.";

// A dot in a module's name cannot stand in a ModuleDict's key.
std::string dashed(std::string name) {
  std::replace(name.begin(), name.end(), '.', '-');
  return name;
}

// Sites as the checkpoint has them.
std::vector<SitePattern> sites_of(const ForeignState& state, const std::vector<MatrixShape>& matrices) {
  std::vector<SitePattern> sites;
  std::vector<std::string> unknown = state.left(components_prefix);
  for (const MatrixShape& matrix : matrices) {
    const std::string stem = fmt::format("{}{}.", components_prefix, dashed(matrix.name));
    if (!state.contains(stem + "V")) continue;
    const std::vector<std::int64_t> shape = state.shape(stem + "V");
    VPD_CHECK(shape.size() == 2 && shape[1] > 0, DataError, "{}: tensor {}V: expected a matrix, found [{}]",
              state.file().string(), stem, fmt::join(shape, ", "));
    sites.push_back({matrix.name, shape[1]});
    std::erase_if(unknown, [&](const std::string& name) { return name.starts_with(stem); });
  }
  VPD_CHECK(unknown.empty(), DataError,
            "{}: expected subcomponents of matrices of the target, found {}, which there are not here",
            state.file().string(), join_words(unknown));
  VPD_CHECK(!sites.empty(), DataError, "{}: expected subcomponents ({}<site>.V), found none",
            state.file().string(), components_prefix);
  return sites;
}

bool same_sites(const Sites& sites, const std::vector<SitePattern>& found) {
  return sites.size() == found.size() && std::all_of(sites.begin(), sites.end(), [&](const Site& site) {
           return std::any_of(found.begin(), found.end(), [&](const SitePattern& other) {
             return other.pattern == site.name && other.C == site.C;
           });
         });
}

// The configuration's patterns stay where they mean the checkpoint's sites; else each site stands in them by
// its name.
Sites match_found_sites(RunConfig& config, const LlamaSimpleMlpConfig& model, const ForeignState& state,
                        const std::string& config_name, std::vector<std::string>& warnings) {
  const std::vector<MatrixShape> matrices =
      llama_simple_mlp_architecture(model, /*untied_head=*/true).matrices;
  const std::vector<SitePattern> found = sites_of(state, matrices);
  try {
    Sites sites = match_sites(matrices, config.sites, config_name);
    if (same_sites(sites, found)) return sites;
  } catch (const ConfigError&) {
    // A pattern that matches nothing here.
  }
  config.sites = found;
  warnings.push_back(
      fmt::format("{}: module_info: its patterns do not give the {} matrices that the checkpoint "
                  "decomposes, and sites names each of them",
                  config_name, found.size()));
  return match_sites(matrices, config.sites, config_name);
}

// Where a parameter of a causal-importance function stands in the original's state dict.
struct Source {
  std::string name;
  bool transposed = false;  // W [in, out] there, weight [out, in] here
};

// "<site>.layers.<i>.weight", without the site where one MLP serves all. There a GELU follows each layer in
// one list, so that layers have even numbers; weights of a network for each subcomponent lie as they do here.
Source mlp_source(const TensorSpec& ours) {
  const std::size_t dot = ours.name.rfind('.');
  const std::size_t layers = ours.name.rfind("layers.");
  const bool is_weight = ours.name.substr(dot) == ".weight";
  const std::int64_t layer = std::stoll(ours.name.substr(layers + std::string_view("layers.").size()));
  const std::string network =
      layers == 0 ? "_global_ci_fn" : fmt::format("_ci_fns.{}", dashed(ours.name.substr(0, layers - 1)));
  return {fmt::format("{}{}.layers.{}.{}", ci_prefix, network, 2 * layer, is_weight ? "W" : "b"),
          is_weight && ours.shape.size() == 2};
}

Source transformer_source(const std::string& ours) {
  const std::string base = std::string(ci_prefix) + "_global_ci_fn.";
  const std::size_t dot = ours.rfind('.');
  const std::string layer = ours.substr(0, dot);
  const bool is_weight = ours.substr(dot) == ".weight";
  if (layer == "proj_in" || layer == "proj_out") {
    return {fmt::format("{}{}.{}", base, layer == "proj_in" ? "_input_projector" : "_output_head",
                        is_weight ? "W" : "b"),
            is_weight};
  }
  const std::size_t block_end = ours.find('.', std::string_view("blocks.").size());
  const std::string block = fmt::format("{}_{}", base, ours.substr(0, block_end));
  const std::string part = layer.substr(block_end + 1);
  if (part == "mlp.fc" || part == "mlp.proj") {
    return {fmt::format("{}.mlp.{}.{}", block, part == "mlp.fc" ? 0 : 2, is_weight ? "W" : "b"), is_weight};
  }
  return {fmt::format("{}.{}.weight", block, part == "attn.o_proj" ? "attn.out_proj" : part), false};
}

// The tables of inverse frequencies follow from the configuration. One that does not would be another
// function.
void check_rotary_tables(ForeignState& state, const GlobalSharedTransformerConfig& config) {
  const std::int64_t half = config.d_model / config.n_heads / 2;
  for (const std::string& name : state.left(ci_prefix)) {
    if (!name.ends_with(".rope.inv_freq")) continue;
    const at::Tensor table = state.take(name, {half});
    for (std::int64_t j = 0; j < half; ++j) {
      const double expected = std::pow(config.rope_base, -static_cast<double>(j) / static_cast<double>(half));
      VPD_CHECK(
          std::abs(table[j].item<double>() / expected - 1.0) < 1e-4, DataError,
          "{}: tensor {}: expected the frequencies of rope_base {:g} and {} heads, found {:g} in place of "
          "{:g}; check that the configuration is the checkpoint's",
          state.file().string(), name, config.rope_base, config.n_heads, table[j].item<double>(), expected);
    }
  }
}

}  // namespace

Learned learned_by(RunConfig& config, const LlamaSimpleMlpConfig& model, const ForeignState& state,
                   const std::string& config_name, std::vector<std::string>& warnings) {
  const std::int64_t longest = std::max(model.block_size, model.n_ctx.value_or(model.block_size));
  const std::int64_t T = std::get<TokensData>(config.data.eval).sequence_length;
  VPD_CHECK(T <= longest, DataError,
            "{}: task_config.max_seq_len: expected at most the {} tokens that the target takes, found {}",
            config_name, longest, T);
  Numerics shapes_only;
  shapes_only.device = at::kMeta;  // on which tensors have a shape and no memory
  Learned learned;
  learned.sites = match_found_sites(config, model, state, config_name, warnings);
  const Subcomponents components(learned.sites, shapes_only);
  for (std::size_t i = 0; i < components.size(); ++i) learned.components.push_back(components.spec(i));
  learned.importance =
      make_causal_importance(config.causal_importance, learned.sites, shapes_only)->parameters();
  return learned;
}

NamedTensors take_components(ForeignState& state, const Learned& learned) {
  NamedTensors components;
  for (const TensorSpec& spec : learned.components) {
    const std::size_t dot = spec.name.rfind('.');
    const std::string theirs =
        fmt::format("{}{}{}", components_prefix, dashed(spec.name.substr(0, dot)), spec.name.substr(dot));
    components.emplace_back(spec.name, state.take(theirs, spec.shape));
  }
  // A copy of the target's bias, which is never decomposed.
  for (const Site& site : learned.sites) {
    const std::string copy = fmt::format("{}{}.bias", components_prefix, dashed(site.name));
    const std::string bias = in_target(site.name + ".bias");
    if (!state.contains(copy)) continue;
    VPD_CHECK(
        state.contains(bias) && at::equal(state.take(copy, {site.d_out}), state.take(bias, {site.d_out})),
        DataError, "{}: tensor {}: expected the target's own bias, found another", state.file().string(),
        copy);
  }
  return components;
}

NamedTensors take_causal_importance(ForeignState& state, const Learned& learned,
                                    const CausalImportanceConfig& config) {
  const auto* transformer = std::get_if<GlobalSharedTransformerConfig>(&config);
  NamedTensors parameters;
  for (const TensorSpec& spec : learned.importance) {
    const Source source = transformer ? transformer_source(spec.name) : mlp_source(spec);
    std::vector<std::int64_t> shape = spec.shape;
    if (source.transposed) std::reverse(shape.begin(), shape.end());
    const at::Tensor tensor = state.take(source.name, shape);
    parameters.emplace_back(spec.name, source.transposed ? tensor.t() : tensor);
  }
  if (transformer) check_rotary_tables(state, *transformer);
  return parameters;
}

void check_nothing_left(ForeignState& state, std::vector<std::string>& warnings) {
  const auto strange = [&](std::string_view prefix) {
    const std::vector<std::string> names = state.left(prefix);
    VPD_CHECK(names.empty(), DataError,
              "{}: expected only tensors that its configuration speaks of, found {}; check that the "
              "configuration is the checkpoint's",
              state.file().string(), join_words(names));
  };
  strange(components_prefix);
  strange(ci_prefix);
  for (const std::string& name : state.left("")) {
    warnings.push_back(
        fmt::format("{}: the tensor {} is part of neither target nor decomposition and was passed over",
                    state.file().string(), name));
  }
}

}  // namespace vpd
