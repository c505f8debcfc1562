#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/socket.h>

#include "patience.hpp"

// Names of machines, and whether somebody listens at a port there.

namespace vpd {

struct Address {
  sockaddr_storage place{};
  socklen_t size = 0;
  std::string text;  ///< in numbers
};

/// What a name leads to; throws DataError within seconds where it leads nowhere, however much patience there
/// is: what has no address now rarely has one later.
std::vector<Address> addresses_of(const std::string& name, std::uint16_t port, const Patience& patience);

/// Whether a connection comes about. Otherwise `found` says at which addresses it did not, and why.
bool knock(const std::vector<Address>& addresses, const Patience& patience, std::string& found);

}  // namespace vpd
