#include "vpd/target/target_directory.hpp"

#include <string>
#include <variant>

#include "vpd/base/error.hpp"
#include "vpd/config/value.hpp"
#include "vpd/target/checkpoint.hpp"
#include "vpd/target/huggingface.hpp"
#include "vpd/target/induction.hpp"
#include "vpd/target/residual_mlp.hpp"
#include "vpd/target/tms.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

config::Value read_json(const fs::path& path) {
  try {
    return config::read_file(path);
  } catch (const ConfigError& error) {  // it is no configuration of ours
    throw DataError(error.what());
  }
}

}  // namespace

TargetConfig target_in(const fs::path& directory) {
  if (!model_config_in(directory) && is_huggingface(directory)) return HuggingFaceTarget{directory};
  const config::Value file = read_json(find_model_config(directory));
  const config::Value* found = file.find("model_type");
  const std::string type = found && found->text() ? *found->text() : "";
  if (type == TmsConfig::model_type) return TmsTarget{directory};
  if (type == ResidualMlpConfig::model_type) return ResidualMlpTarget{directory};
  if (type == InductionConfig::model_type) return InductionTarget{directory};
  return LlamaSimpleMlpTarget{directory};
}

const fs::path& directory_of(const TargetConfig& target) {
  return std::visit([](const auto& one) -> const fs::path& { return one.path; }, target);
}

std::optional<std::int64_t> start_token_of(const TargetConfig& target, std::int64_t vocabulary) {
  if (!std::holds_alternative<HuggingFaceTarget>(target) && !std::holds_alternative<Gpt2Target>(target))
    return std::nullopt;
  const fs::path path = directory_of(target) / "config.json";
  const config::Value file = read_json(path);
  const config::Value* found = file.find("bos_token_id");
  if (!found || found->is_null()) return std::nullopt;
  const auto* token = std::get_if<std::int64_t>(&found->data);
  VPD_CHECK(token && *token >= 0 && *token < vocabulary, DataError,
            "{}: bos_token_id: expected a token below {}, which the model knows, found {}; name another with "
            "--start-token",
            path.string(), vocabulary, config::describe_found(*found));
  return *token;
}

}  // namespace vpd
