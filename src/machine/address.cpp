#include "address.hpp"

#include <cerrno>
#include <memory>
#include <system_error>

#include <netdb.h>
#include <poll.h>
#include <unistd.h>

#include "vpd/base/error.hpp"

namespace vpd {
namespace {

using Milliseconds = std::chrono::milliseconds;

struct Found {
  int error = 0;  ///< of getaddrinfo()
  std::vector<Address> addresses;
};

Found look_up(const std::string& name, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  Found found;
  found.error = ::getaddrinfo(name.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (found.error != 0) return found;
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(list, &::freeaddrinfo);
  for (const addrinfo* entry = list; entry; entry = entry->ai_next) {
    Address address;
    address.size = entry->ai_addrlen;
    std::copy_n(reinterpret_cast<const char*>(entry->ai_addr), entry->ai_addrlen,
                reinterpret_cast<char*>(&address.place));
    char text[NI_MAXHOST] = "";
    ::getnameinfo(entry->ai_addr, entry->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST);
    address.text = text;
    found.addresses.push_back(std::move(address));
  }
  return found;
}

class Socket {
 public:
  explicit Socket(int family)
      : descriptor_(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {}
  ~Socket() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

/// What became of a connection: an errno, or 0.
int try_one(const Address& address, const Patience& patience) {
  const Socket socket(address.place.ss_family);
  if (socket.get() < 0) return errno;
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address.place), address.size) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  constexpr int slice_ms = 20;
  do {
    patience.look();
    pollfd waiting{.fd = socket.get(), .events = POLLOUT, .revents = 0};
    if (::poll(&waiting, 1, slice_ms) <= 0) continue;
    int error = 0;
    socklen_t size = sizeof error;
    return ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
  } while (!patience.over());
  return ETIMEDOUT;
}

}  // namespace

std::vector<Address> addresses_of(const std::string& name, std::uint16_t port, const Patience& patience) {
  // A name server that is busy may answer at the second time, and one that is far away after seconds.
  constexpr Milliseconds in_all = std::chrono::seconds(15), again_within = std::chrono::seconds(3);
  const Patience whole = patience.at_most(in_all), again = patience.at_most(again_within);
  std::string why = "no name server answered";
  for (;;) {
    const std::optional<Found> found = whole.aside([name, port] { return look_up(name, port); });
    if (found && found->error == 0) return found->addresses;
    if (found) why = ::gai_strerror(found->error);
    if (!found || again.over()) break;
    again.sleep(Milliseconds(300));
  }
  throw DataError(
      fmt::format("expected MASTER_ADDR to name the machine of process 0, found \"{}\", of which this "
                  "machine knows no address ({}); set MASTER_ADDR to a name or an address of that machine "
                  "which every machine of the run knows (getent hosts NAME says it), or give --alone for one "
                  "process alone",
                  name, why));
}

bool knock(const std::vector<Address>& addresses, const Patience& patience, std::string& found) {
  constexpr Milliseconds one_within = std::chrono::seconds(5);
  std::string said;
  for (const Address& address : addresses) {
    const int error = try_one(address, patience.at_most(one_within));
    if (error == 0) return true;
    said += fmt::format("{}{}: {}", said.empty() ? "" : ", ", address.text,
                        std::generic_category().message(error));
  }
  found = said;
  return false;
}

}  // namespace vpd
