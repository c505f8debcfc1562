#pragma once

namespace vpd {

/// From now on the first SIGINT or SIGTERM only makes interrupted() true; the second ends the program at once
/// with exit code 130.
void watch_interrupts();
bool interrupted();

}  // namespace vpd
