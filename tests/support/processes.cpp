#include "support/processes.hpp"

#include <cstring>
#include <iostream>
#include <thread>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vpd/base/error.hpp"

namespace vpd::testing {

bool can_test_processes() {
  static const bool can = [] {
    try {
      as_processes(2, [](Processes&) {});
      return true;
    } catch (const UsageError& error) {
      std::cerr << "NOT TESTED: " << error.what() << "\n";
      return false;
    }
  }();
  return can;
}

std::uint16_t free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(socket, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw DataError(fmt::format("no free port: {}", std::strerror(errno)));
  }
  ::close(socket);
  return ntohs(address.sin_port);
}

std::vector<std::exception_ptr> try_as_processes(int count, const std::function<void(Processes&)>& work,
                                                 std::chrono::milliseconds timeout) {
  const std::uint16_t port = free_port();
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(count));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < count; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        Processes processes(
            {.rank = rank, .count = count, .local_rank = rank, .address = "127.0.0.1", .port = port},
            timeout);
        work(processes);
      } catch (...) {
        errors[static_cast<std::size_t>(rank)] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return errors;
}

void as_processes(int count, const std::function<void(Processes&)>& work) {
  for (const std::exception_ptr& error : try_as_processes(count, work)) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace vpd::testing
