#include "vpd/decomposition/causal_importance.hpp"

#include <cmath>
#include <map>
#include <mutex>

#include <ATen/ATen.h>

#include "ci_kinds.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/kernels/random_fill.hpp"

namespace vpd {
namespace {

struct Registry {
  std::mutex mutex;
  std::map<std::string, CausalImportanceFactory> factories;
};

Registry& registry() {
  static Registry instance;
  return instance;
}

std::unique_ptr<CausalImportance> make_ci(const CustomCiConfig& config, const Sites& sites,
                                          const Numerics& numerics) {
  CausalImportanceFactory factory;
  {
    const std::lock_guard<std::mutex> lock(registry().mutex);
    const auto& factories = registry().factories;
    const auto found = factories.find(config.name);
    if (found == factories.end()) {
      std::vector<std::string> known;
      for (const auto& entry : factories) known.push_back(entry.first);
      throw ConfigError(fmt::format(
          "causal_importance.name: expected a kind that this program registers ({}), found \"{}\"{}",
          known.empty() ? "it registers none" : join_words(known), config.name,
          nearest_hint(config.name, known)));
    }
    factory = found->second;
  }
  CustomOptions options(config.options, "causal_importance.options");
  std::unique_ptr<CausalImportance> made = factory(options, sites, numerics);
  options.refuse_the_rest();
  VPD_CHECK(made != nullptr, UsageError, "the factory of the causal-importance function \"{}\" made none",
            config.name);
  return made;
}

}  // namespace

void register_causal_importance(const std::string& name, CausalImportanceFactory factory) {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  const bool is_new = registry().factories.emplace(name, std::move(factory)).second;
  VPD_CHECK(is_new, UsageError,
            "a causal-importance function named \"{}\" is registered already: give this one another name",
            name);
}

std::unique_ptr<CausalImportance> make_causal_importance(const CausalImportanceConfig& config,
                                                         const Sites& sites, const Numerics& numerics) {
  return std::visit([&](const auto& kind) { return make_ci(kind, sites, numerics); }, config);
}

void refuse_embeddings(const Sites& sites, std::string_view kind) {
  for (const Site& site : sites) {
    VPD_CHECK(!site.embedding, ConfigError,
              "causal_importance.type: {} reads the input vector of each site, and the embedding \"{}\" has "
              "none: use {}, {} or {}, or leave the embedding out of sites",
              kind, site.name, MlpCiConfig::kind, GlobalSharedMlpCiConfig::kind,
              GlobalSharedTransformerConfig::kind);
  }
}

void initialise_mlps(ParameterSet& parameters, std::size_t layers, CiInitialization initialization,
                     std::uint64_t seed) {
  const bool published = initialization == CiInitialization::published;
  fill_side_by_side(parameters.size(), [&](std::size_t i) {
    const RandomKey key = make_key(seed, RandomPurpose::initial_causal_importance, i);
    const at::Tensor value = parameters.value(i);
    const bool is_bias = i % 2 == 1, is_last = i / 2 % layers == layers - 1;
    const std::int64_t fan_in = parameters.spec(is_bias ? i - 1 : i).shape[1];
    if (!published) {
      fill_symmetric(value, fan_in, key);
    } else if (is_bias) {
      value.zero_();
    } else {
      fill_normal(value, std::sqrt((is_last ? 1.0 : 2.0) / static_cast<double>(fan_in)), key);
    }
  });
  parameters.refresh();
}

}  // namespace vpd
