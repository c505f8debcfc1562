#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/config/run.hpp"

namespace vpd {

/// Where a weight matrix lies in the files of a target.
struct StoredMatrix {
  std::filesystem::path file;
  std::string tensor;
  std::int64_t part = 0,
               parts = 1;   ///< of its last dimension: GPT-2's c_attn holds three matrices side by side
  bool transposed = false;  ///< the file has [d_in, d_out]
  bool shared = false;      ///< it is the embedding and the head in one
};
/// Throws DataError where the target's files have no such matrix.
StoredMatrix find_stored(const TargetConfig& config, const std::string& matrix);

/// A change of a matrix as the target has it, float64 [d_out, d_in]; of an embedding its rows, [vocabulary,
/// d].
struct MatrixChange {
  std::string matrix;
  at::Tensor change;
};

/// What became of it in a file's type.
struct WrittenChange {
  std::string matrix, file, tensor, dtype;
  double relative_error = 0.0;  ///< ‖stored - wanted‖ / ‖wanted‖ of the change; 1: it vanished
};

/// Throws DataError where export_target() could not: `out` is neither new nor empty, or inside the target's
/// own directory; a matrix is shared with another (a tied head) or not there.
void check_export(const TargetConfig& config, const std::vector<std::string>& matrices,
                  const std::filesystem::path& out);

/// Copies a target's directory to `out` (new or empty), byte for byte, and adds the changes to the tensors
/// that hold the matrices: same file, name, layout and type. Throws DataError where files cannot be read or
/// written, where a matrix is shared with another (a tied head), and where rounding swallows a change; `out`
/// then does not exist.
std::vector<WrittenChange> export_target(const TargetConfig& config, const std::vector<MatrixChange>& changes,
                                         const std::filesystem::path& out);

}  // namespace vpd
