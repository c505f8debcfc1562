#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "vpd/config/common.hpp"
#include "vpd/io/dataset.hpp"
#include "vpd/target/target.hpp"
#include "vpd/training/synthetic.hpp"

namespace vpd {

/// Opens a source of a configuration for a target that reads `input`. `where` names the source in errors, as
/// in "run.yaml: data.train". Throws ConfigError where the source gives another kind of input than the target
/// reads, or longer rows, and DataError for files that are not what they have to be.
std::unique_ptr<Dataset> open_dataset(const DataSource& source, const InputShape& input, std::uint64_t seed,
                                      DataRole role, const std::string& where);

}  // namespace vpd
