#include "edit_source.hpp"

#include <algorithm>

#include "prompt_text.hpp"
#include "vpd/base/error.hpp"
#include "vpd/decomposition/columns.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/target/target.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

std::optional<OpenedEvidence> evidence_of(const fs::path& run, std::int64_t step,
                                          const std::optional<fs::path>& tokenizer) {
  std::optional<OpenedEvidence> opened;
  if (harvested_step(RunDirectory::open(run), step)) opened.emplace(run, step, tokenizer);
  return opened;
}

OpenOptions open_options(const RunToEdit& chosen, std::int64_t rows) {
  OpenOptions options{.checkpoint = chosen.checkpoint,
                      .overrides = {"precision=fp32"},
                      .device = chosen.device,
                      .threads = chosen.threads,
                      .rows = rows};
  options.overrides.insert(options.overrides.end(), chosen.overrides.begin(), chosen.overrides.end());
  return options;
}

}  // namespace

EditSource::EditSource(const RunToEdit& chosen, const Observer& observer, std::int64_t rows,
                       bool features_will_do)
    : run(chosen.run, open_options(chosen, rows), observer),
      evidence(evidence_of(chosen.run, run.checkpoint.step, chosen.tokenizer)),
      tokenizer(chosen.tokenizer ? std::optional(Tokenizer::load(*chosen.tokenizer)) : run.tokenizer()) {
  VPD_CHECK(features_will_do || run.decomposition.target->vocabulary_size() > 0, DataError,
            "{}: expected a target of tokens, found one of features", run.config_name);
}

std::int64_t EditSource::token_named(const std::string& text) const {
  return vpd::token_named(text, tokenizer, run.decomposition.target->vocabulary_size());
}
std::vector<std::int64_t> EditSource::tokens_named(const std::string& text) const {
  return vpd::tokens_named(text, tokenizer, run.decomposition.target->vocabulary_size());
}
std::string EditSource::token_text(std::int64_t token) const { return vpd::token_text(token, tokenizer); }

std::vector<std::int64_t> EditSource::prompt_of(const std::string& text,
                                                const std::vector<std::int64_t>& numbers) const {
  return vpd::prompt_of(text, numbers, tokenizer, run.decomposition.target->input());
}

std::vector<RankOneEdit> EditSource::make(const std::vector<EditSpec>& specs) const {
  VPD_CHECK(
      !specs.empty(), UsageError,
      "expected an edit (--ablate, --scale, --activation, --write, --read, --swap or --from), found none");
  EditMaterial material{.evidence = evidence ? &evidence->evidence : nullptr,
                        .token_named = [this](const std::string& text) { return token_named(text); }};
  std::vector<std::string> ignored;
  for (const Stage& stage : describe_target(run.config.target, ignored).stages) {
    if (!stage.attention) continue;
    material.heads = stage.attention->heads;
    material.key_heads = stage.attention->key_heads;
  }
  return make_edits(specs, run.decomposition, material);
}

void write_about_edit(const fs::path& directory, const EditSource& source, const std::string& command_line,
                      const std::vector<std::string>& warnings) {
  write_about(directory, about_result(command_line, source.run.checkpoint.step,
                                      weight_hashes(source.run.checkpoint.path), warnings));
}

std::vector<EditSpec> moved(const std::vector<EditSpec>& specs, const Sites& sites,
                            const std::vector<std::int64_t>& from, const std::vector<std::int64_t>& to) {
  const auto move = [&](std::string& key) {
    const std::int64_t column = column_of(subcomponent_of(key, sites), sites);
    const auto found = std::find(from.begin(), from.end(), column);
    if (found != from.end()) key = key_of_column(to[static_cast<std::size_t>(found - from.begin())], sites);
  };
  std::vector<EditSpec> others = specs;
  for (EditSpec& spec : others) {
    move(spec.key);
    if (spec.kind == EditSpec::Kind::swap) move(spec.other);
  }
  return others;
}

}  // namespace vpd
