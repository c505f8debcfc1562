#include "staging_directory.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "vpd/base/error.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

constexpr const char* working_name = ".tmp-work";
/// In a working directory whose content is finished: nobody may take it for what a killed program left.
constexpr const char* finished_mark = ".finished";

/// Whether nothing is in the directory but what does not count: leftovers, and what a fresh volume has.
bool counts_as_empty(const fs::path& directory, std::error_code& error) {
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name != working_name && name != "lost+found") return false;
  }
  return true;
}

/// A failure of the system as a sentence.
[[noreturn]] void no_staging(const fs::path& path, std::string_view action, const std::error_code& error) {
  throw DataError(
      fmt::format("{}: cannot {}: {}; check the path, its permissions and the free space, or choose "
                  "another --out",
                  path.string(), action, error.message()));
}

}  // namespace

StagingDirectory::StagingDirectory(const fs::path& out) {
  out_ = fs::absolute(out).lexically_normal();
  if (out_.filename().empty()) out_ = out_.parent_path();
  path_ = out_ / working_name;
  try {
    take(out);
  } catch (...) {
    clear();
    throw;
  }
}

void StagingDirectory::take(const fs::path& out) {
  std::error_code error;
  if (fs::exists(out_, error)) {
    VPD_CHECK(fs::is_directory(out_, error), DataError,
              "{}: expected a new or an empty directory, found a file: choose another --out or remove it",
              out.string());
  } else {
    made_out_ = fs::create_directories(out_, error);
    if (error) no_staging(out_, "make this directory", error);
  }
  // File systems without locks of directories are left to the exclusive making of the working directory.
  lock_ = ::open(out_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ >= 0 && ::flock(lock_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    made_out_ = false;  // it is the other program's now
    path_.clear();
    throw DataError(fmt::format(
        "{}: another program is writing into this directory: choose another --out or wait for its end",
        out.string()));
  }
  const bool empty = counts_as_empty(out_, error);
  if (error || !empty) path_.clear();  // nothing in there is ours
  if (error) no_staging(out_, "list the directory", error);
  VPD_CHECK(
      empty, DataError,
      "{}: expected a new or an empty directory, found something there: choose another --out or remove it",
      out.string());
  if (fs::exists(path_ / finished_mark, error)) {
    const fs::path kept = std::exchange(path_, {});
    throw DataError(fmt::format(
        "{}: expected a new or an empty directory, found the finished work of a program that could "
        "not move it to its place: move it away",
        kept.string()));
  }
  fs::remove_all(path_, error);
  if (error || !fs::create_directory(path_, error)) no_staging(path_, "make this directory", error);

  // What the end will need.
  const fs::path probe = out_ / ".tmp-probe";
  write_atomically(path_ / probe.filename(), "");
  fs::rename(path_ / probe.filename(), probe, error);
  if (error) no_staging(probe, "rename a file to this place, which the finished files will need", error);
  fs::remove(probe, error);
}

StagingDirectory::~StagingDirectory() { clear(); }

void StagingDirectory::clear() noexcept {
  std::error_code ignored;
  if (!finished_) {
    if (!path_.empty()) fs::remove_all(path_, ignored);
    if (made_out_) fs::remove(out_, ignored);  // where it is empty
  }
  if (lock_ >= 0) ::close(std::exchange(lock_, -1));
}

void StagingDirectory::publish(std::string_view last) {
  finished_ = true;  // from here on it is worth too much to be removed
  try {
    write_atomically(path_ / finished_mark, "");
    std::vector<fs::path> names;
    for (const auto& entry : fs::directory_iterator(path_)) {
      const fs::path name = entry.path().filename();
      if (name != finished_mark && name != last) names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    names.emplace_back(last);
    for (const fs::path& name : names) {
      if (fs::is_directory(path_ / name)) {
        publish_directory(path_ / name, out_ / name);
      } else {
        publish_file(path_ / name, out_ / name);
      }
    }
    fs::remove_all(path_);
  } catch (const std::exception& failure) {
    throw DataError(
        fmt::format("{}; the finished work is kept: what could not be moved is in {}, move it away by hand",
                    failure.what(), path_.string()));
  }
}

}  // namespace vpd
