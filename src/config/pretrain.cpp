#include "vpd/config/pretrain.hpp"

#include <spdlog/fmt/fmt.h>

#include "vpd/config/reflection.hpp"

namespace vpd {
namespace {

const config::Type& pretrain_type() {
  static const config::Type type = config::type_of<PretrainConfig>();
  return type;
}

std::optional<config::Complaint> validate_length(const DataSource& source, std::string_view where,
                                                 const LlamaSimpleMlpConfig& model) {
  const auto* tokens = std::get_if<TokensData>(&source);
  if (!tokens || tokens->sequence_length <= model.block_size) return std::nullopt;
  return config::Complaint{fmt::format("data.{}.sequence_length", where),
                           fmt::format("expected at most model.block_size, which is {}, found {}",
                                       model.block_size, tokens->sequence_length)};
}

}  // namespace

std::optional<config::Complaint> PretrainConfig::validate() const {
  if (training.steps > 0 && !data) {
    return config::Complaint{
        "data", fmt::format("expected rows to train on for {} steps, found none", training.steps)};
  }
  if (evaluation.every && !(data && data->eval)) {
    return config::Complaint{"evaluation.every",
                             "expected null while there are no rows in data.eval, found a number"};
  }
  const auto* language_model = std::get_if<LlamaSimpleMlpConfig>(&model);
  if (!data || !language_model) return std::nullopt;
  if (auto complaint = validate_length(data->train, "train", *language_model)) return complaint;
  return data->eval ? validate_length(*data->eval, "eval", *language_model) : std::nullopt;
}

PretrainConfig load_pretrain_config(const std::filesystem::path& path,
                                    const std::vector<std::string>& overrides, config::Files files) {
  PretrainConfig pretrain;
  config::assign(pretrain, config::load(path, overrides, pretrain_type(), files), "");
  return pretrain;
}

void check(const PretrainConfig& pretrain) {
  config::from_value<PretrainConfig>(config::value_of(pretrain), pretrain_type(), {});
}

std::string to_yaml(const PretrainConfig& pretrain) { return config::to_yaml(config::value_of(pretrain)); }

std::string to_json(const PretrainConfig& pretrain) { return config::to_json(config::value_of(pretrain)); }

std::vector<std::string> differences(const PretrainConfig& before, const PretrainConfig& after) {
  return config::differences(config::value_of(before), config::value_of(after));
}

std::string pretrain_json_schema() {
  return config::to_json(config::schema(pretrain_type(), "vpd pretrain"));
}

std::string pretrain_reference_markdown() {
  return config::reference(pretrain_type(), "Configuration of a pretraining run");
}

}  // namespace vpd
