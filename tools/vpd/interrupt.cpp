#include "interrupt.hpp"

#include <atomic>
#include <chrono>
#include <csignal>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include <unistd.h>

namespace vpd {
namespace {

using Clock = std::chrono::steady_clock;

// Signals of one event come twice: SLURM sends SIGTERM to the step and to its tasks, timeout to its child and
// the whole group, a terminal and torchrun both pass Ctrl-C on. A person takes longer to press it again.
constexpr auto one_event = std::chrono::milliseconds(500);

std::atomic<bool> asked{false};
std::mutex mutex;
std::function<void()> last_work;

void say(const std::string& line) {
  [[maybe_unused]] const auto ignored = ::write(STDERR_FILENO, line.data(), line.size());
}

void wait_for(sigset_t watched, std::string stopping) {
  Clock::time_point first_ctrl_c = Clock::time_point::max();
  for (int signal = 0;;) {
    if (sigwait(&watched, &signal) != 0) continue;
    if (signal == SIGINT) {
      const Clock::time_point now = Clock::now();
      if (first_ctrl_c == Clock::time_point::max()) {
        first_ctrl_c = now;
      } else if (now - first_ctrl_c >= one_event) {
        say("\nvpd: stopped at once: what was done since the last checkpoint is not saved\n");
        const std::lock_guard lock(mutex);
        if (last_work) last_work();
        ::_exit(stopped_at_once);
      }
    }
    if (!asked.exchange(true)) say("\nvpd: " + stopping + "; a second Ctrl-C stops at once\n");
  }
}

bool is_ignored(int signal) {
  struct sigaction action = {};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

}  // namespace

// A thread takes the signals, and all others keep them blocked. A handler would not do: it runs on the stack
// of whatever thread it interrupts, and the matrix products of oneDNN 2.6 keep numbers below their stack
// pointer, which it would write over.
void watch_interrupts(const char* stopping) {
  sigset_t watched;
  sigemptyset(&watched);
  for (const int signal : {SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2, SIGXCPU, SIGALRM, SIGPWR})
    sigaddset(&watched, signal);
  if (!is_ignored(SIGHUP)) sigaddset(&watched, SIGHUP);  // nohup wants its program to outlive the terminal
  pthread_sigmask(SIG_BLOCK, &watched, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  std::thread(wait_for, watched, std::string(stopping)).detach();
}

bool interrupted() { return asked; }

void when_stopped_at_once(std::function<void()> work) {
  const std::lock_guard lock(mutex);
  last_work = std::move(work);
}

}  // namespace vpd
