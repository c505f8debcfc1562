#pragma once

#include <filesystem>
#include <string_view>

namespace vpd {

/// The directory `out` of a job's result, held against other programs from the start, and in it a hidden one
/// in which the result grows. Finished files move from there to `out` by a rename within one directory, which
/// mount points allow too. Unless that happened, `out` is afterwards as it was before.
class StagingDirectory {
 public:
  /// Throws DataError where `out` is neither new nor an empty directory, where another program writes there,
  /// or where nothing can be written or renamed: tried here, since a job may take days.
  explicit StagingDirectory(const std::filesystem::path& out);
  ~StagingDirectory();
  StagingDirectory(const StagingDirectory&) = delete;
  StagingDirectory& operator=(const StagingDirectory&) = delete;

  /// Where the result grows.
  const std::filesystem::path& path() const { return path_; }

  /// Moves everything to `out`, `last` after all others: what has it is whole. Throws DataError where that
  /// fails, and leaves the result where it is then.
  void publish(std::string_view last);

 private:
  void take(const std::filesystem::path& out);
  void clear() noexcept;

  std::filesystem::path out_, path_;
  int lock_ = -1;
  bool made_out_ = false;
  bool finished_ = false;
};

}  // namespace vpd
