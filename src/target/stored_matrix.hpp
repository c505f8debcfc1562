#pragma once

#include "vpd/target/export.hpp"

namespace vpd {

/// Where a weight of a checkpoint in Hugging Face's layout lies; `name` is ours. Throws DataError.
StoredMatrix stored_in_huggingface(const std::filesystem::path& directory, const std::string& name);

}  // namespace vpd
