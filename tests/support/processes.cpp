#include "support/processes.hpp"

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <thread>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vpd/base/error.hpp"

namespace vpd::testing {
namespace {

/// LibTorch's record of recent exchanges is one for the whole program and takes no lock for the state of its
/// groups (FlightRecorder::recordWithResetEnabled in 2.11). A real process has one thread that exchanges;
/// here there are many.
void keep_no_record_of_exchanges() {
  static const bool once = ::setenv("TORCH_FR_BUFFER_SIZE", "0", 1) == 0;
  static_cast<void>(once);
}

}  // namespace

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

std::vector<std::exception_ptr> try_starts(const std::vector<Start>& starts,
                                           const std::function<void(Processes&)>& work,
                                           std::chrono::milliseconds timeout) {
  keep_no_record_of_exchanges();
  std::vector<std::exception_ptr> errors(starts.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < starts.size(); ++i) {
    threads.emplace_back([&, i] {
      try {
        Processes processes(starts[i].launch, timeout, starts[i].stop);
        work(processes);
      } catch (...) {
        errors[i] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return errors;
}

std::vector<std::exception_ptr> try_as_processes(int count, const std::function<void(Processes&)>& work,
                                                 std::chrono::milliseconds timeout) {
  const std::uint16_t port = free_port();
  std::vector<Start> starts;
  for (int rank = 0; rank < count; ++rank) {
    starts.push_back(
        {{.rank = rank, .count = count, .local_rank = rank, .address = "127.0.0.1", .port = port}});
  }
  return try_starts(starts, work, timeout);
}

void as_processes(int count, const std::function<void(Processes&)>& work) {
  for (const std::exception_ptr& error : try_as_processes(count, work)) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace vpd::testing
