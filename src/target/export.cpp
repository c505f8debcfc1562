#include "vpd/target/export.hpp"

#include <fstream>
#include <map>
#include <system_error>

#include <ATen/ATen.h>
#include <unistd.h>

#include "stored_matrix.hpp"
#include "vpd/base/error.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/safetensors.hpp"
#include "vpd/target/checkpoint.hpp"
#include "vpd/target/huggingface.hpp"
#include "vpd/target/target_directory.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

/// Absolute, without "." and "..", links as they stand, and no slash at the end.
fs::path plain(const fs::path& path) {
  const fs::path whole = fs::absolute(path).lexically_normal();
  return whole.has_filename() ? whole : whole.parent_path();
}

void copy_directory(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_directories(to, error);
  for (fs::recursive_directory_iterator i(from, error), end; !error && i != end; i.increment(error)) {
    const fs::path destination = to / i->path().lexically_relative(from);
    std::error_code failed;
    if (i->is_directory()) {
      fs::create_directories(destination, failed);
    } else {
      fs::copy_file(fs::canonical(i->path()), destination, failed);  // what a link points to
      if (!failed) fs::permissions(destination, fs::perms::owner_write, fs::perm_options::add, failed);
    }
    VPD_CHECK(!failed, DataError, "{}: cannot copy the file to {}: {}", i->path().string(), to.string(),
              failed.message());
  }
  VPD_CHECK(!error, DataError, "{}: cannot copy the directory: {}", from.string(), error.message());
}

/// Replaces the bytes of one tensor.
void overwrite(const fs::path& path, const TensorInfo& info, const at::Tensor& values) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(info.begin);
  file.write(static_cast<const char*>(values.data_ptr()), info.end - info.begin);
  file.flush();
  VPD_CHECK(file.good(), DataError, "{}: cannot write the tensor {}; free some space there", path.string(),
            info.name);
}

WrittenChange write_change(const fs::path& copied, const StoredMatrix& stored, const MatrixChange& change) {
  at::Tensor values;
  TensorInfo info;
  {
    const SafetensorsFile file(copied);
    info = *file.find(stored.tensor);
    values = file.load(stored.tensor);
  }
  const std::int64_t width = values.size(-1) / stored.parts;
  const at::Tensor part = values.narrow(-1, stored.part * width, width);
  const at::Tensor wanted = stored.transposed ? change.change.t() : change.change;
  VPD_CHECK(part.sizes() == wanted.sizes(), DataError,
            "{}: {}: expected a matrix of {} by {}, found one of {} by {}", copied.string(), stored.tensor,
            wanted.size(0), wanted.size(1), part.size(0), part.size(1));
  const at::Tensor before = part.to(at::kDouble);
  part.copy_((before + wanted).to(values.scalar_type()));
  const double length = wanted.norm().item<double>();
  const double error = (part.to(at::kDouble) - before - wanted).norm().item<double>();
  const bool changed = !at::equal(part.to(at::kDouble), before);
  VPD_CHECK(length == 0.0 || changed, DataError,
            "{}: {}: the edit is smaller than the rounding of {}: nothing of it is left; export it from a "
            "checkpoint of a wider type",
            copied.string(), stored.tensor, info.dtype);
  overwrite(copied, info, values.contiguous());
  return {change.matrix, copied.filename().string(), stored.tensor, info.dtype,
          length > 0.0 ? error / length : 0.0};
}

}  // namespace

StoredMatrix find_stored(const TargetConfig& config, const std::string& matrix) {
  const fs::path& directory = directory_of(config);
  const std::string name = matrix + ".weight";
  if (is_huggingface(directory)) return stored_in_huggingface(directory, name);
  StoredMatrix stored{.file = find_weights(directory), .tensor = name};
  const SafetensorsFile file(stored.file);
  if (!file.find(name)) {
    // A tied head is stored once, under either name.
    const std::string other = matrix == "lm_head" ? "wte.weight" : "lm_head.weight";
    VPD_CHECK((matrix == "lm_head" || matrix == "wte") && file.find(other), DataError,
              "{}: expected a tensor '{}', found none", stored.file.string(), name);
    stored.tensor = other;
    stored.shared = true;
  } else if (matrix == "wte" && !file.find("lm_head.weight")) {
    stored.shared = true;
  }
  return stored;
}

void check_export(const TargetConfig& config, const std::vector<std::string>& matrices, const fs::path& out) {
  const fs::path absolute = plain(out), source = plain(directory_of(config)),
                 beside = absolute.lexically_relative(source);
  std::error_code error;
  VPD_CHECK(
      !fs::exists(absolute, error) || (fs::is_directory(absolute, error) && fs::is_empty(absolute, error)),
      DataError,
      "--out {}: expected a new or an empty directory for the edited target, found something there; choose "
      "another",
      out.string());
  VPD_CHECK(beside.empty() || *beside.begin() == "..", DataError,
            "--out {}: expected a place outside of the target's own directory, found one in it",
            out.string());
  for (const std::string& matrix : matrices)
    VPD_CHECK(!find_stored(config, matrix).shared, DataError,
              "{}: expected matrices that are stored alone, found {}, which is the embedding and the head in "
              "one; untie the head first "
              "(tie_word_embeddings: false, and a lm_head.weight of its own)",
              source.string(), matrix);
}

std::vector<WrittenChange> export_target(const TargetConfig& config, const std::vector<MatrixChange>& changes,
                                         const fs::path& out) {
  std::vector<std::string> matrices;
  std::vector<std::pair<StoredMatrix, const MatrixChange*>> stored;
  for (const MatrixChange& change : changes) {
    matrices.push_back(change.matrix);
    stored.emplace_back(find_stored(config, change.matrix), &change);
  }
  check_export(config, matrices, out);
  const fs::path absolute = plain(out), source = plain(directory_of(config));
  std::error_code error;
  const fs::path temporary =
      absolute.parent_path() / fmt::format(".tmp-{}.{}", absolute.filename().string(), ::getpid());
  std::vector<WrittenChange> written;
  try {
    copy_directory(source, temporary);
    for (const auto& [place, change] : stored)
      written.push_back(
          write_change(temporary / plain(place.file).lexically_relative(source), place, *change));
    if (fs::exists(absolute)) fs::remove(absolute, error);
    publish_directory(temporary, absolute);
  } catch (...) {
    fs::remove_all(temporary, error);
    throw;
  }
  return written;
}

}  // namespace vpd
