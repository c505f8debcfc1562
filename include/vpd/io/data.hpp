#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "vpd/config/common.hpp"
#include "vpd/io/dataset.hpp"
#include "vpd/io/synthetic.hpp"

namespace vpd {

/// Opens a source of a configuration for a target that reads `input`. `where` names the source in errors, as
/// in "run.yaml: data.train". Throws ConfigError where the source gives another kind of input than the target
/// reads, or longer rows, and DataError for files that are not what they have to be.
std::unique_ptr<Dataset> open_dataset(const DataSource& source, const InputShape& input, std::uint64_t seed,
                                      DataRole role, const std::string& where);

/// A warning where rows to train on and rows to evaluate on come out of the same files, by whatever names.
std::optional<std::string> warning_of_shared_files(const Dataset& train, const Dataset& eval);

}  // namespace vpd
