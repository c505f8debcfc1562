#include "interrupt.hpp"

#include <atomic>
#include <csignal>
#include <thread>

#include <unistd.h>

namespace vpd {
namespace {

std::atomic<int> signals{0};

void wait_for(sigset_t watched) {
  for (int signal = 0;;) {
    if (sigwait(&watched, &signal) != 0) continue;
    if (++signals > 1) ::_exit(130);
    constexpr char text[] = "\nvpd: saving and stopping; once more stops at once\n";
    [[maybe_unused]] const auto ignored = ::write(STDERR_FILENO, text, sizeof text - 1);
  }
}

}  // namespace

// A thread takes the signals, and all others keep them blocked. A handler would not do: it runs on the stack
// of whatever thread it interrupts, and the matrix products of oneDNN 2.6 keep numbers below their stack
// pointer, which it would write over.
void watch_interrupts() {
  sigset_t watched;
  sigemptyset(&watched);
  sigaddset(&watched, SIGINT);
  sigaddset(&watched, SIGTERM);
  // A terminal that closes; but not under nohup.
  struct sigaction hangup = {};
  sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaddset(&watched, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &watched, nullptr);
  std::thread(wait_for, watched).detach();
}

bool interrupted() { return signals != 0; }

}  // namespace vpd
