#include "vpd/training/data.hpp"

#include <variant>

#include "vpd/base/error.hpp"
#include "vpd/io/tokens.hpp"

namespace vpd {
namespace {

/// For sources of tokens, read or made.
template <class Source>
void check_tokens(const Source& source, const InputShape& input, const std::string& where) {
  VPD_CHECK(input.vocabulary > 0, ConfigError,
            "{}.type: expected sparse_features, since the target reads {} features, found {}", where,
            input.features, Source::kind);
  VPD_CHECK(source.sequence_length <= input.longest, ConfigError,
            "{}.sequence_length: expected at most {}, the longest sequence of the target, found {}", where,
            input.longest, source.sequence_length);
}

std::unique_ptr<Dataset> open(const TokensData& source, const InputShape& input, std::uint64_t seed, DataRole,
                              const std::string& where) {
  check_tokens(source, input, where);
  auto data = std::make_unique<TokenDataset>(source.path, source.sequence_length, source.shuffle, seed);
  data->require_vocabulary(input.vocabulary);
  return data;
}

std::unique_ptr<Dataset> open(const SparseFeaturesData& source, const InputShape& input, std::uint64_t seed,
                              DataRole role, const std::string& where) {
  VPD_CHECK(input.features > 0, ConfigError,
            "{}.type: expected tokens, since the target reads token ids below {}, found {}", where,
            input.vocabulary, SparseFeaturesData::kind);
  VPD_CHECK(active_features(source.generation) <= input.features, ConfigError,
            "{}.generation: expected at most as many active features as the target reads, which is {}, found "
            "{}",
            where, input.features, active_features(source.generation));
  return std::make_unique<SparseFeatures>(source, input.features, seed, role);
}

std::unique_ptr<Dataset> open(const InductionData& source, const InputShape& input, std::uint64_t seed,
                              DataRole role, const std::string& where) {
  check_tokens(source, input, where);
  VPD_CHECK(input.vocabulary >= 3, ConfigError,
            "{}.type: expected a target with at least 3 tokens for induction rows, found one with {}", where,
            input.vocabulary);
  return std::make_unique<InductionRows>(source, input.vocabulary, seed, role);
}

}  // namespace

std::unique_ptr<Dataset> open_dataset(const DataSource& source, const InputShape& input, std::uint64_t seed,
                                      DataRole role, const std::string& where) {
  return std::visit([&](const auto& kind) { return open(kind, input, seed, role, where); }, source);
}

}  // namespace vpd
