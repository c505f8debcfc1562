// Two runs side by side: their curves, and which subcomponents of one are those of the other.

#include <algorithm>
#include <cmath>
#include <set>

#include <ATen/ATen.h>

#include "decomposition/provenance.hpp"
#include "evaluation/assignment.hpp"
#include "report_data.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/interpretation/labels.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/safetensors.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::int64_t largest_assignment = 1500;  // O(n³); above it each takes the best that takes it, too
constexpr double well_matched = 0.7;
constexpr std::size_t pairs_each = 400;  // of a site, on the page

/// A checkpoint's vectors, and which columns are alive where that is known.
struct Side {
  explicit Side(const fs::path& path, std::optional<std::int64_t> checkpoint,
                std::vector<std::string>& warnings)
      : directory(RunDirectory::open(path)) {
    if (const auto harvested = harvested_step(directory, checkpoint)) {
      opened.emplace(path, checkpoint);
      checkpoint = harvested;
    } else {
      warnings.push_back(fmt::format(
          "{} has no harvest: all of its subcomponents are compared; `vpd harvest {}` tells which are alive",
          path.string(), shell_quoted(path.string())));
    }
    const auto latest = directory.latest();
    VPD_CHECK(checkpoint || latest, DataError, "{}: expected a complete checkpoint to compare, found none",
              path.string());
    const Checkpoint chosen = checkpoint ? directory.checkpoint(*checkpoint) : *latest;
    step = chosen.step;
    file.emplace(chosen.path / components_file);
  }

  std::vector<std::int64_t> alive(const std::string& site, std::int64_t C) const {
    std::vector<std::int64_t> columns;
    std::optional<std::size_t> known;
    if (opened) known = opened->evidence.sites().find(site);
    for (std::int64_t c = 0; c < C; ++c) {
      if (!known || opened->evidence.is_alive(opened->evidence.sites()[*known].offset + c))
        columns.push_back(c);
    }
    return columns;
  }

  RunDirectory directory;
  std::optional<OpenedEvidence> opened;
  std::optional<SafetensorsFile> file;
  std::int64_t step = 0;
};

/// Rows of unit length.
at::Tensor rows_of(const Side& side, const std::string& site, bool U,
                   const std::vector<std::int64_t>& columns) {
  const at::Tensor all = side.file->load(site + (U ? ".U" : ".V")).to(at::kFloat);
  at::Tensor rows = (U ? all : all.t()).index_select(0, at::tensor(columns));
  return rows / rows.norm(2, {1}, /*keepdim=*/true).clamp_min(1e-30);
}

/// Pairs of rows and columns, each at most once, whose values are large together.
std::vector<std::pair<std::int64_t, std::int64_t>> matched(const at::Tensor& value) {
  std::vector<std::pair<std::int64_t, std::int64_t>> pairs;
  const std::int64_t R = value.size(0), C = value.size(1);
  if (R == 0 || C == 0) return pairs;
  if (std::max(R, C) <= largest_assignment) {
    const bool turned = R > C;
    const std::vector<std::int64_t> chosen =
        best_assignment((turned ? value.t() : value).to(at::kDouble).contiguous());
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      const auto row = static_cast<std::int64_t>(i);
      pairs.emplace_back(turned ? chosen[i] : row, turned ? row : chosen[i]);
    }
    return pairs;
  }
  const at::Tensor best_column = value.argmax(1), best_row = value.argmax(0);
  const auto *column = best_column.const_data_ptr<std::int64_t>(),
             *row = best_row.const_data_ptr<std::int64_t>();
  for (std::int64_t r = 0; r < R; ++r)
    if (row[column[r]] == r) pairs.emplace_back(r, column[r]);
  return pairs;
}

/// SHA-256 of the target's files, as far as the run knows them.
std::set<std::string> target_hashes(const RunDirectory& run) {
  std::set<std::string> hashes;
  const Json provenance = read_provenance(run.provenance_path());
  if (!provenance.is_object() || !provenance.contains("reads") || !provenance["reads"].contains("target"))
    return hashes;
  for (const Json& path : provenance["reads"]["target"]) {
    if (path.is_string() && provenance["inputs"].contains(path.get<std::string>()))
      hashes.insert(provenance["inputs"][path.get<std::string>()].get<std::string>());
  }
  return hashes;
}

double cut(double x) { return std::round(x * 1000.0) / 1000.0; }

}  // namespace

Json compare_runs(const ReportOptions& options, std::vector<std::string>& warnings,
                  const Observer& observer) {
  observer.announce("comparing the runs");
  const Side mine(options.run, options.checkpoint, warnings), theirs(*options.compare, {}, warnings);
  const std::set<std::string> own = target_hashes(mine.directory), other = target_hashes(theirs.directory);
  VPD_CHECK(own.empty() || other.empty() || own == other, DataError,
            "{}: expected a run of the target that {} decomposes, found one of another target (by the hashes "
            "in provenance.json); compare runs of one target",
            options.compare->string(), options.run.string());
  Json sites = Json::array(), pairs = Json::array();
  bool any = false;
  for (const TensorInfo& tensor : mine.file->tensors()) {
    if (!tensor.name.ends_with(".V")) continue;
    const std::string site = tensor.name.substr(0, tensor.name.size() - 2);
    const TensorInfo *V = theirs.file->find(site + ".V"), *U = theirs.file->find(site + ".U"),
                     *U_own = mine.file->find(site + ".U");
    if (!V || !U || !U_own || V->shape[0] != tensor.shape[0] || U->shape[1] != U_own->shape[1]) continue;
    any = true;
    const std::vector<std::int64_t> a = mine.alive(site, tensor.shape[1]),
                                    b = theirs.alive(site, V->shape[1]);
    Json entry = {{"name", site}, {"alive", {a.size(), b.size()}}, {"C", {tensor.shape[1], V->shape[1]}}};
    if (!a.empty() && !b.empty()) {
      const at::Tensor cos_U = rows_of(mine, site, true, a).matmul(rows_of(theirs, site, true, b).t());
      const at::Tensor cos_V = rows_of(mine, site, false, a).matmul(rows_of(theirs, site, false, b).t());
      const at::Tensor matrix = (cos_U * cos_V).contiguous();  // the cosine of the two rank-one matrices
      double sum_U = 0.0, sum_V = 0.0, sum_matrix = 0.0;
      std::int64_t good = 0;
      std::vector<std::tuple<double, std::int64_t, std::int64_t, double, double>> found;
      for (const auto& [r, c] : matched(matrix)) {
        const double u = cos_U[r][c].item<double>(), v = cos_V[r][c].item<double>();
        sum_U += std::abs(u);
        sum_V += std::abs(v);
        sum_matrix += u * v;
        good += u * v > well_matched;
        found.emplace_back(u * v, a[static_cast<std::size_t>(r)], b[static_cast<std::size_t>(c)], u, v);
      }
      std::sort(found.rbegin(), found.rend());
      const double count = std::max<double>(1.0, static_cast<double>(found.size()));
      entry["pairs"] = found.size();
      entry["mean"] = {cut(sum_U / count), cut(sum_V / count), cut(sum_matrix / count)};
      entry["matched"] = good;
      if (found.size() > pairs_each) found.resize(pairs_each);
      for (const auto& [value, mine_c, theirs_c, u, v] : found)
        pairs.push_back({sites.size(), mine_c, theirs_c, cut(u), cut(v), cut(value)});
    }
    sites.push_back(entry);
  }
  VPD_CHECK(any, DataError,
            "{}: expected a run with sites of the shapes of {}, found none; compare runs of one target",
            options.compare->string(), options.run.string());
  Json compare = {{"name", to_valid_utf8(fs::weakly_canonical(*options.compare).filename().string())},
                  {"steps", {mine.step, theirs.step}},
                  {"curves", curves_of(*options.compare, 400)},
                  {"sites", sites},
                  {"pairs", pairs}};
  std::error_code error;
  if (fs::exists(theirs.directory.evaluation_path(), error)) {
    const Json evaluation =
        Json::parse(read_text(theirs.directory.evaluation_path()), nullptr, /*allow_exceptions=*/false);
    if (evaluation.is_object() && evaluation.contains("metrics")) compare["metrics"] = evaluation["metrics"];
  }
  return compare;
}

}  // namespace vpd
