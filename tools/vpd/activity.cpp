#include "activity.hpp"

#include <algorithm>
#include <csignal>

#include <unistd.h>

namespace vpd {

Activity::Activity() : terminal_(STDERR_FILENO) {
  if (terminal_.is_terminal()) return;
  // Signals are for the threads that have always taken them.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  watcher_ = std::thread([this] { watch(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Activity::~Activity() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  ends_.notify_all();
  if (watcher_.joinable()) watcher_.join();
}

Observer Activity::observer() {
  Observer observer;
  observer.say = [this](const std::string& line) { say(line); };
  observer.status = [this](const std::string& line) { begin(line); };
  return observer;
}

void Activity::say(const std::string& line) {
  const std::lock_guard lock(mutex_);
  terminal_.say("vpd: " + line);
  said_ = line;
}

void Activity::begin(const std::string& what) {
  if (terminal_.is_terminal()) {
    terminal_.status("vpd: " + what);
    return;
  }
  const std::lock_guard lock(mutex_);
  now_ = what;
}

void Activity::watch() {
  std::chrono::seconds pause(2);
  std::unique_lock lock(mutex_);
  while (!ends_.wait_for(lock, pause, [this] { return ended_; })) {
    if (now_ == said_) continue;
    terminal_.say("vpd: " + now_);
    said_ = now_;
    pause = std::min(2 * pause, std::chrono::seconds(60));
  }
}

}  // namespace vpd
