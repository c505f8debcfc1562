#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace vpd {

struct Checkpoint {
  std::int64_t step = 0;
  std::filesystem::path path;
};

// The directory of a run:
//   config.yaml provenance.json metrics.jsonl log.txt evaluation.json
//   checkpoints/step_00005000/…     complete, because each is written under a temporary name and renamed
//   checkpoints/latest              a link, moved only after that; not there where the file system has none
// Everything here throws DataError where the file system does not allow it.
class RunDirectory {
 public:
  // Throws DataError where something is in the way of a new run: anything but an empty directory, or one with
  // what a run leaves that is killed before it has begun (there is no config.yaml and no checkpoint).
  static void check_free(const std::filesystem::path& path);
  // Makes the directory, after check_free().
  static RunDirectory create(const std::filesystem::path& path);
  // An existing run, to read from.
  static RunDirectory open(const std::filesystem::path& path);
  // An existing run, to go on with: removes what killed runs left under temporary names.
  static RunDirectory open_for_resume(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path config_path() const { return path_ / "config.yaml"; }
  std::filesystem::path provenance_path() const { return path_ / "provenance.json"; }
  std::filesystem::path metrics_path() const { return path_ / "metrics.jsonl"; }
  std::filesystem::path log_path() const { return path_ / "log.txt"; }
  std::filesystem::path evaluation_path() const { return path_ / "evaluation.json"; }
  std::filesystem::path status_path() const { return path_ / "status.json"; }
  std::filesystem::path checkpoint_path(std::int64_t step) const;

  // Complete ones, by step.
  std::vector<Checkpoint> checkpoints() const;
  // Where the link `latest` points to, or, without a good link, the highest step.
  std::optional<Checkpoint> latest() const;

  // The one of that step. DataError naming those that there are.
  Checkpoint checkpoint(std::int64_t step) const;

  // Calls `read` with the latest one, and once more with the next where a run that goes on removed it
  // meanwhile. Returns whether there was any. What `read` throws of a checkpoint that is still there leaves.
  bool read_latest(const std::function<void(const Checkpoint&)>& read) const;

  // Calls `write` with an empty temporary directory, flushes what it wrote to the disk, renames it to
  // checkpoint_path(step) (in place of an earlier checkpoint of that step), moves `latest` to it and removes
  // all but the `keep` highest steps, never the one just written. When `write` throws, nothing of it stays.
  // keep >= 1. What goes wrong once the checkpoint is whole, such as a link on a file system without links,
  // is returned, a sentence each.
  std::vector<std::string> publish_checkpoint(std::int64_t step,
                                              const std::function<void(const std::filesystem::path&)>& write,
                                              std::int64_t keep) const;

  // Renames the checkpoints of steps beyond `step` to step_….set_aside, for a run that goes on from that one.
  void set_aside_after(std::int64_t step) const;

 private:
  explicit RunDirectory(std::filesystem::path path);
  std::filesystem::path checkpoints_path() const { return path_ / "checkpoints"; }
  void point_latest_at(const std::string& name) const;

  std::filesystem::path path_;
};

// Compares the files of a checkpoint with the "sha256" of its state.json, {file name: 64 hexadecimal digits};
// DataError naming the file that differs. A checkpoint without state.json, such as one made elsewhere,
// passes.
void verify_checkpoint(const std::filesystem::path& checkpoint);

}  // namespace vpd
