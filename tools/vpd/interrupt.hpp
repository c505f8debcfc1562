#pragma once

namespace vpd {

/// From now on the first SIGINT or SIGTERM only makes interrupted() true; the second ends the program at once
/// with exit code 130. Called once, before the first computation: threads that are there already would still
/// die of these signals.
void watch_interrupts();
bool interrupted();

}  // namespace vpd
