#include "planned_pass.hpp"

#include "decomposition/inputs.hpp"
#include "token_rows.hpp"
#include "vpd/base/error.hpp"
#include "vpd/config/load.hpp"
#include "vpd/cost/product_peak.hpp"

namespace vpd {
namespace {

RunDirectory with_a_checkpoint(const PassChoice& choice) {
  RunDirectory directory = RunDirectory::open(choice.run);
  if (choice.checkpoint) directory.checkpoint(*choice.checkpoint);
  VPD_CHECK(directory.latest(), DataError,
            "{}: expected a complete checkpoint under checkpoints/, found none", directory.path().string());
  return directory;
}

std::vector<std::string> overrides_of(const PassChoice& choice) {
  std::vector<std::string> overrides = {"precision=fp32"};
  overrides.insert(overrides.end(), choice.overrides.begin(), choice.overrides.end());
  if (choice.tokens) {
    const std::vector<std::string> rows = tokens_in_place(choice.run, *choice.tokens);
    overrides.insert(overrides.end(), rows.begin(), rows.end());
  }
  return overrides;
}

RunConfig planned_config(const PassChoice& choice, const RunDirectory& directory) {
  std::vector<std::string> overrides = overrides_of(choice);
  if (choice.device) overrides.push_back("device=" + *choice.device);
  return load_run_config(directory.config_path(), overrides, config::Files::may_be_missing);
}

}  // namespace

void check_rows_choice(const PassChoice& choice) {
  VPD_CHECK(choice.split == "eval" || choice.split == "train", UsageError,
            "--split: expected eval or train, found \"{}\"", choice.split);
  VPD_CHECK(!choice.tokens || choice.split == "eval", UsageError,
            "--tokens and --split train exclude each other");
}

OpenOptions open_options(const PassChoice& choice) {
  return {.checkpoint = choice.checkpoint,
          .overrides = overrides_of(choice),
          .device = choice.device,
          .threads = choice.threads};
}

nlohmann::ordered_json hashes_of_rows(const OpenedRun& run, const std::string& split,
                                      const Observer& observer) {
  std::vector<InputRole> roles = input_roles(run.config);
  std::erase_if(roles, [&](const InputRole& role) { return role.name != "data." + split; });
  nlohmann::ordered_json hashes = nlohmann::ordered_json::array();
  for (const HashedRole& role : hash_inputs(roles, observer))
    for (const HashedFile& file : role.files)
      hashes.push_back({{"path", name_in_json(file.path)}, {"sha256", file.sha256}});
  return hashes;
}

PlannedPass::PlannedPass(const PassChoice& choice, std::vector<std::string>& warnings)
    : PlannedPass(choice, with_a_checkpoint(choice), warnings) {}

PlannedPass::PlannedPass(const PassChoice& choice, const RunDirectory& directory,
                         std::vector<std::string>& warnings)
    : config_(planned_config(choice, directory)),
      threads_(choice.threads),
      numerics_(resolve_numerics(config_.device, config_.precision)) {
  const std::string name = directory.config_path().string();
  const Architecture architecture = describe_target(config_.target, warnings);
  step_shape_ = make_step_shape(config_, architecture, numerics_, threads(), name);
  const bool train = choice.split == "train";
  data_ = open_dataset(config_, train ? DataRole::train : DataRole::eval, architecture.input(), name);
  step_shape_.T = data_->length();
}

std::optional<double> PlannedPass::seconds(double operations, std::int64_t batch_rows,
                                           const Observer& observer) const {
  observer.announce("measuring matrix products");
  const int lanes_number = suitable_lanes(numerics_.device, batch_rows, threads());
  Lanes lanes(lanes_number, threads() / lanes_number);
  const double peak = measure_product_peak(numerics_, lanes, threads(), /*quick=*/true);
  return peak > 0.0 ? std::optional(operations / (0.5 * peak)) : std::nullopt;
}

}  // namespace vpd
