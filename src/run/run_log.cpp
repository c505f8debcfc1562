#include "run_log.hpp"

#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"

namespace vpd {

RunLog::~RunLog() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void RunLog::open(const std::filesystem::path& path) {
  path_ = path;
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  VPD_CHECK(descriptor_ >= 0, DataError, "{}: cannot open the file to append to it: {}", path.string(),
            std::generic_category().message(errno));
  // File systems without locks are left to the user's care.
  VPD_CHECK(::flock(descriptor_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK, DataError,
            "{}: another program is working on this run; wait for it or stop it",
            path.parent_path().string());
  locked_ = true;
  append(std::exchange(pending_, {}));
}

void RunLog::say(const std::string& line) {
  if (observer_.say) observer_.say(line);
  const std::string text = printable(line) + "\n";
  if (descriptor_ < 0) {
    pending_ += text;
  } else {
    append(text);
  }
}

void RunLog::warn_once(const std::string& line) {
  if (warned_.insert(line).second) say("warning: " + line);
}

void RunLog::note(const std::string& line) noexcept {
  if (descriptor_ >= 0) append(printable(line) + "\n");
}

void RunLog::append(const std::string& text) noexcept {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t written = ::write(descriptor_, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    done += static_cast<std::size_t>(written);
  }
  if (done == text.size() || failed_) return;
  failed_ = true;
  if (observer_.say)
    observer_.say(
        fmt::format("warning: {}: cannot append to the file: {}; the run goes on, and this file lacks lines",
                    path_.string(), std::generic_category().message(errno)));
}

}  // namespace vpd
