#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "edit_source.hpp"
#include "vpd/run/edit.hpp"

namespace vpd {

/// Throws DataError or UsageError where write_edited_target() could not: what is better known before a
/// measurement than after it.
void check_edited_target(const EditSource& source, const std::vector<RankOneEdit>& edits,
                         const std::filesystem::path& out);

/// Writes the target with its edits to `out`, with vpd_edit.json, which says by which `command`; reads it
/// again, and compares logits on held-out rows. `warnings` takes what rounding cost.
EditedTarget write_edited_target(const EditSource& source, const std::vector<EditSpec>& specs,
                                 const std::vector<RankOneEdit>& edits, const std::filesystem::path& out,
                                 const std::string& command, std::vector<std::string>& warnings);

std::vector<nlohmann::ordered_json> edits_json(const std::vector<EditSpec>& edits);
nlohmann::ordered_json written_json(const std::vector<WrittenChange>& written);
/// A line for each matrix, and one for the directory.
std::string edited_target_text(const EditedTarget& edited, const std::filesystem::path& out);

}  // namespace vpd
