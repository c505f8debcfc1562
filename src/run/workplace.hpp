#pragma once

#include <filesystem>

namespace vpd {

/// The directory in which a job's result grows, beside its final place. It is removed unless it was
/// published.
class Workplace {
 public:
  /// Throws DataError where `out` is neither new nor an empty directory, or where nothing can be made.
  explicit Workplace(const std::filesystem::path& out);
  ~Workplace();
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void publish();

 private:
  std::filesystem::path destination_;
  std::filesystem::path path_;
};

}  // namespace vpd
