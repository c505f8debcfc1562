#include "vpd/io/data.hpp"

#include <map>
#include <utility>
#include <variant>
#include <vector>

#include <sys/stat.h>

#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/io/prompts.hpp"
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
  const auto there = source.only.empty() ? input.features : static_cast<std::int64_t>(source.only.size());
  VPD_CHECK(active_features(source.generation) <= there, ConfigError,
            "{}.generation: expected at most as many active features as there may be, which is {}, found {}",
            where, there, active_features(source.generation));
  VPD_CHECK(source.only.empty() || source.only.back() < input.features, ConfigError,
            "{}.only: expected features below {}, which the target reads, found {}", where, input.features,
            source.only.empty() ? 0 : source.only.back());
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

std::unique_ptr<Dataset> open_prompts(const PromptsData& source, const InputShape& input, std::uint64_t seed,
                                      const std::string& where, std::int64_t rows_a_step) {
  check_tokens(source, input, where);
  return std::make_unique<PromptRows>(source, input.vocabulary, seed, rows_a_step, where);
}

/// What a file is, whatever links and names lead to it: its device and its number there.
std::optional<std::pair<dev_t, ino_t>> identity_of(const TokenShard& shard) {
  struct stat status {};
  if (::stat(shard.path().c_str(), &status) != 0) return std::nullopt;
  return std::pair(status.st_dev, status.st_ino);
}

}  // namespace

std::unique_ptr<Dataset> open_dataset(const DataSource& source, const InputShape& input, std::uint64_t seed,
                                      DataRole role, const std::string& where, std::int64_t rows_a_step) {
  return std::visit(
      [&]<class Source>(const Source& kind) -> std::unique_ptr<Dataset> {
        if constexpr (std::is_same_v<Source, PromptsData>) {
          return open_prompts(kind, input, seed, where, rows_a_step);
        } else {
          return open(kind, input, seed, role, where);
        }
      },
      source);
}

const char* name_of(DataRole role) {
  switch (role) {
    case DataRole::train:
      return "train";
    case DataRole::eval:
      return "eval";
    case DataRole::background:
      break;
  }
  return "background";
}

std::unique_ptr<Dataset> open_dataset(const RunConfig& config, DataRole role, const InputShape& input,
                                      const std::string& file, std::int64_t rows_a_step) {
  DataSource source = role == DataRole::train  ? config.data.train
                      : role == DataRole::eval ? config.data.eval
                                               : config.data.background.value();
  if (auto* prompts = std::get_if<PromptsData>(&source); prompts && !prompts->tokenizer) {
    const std::filesystem::path beside =
        std::visit([](const auto& target) { return target.path; }, config.target) / "tokenizer.json";
    std::error_code error;
    if (std::filesystem::exists(beside, error)) prompts->tokenizer = beside;
  }
  return open_dataset(source, input, config.seed, role, fmt::format("{}: data.{}", file, name_of(role)),
                      rows_a_step);
}

std::optional<std::string> warning_of_shared_files(const Dataset& train, const Dataset& eval) {
  const auto* trained = dynamic_cast<const TokenDataset*>(&train);
  const auto* evaluated = dynamic_cast<const TokenDataset*>(&eval);
  if (!trained || !evaluated) return std::nullopt;  // rows that are made are of streams of their own
  std::map<std::pair<dev_t, ino_t>, std::filesystem::path> known;
  for (const TokenShard& shard : trained->shards()) {
    if (const auto identity = identity_of(shard)) known.emplace(*identity, shard.path());
  }
  std::vector<std::string> shared;
  for (const TokenShard& shard : evaluated->shards()) {
    const auto identity = identity_of(shard);
    const auto found = identity ? known.find(*identity) : known.end();
    if (found == known.end()) continue;
    const bool one_name = found->second == shard.path();
    shared.push_back(one_name
                         ? shard.path().string()
                         : fmt::format("{} (the same as {})", shard.path().string(), found->second.string()));
  }
  if (shared.empty()) return std::nullopt;
  constexpr std::size_t shown = 5;
  const std::size_t count = shared.size();
  if (count > shown) shared.resize(shown), shared.emplace_back("...");
  return fmt::format(
      "data.train and data.eval share {} file{}, so that evaluations measure what was trained on: {}; let "
      "data.train.path leave out what data.eval.path names, as train_*.bin leaves out eval_*.bin",
      count, count == 1 ? "" : "s", join_words(shared));
}

}  // namespace vpd
