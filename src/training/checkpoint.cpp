#include "vpd/training/checkpoint.hpp"

#include <nlohmann/json.hpp>

#include "vpd/base/error.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/sha256.hpp"

namespace vpd {
namespace {

constexpr std::int64_t format_version = 1;

std::int64_t whole_number(const nlohmann::json& state, const char* key, const std::filesystem::path& path) {
  VPD_CHECK(state.contains(key) && state[key].is_number_integer() && state[key].get<std::int64_t>() >= 0,
            DataError,
            "{}: expected a whole number of at least 0 under \"{}\", found {}; use another checkpoint",
            path.string(), key, state.contains(key) ? json_text(state[key]) : "none");
  return state[key].get<std::int64_t>();
}

}  // namespace

std::vector<std::string> save_checkpoint(const RunDirectory& run, const Decomposition& decomposition,
                                         const TrainingStep& step, const Progress& progress,
                                         std::int64_t keep) {
  return run.publish_checkpoint(
      progress.step,
      [&](const std::filesystem::path& directory) {
        save_weights(decomposition, directory);
        save_safetensors(directory / training_state_file, step.state());
        nlohmann::ordered_json state = {{"format_version", format_version},
                                        {"step", progress.step},
                                        {"data_position", progress.data_position},
                                        {"processes", progress.processes},
                                        {"lanes", progress.lanes},
                                        {"threads_per_lane", progress.threads_per_lane}};
        for (const char* name : {components_file, causal_importance_file, training_state_file}) {
          state["sha256"][name] = sha256_of_file(directory / name);
        }
        write_atomically(directory / checkpoint_state_file, json_text(state, 2) + "\n");
      },
      keep);
}

Progress load_checkpoint(const std::filesystem::path& checkpoint, Decomposition& decomposition,
                         TrainingStep& step) {
  const std::filesystem::path path = checkpoint / checkpoint_state_file;
  VPD_CHECK(std::filesystem::exists(path), DataError,
            "{}: expected {} in a checkpoint to resume from, found none; to start from its weights alone, "
            "name it as "
            "initialize_from in a new run",
            checkpoint.string(), checkpoint_state_file);
  verify_checkpoint(checkpoint);
  const nlohmann::json state = nlohmann::json::parse(read_text(path));
  const std::int64_t version = whole_number(state, "format_version", path);
  VPD_CHECK(version == format_version, DataError,
            "{}: expected format version {}, found {}; resume with the version of vpd that wrote it",
            path.string(), format_version, version);
  Progress progress{.step = whole_number(state, "step", path),
                    .data_position = whole_number(state, "data_position", path),
                    .processes = state.contains("processes")
                                     ? static_cast<int>(whole_number(state, "processes", path))
                                     : 1,  // written before there could be several
                    .lanes = static_cast<int>(whole_number(state, "lanes", path)),
                    .threads_per_lane = static_cast<int>(whole_number(state, "threads_per_lane", path))};
  load_weights(decomposition, checkpoint);
  step.load(checkpoint / training_state_file, progress.step);
  return progress;
}

}  // namespace vpd
