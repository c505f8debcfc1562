#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "vpd/config/run.hpp"
#include "vpd/io/dataset.hpp"
#include "vpd/io/synthetic.hpp"

namespace vpd {

/// Opens a source of a configuration for a target that reads `input`. `where` names the source in errors, as
/// in "run.yaml: data.train". Throws ConfigError where the source gives another kind of input than the target
/// reads, or longer rows, and DataError for files that are not what they have to be.
std::unique_ptr<Dataset> open_dataset(const DataSource& source, const InputShape& input, std::uint64_t seed,
                                      DataRole role, const std::string& where, std::int64_t rows_a_step = 0);

/// That source of a run's configuration; `file` names it in errors. Text of prompts is encoded by the
/// tokenizer that the source names, or the one beside the target. `rows_a_step`: of prompts that are trained
/// on, the batch's; 0: each once.
std::unique_ptr<Dataset> open_dataset(const RunConfig& config, DataRole role, const InputShape& input,
                                      const std::string& file, std::int64_t rows_a_step = 0);
/// Its name in a configuration: "train", "eval", "background".
const char* name_of(DataRole role);

/// A warning where rows to train on and rows to evaluate on come out of the same files, by whatever names.
std::optional<std::string> warning_of_shared_files(const Dataset& train, const Dataset& eval);

}  // namespace vpd
