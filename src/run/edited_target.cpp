#include "edited_target.hpp"

#include <algorithm>

#include <ATen/ATen.h>

#include "vpd/base/json_text.hpp"
#include "vpd/interpretation/intervention.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::vector<MatrixChange> changes_of(const EditSource& source, const std::vector<RankOneEdit>& edits) {
  std::vector<MatrixChange> changes;
  const Sites& sites = source.run.decomposition.sites;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const at::Tensor change = weight_change(source.run.decomposition, i, edits);
    if (change.defined()) changes.push_back({sites[i].name, sites[i].embedding ? change.t() : change});
  }
  return changes;
}

double reload_and_compare(const EditSource& source, const std::vector<RankOneEdit>& edits,
                          const fs::path& out) {
  const at::NoGradGuard no_grad;
  const at::Tensor rows =
      source.run.eval->batch(0, std::min<std::int64_t>(4, source.run.eval->rows().value_or(4)));
  const Intervened memory = intervene(source.run.decomposition, rows, edits);
  TargetConfig config = source.run.config.target;
  std::visit([&](auto& one) { one.path = out; }, config);
  std::vector<std::string> ignored;
  const auto reloaded = load_target(config, source.run.numerics, ignored);
  PlainExecutor plain;
  const at::Tensor logits = reloaded->forward(rows.to(source.run.numerics.device), plain);
  return (logits - memory.edited).abs().max().item<double>() / memory.edited.abs().max().item<double>();
}

}  // namespace

void check_edited_target(const EditSource& source, const std::vector<RankOneEdit>& edits,
                         const fs::path& out) {
  std::vector<std::string> matrices;
  for (const MatrixChange& change : changes_of(source, edits)) matrices.push_back(change.matrix);
  check_export(source.run.config.target, matrices, out);
}

EditedTarget write_edited_target(const EditSource& source, const std::vector<EditSpec>& specs,
                                 const std::vector<RankOneEdit>& edits, const fs::path& out,
                                 const std::string& command, std::vector<std::string>& warnings) {
  EditedTarget edited{.written = export_target(source.run.config.target, changes_of(source, edits), out)};
  for (const WrittenChange& written : edited.written) {
    if (written.relative_error > 0.1)
      warnings.push_back(fmt::format("{}: rounding to {} takes {:.0f} % of the change", written.matrix,
                                     written.dtype, 100.0 * written.relative_error));
  }
  edited.reloaded_difference = reload_and_compare(source, edits, out);
  const Json note = {{"edited_by", command},
                     {"run", fs::absolute(source.run.directory.path()).filename().string()},
                     {"step", source.run.checkpoint.step},
                     {"edits", edits_json(specs)}};
  write_atomically(out / "vpd_edit.json", json_text(note, 1) + "\n");
  return edited;
}

std::vector<Json> edits_json(const std::vector<EditSpec>& edits) {
  std::vector<Json> list;
  for (const EditSpec& spec : edits) list.push_back(to_json(spec));
  return list;
}

Json written_json(const std::vector<WrittenChange>& written) {
  Json list = Json::array();
  for (const WrittenChange& w : written)
    list.push_back({{"matrix", w.matrix},
                    {"file", w.file},
                    {"tensor", w.tensor},
                    {"dtype", w.dtype},
                    {"relative_error", w.relative_error}});
  return list;
}

std::string edited_target_text(const EditedTarget& edited, const fs::path& out) {
  std::string text;
  for (const WrittenChange& w : edited.written)
    text += fmt::format("\nwritten      {}: {} in {} ({}), rounding {:.2g} of the change", w.matrix, w.tensor,
                        w.file, w.dtype, w.relative_error);
  return text + fmt::format("\nedited       {}; its logits and the edit in memory differ by {:.2g}\n",
                            out.string(), edited.reloaded_difference);
}

}  // namespace vpd
