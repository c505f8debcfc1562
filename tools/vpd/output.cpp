#include "output.hpp"

#include <cerrno>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace vpd {
namespace {

int first_error = 0;

}  // namespace

void open_standard_streams() {
  for (int descriptor = 0; descriptor <= 2; ++descriptor) {
    if (::fcntl(descriptor, F_GETFD) == -1 && errno == EBADF)
      static_cast<void>(::open("/dev/null", O_RDWR));  // takes the lowest number that is free
  }
}

int write_all(int descriptor, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {  // somebody who shares the stream wants it so
      pollfd room{descriptor, POLLOUT, 0};
      ::poll(&room, 1, -1);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

void print(std::string_view text) noexcept {
  if (first_error == 0) first_error = write_all(STDOUT_FILENO, text);
}

int print_error() noexcept { return first_error == EPIPE || first_error == EIO ? 0 : first_error; }

}  // namespace vpd
