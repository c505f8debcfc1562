#include "interrupt.hpp"

#include <csignal>

#include <unistd.h>

namespace vpd {
namespace {

volatile std::sig_atomic_t signals = 0;

// Only what is allowed in a signal handler.
void on_signal(int) {
  if (signals != 0) ::_exit(130);
  signals = 1;
  constexpr char text[] = "\nvpd: stopping after this step; once more stops at once\n";
  [[maybe_unused]] const auto ignored = ::write(STDERR_FILENO, text, sizeof text - 1);
}

}  // namespace

void watch_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return signals != 0; }

}  // namespace vpd
