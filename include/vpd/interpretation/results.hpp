#pragma once

// Where interpretations of a run lie, and what they say of themselves.

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "vpd/base/observer.hpp"
#include "vpd/decomposition/opened_run.hpp"

namespace vpd {

/// RUN/interpretation/step_00010000: everything found out about one checkpoint, a directory for each thing.
std::filesystem::path results_path(const RunDirectory& run, std::int64_t step);
/// Its directory of that name. Throws DataError where there is none, naming the `command` that makes it and
/// the other steps that have it.
std::filesystem::path existing_result(const RunDirectory& run, std::int64_t step, const std::string& name,
                                      const std::string& command);

/// Throws UsageError, naming --slug, for what is no plain name: letters, digits, ".", "_" and "-", no "." in
/// front.
void check_slug(const std::string& name);

/// Calls `write` with an empty directory beside `destination` and renames it to that, in place of what was
/// there. When `write` throws, nothing of it stays. Throws DataError.
void publish_result(const std::filesystem::path& destination,
                    const std::function<void(const std::filesystem::path&)>& write);

/// SHA-256 of a checkpoint's two weight files, by their names.
nlohmann::ordered_json weight_hashes(const std::filesystem::path& checkpoint, const Observer& observer = {});
/// Throws DataError where the result at `path` was made of other weights.
void check_weights(const std::filesystem::path& path, const nlohmann::ordered_json& about,
                   const nlohmann::ordered_json& weights, const std::filesystem::path& checkpoint);

/// What every about.json begins with: version, command, time, step, weights, what it does not claim.
nlohmann::ordered_json about_result(const std::string& command_line, std::int64_t step,
                                    const nlohmann::ordered_json& weights,
                                    const std::vector<std::string>& warnings);
void write_about(const std::filesystem::path& directory, const nlohmann::ordered_json& about);
/// Throws DataError where there is none or it is damaged.
nlohmann::ordered_json read_about(const std::filesystem::path& directory);

/// Ends every page and every about.json.
inline constexpr const char* claim =
    "Causal importance on this data under maskings of the stated budget; not the mechanism, not a count of "
    "mechanisms.";

}  // namespace vpd
