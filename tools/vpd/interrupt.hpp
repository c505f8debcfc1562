#pragma once

#include <functional>

namespace vpd {

/// Of a program that a second Ctrl-C stopped at once: what was done since the last checkpoint is not saved.
inline constexpr int stopped_at_once = 131;

/// From now on no signal that a shell, a scheduler or a limit sends ends the program by itself: SIGINT,
/// SIGTERM, SIGHUP (but under nohup), SIGQUIT, SIGUSR1, SIGUSR2, SIGXCPU, SIGALRM and SIGPWR make
/// interrupted() true, however often they come, and a reader that goes away (SIGPIPE) or a limit of sizes
/// (SIGXFSZ) is an error of the write alone. Only a second Ctrl-C, at least half a second after the first,
/// stops at once. `stopping` is what the program says it does then, as in "saving and stopping". Called once,
/// before the first computation: threads that are there already would still die of these signals.
void watch_interrupts(const char* stopping);
bool interrupted();

/// What is still to be done when a second Ctrl-C stops at once; called on the thread that takes the signals.
void when_stopped_at_once(std::function<void()> work);

}  // namespace vpd
