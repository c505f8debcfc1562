// How processes find each other, and what they say where they do not.

#include "machine/rendezvous.hpp"

#include <atomic>
#include <thread>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <unistd.h>

#include "machine/notices.hpp"
#include "machine/patience.hpp"
#include "support/expect_error.hpp"
#include "support/processes.hpp"
#include "vpd/base/error.hpp"

namespace vpd::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

/// At once, on a busy machine whose name server is slow; those who are not told would wait for minutes.
constexpr seconds at_once{10};

class RendezvousTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!can_test_processes()) GTEST_SKIP() << "NOT TESTED: this build has no process groups";
  }
};

Launch launch(int rank, int count, std::uint16_t port, const std::string& job = "") {
  return {.rank = rank, .count = count, .address = "127.0.0.1", .port = port, .job = job};
}

std::exception_ptr try_one(const Launch& launch, milliseconds timeout, const StopAsked& stop = {}) {
  return try_starts(
      {{launch, stop}}, [](Processes&) {}, timeout)[0];
}

/// That they can exchange something.
void add_up(Processes& processes) {
  const at::Tensor x = at::ones({1});
  processes.sum(x);
  EXPECT_EQ(x.item<float>(), static_cast<float>(processes.count()));
}

TEST_F(RendezvousTest, NobodyElseComes) {
  const auto first = try_one(launch(0, 2, free_port()), seconds(1));
  expect_error<DataError>(first, "process 0 of 2: expected all processes to meet at 127.0.0.1:", 3);
  expect_error<DataError>(first, "process 1 did not come in 1", 3);
  const auto second = try_one(launch(1, 2, free_port()), seconds(1));
  expect_error<DataError>(second, "process 1 of 2: expected all processes to meet at 127.0.0.1:", 3);
  expect_error<DataError>(second, "nobody there in 1", 3);
  expect_error<DataError>(second, "(127.0.0.1: Connection refused): process 0 was not started", 3);
}

TEST_F(RendezvousTest, ThoseWhoDidNotComeAreNamed) {
  const std::uint16_t port = free_port();
  const auto errors = try_starts(
      {{launch(0, 4, port)}, {launch(2, 4, port)}}, [](Processes&) {}, seconds(2));
  for (const std::exception_ptr& error : errors) {
    ASSERT_TRUE(error);
    try {
      std::rethrow_exception(error);
    } catch (
        const Error& found) {  // a DataError of one, which the other may hear of before its own time is up
      EXPECT_NE(std::string(found.what()).find("processes 1, 3 did not come"), std::string::npos)
          << found.what();
      EXPECT_EQ(found.exit_code(), 3);
    }
  }
  const auto many = try_one(launch(0, 40, free_port()), milliseconds(500));
  expect_error<DataError>(many, "processes 1, 2, 3, 4, 5, 6, 7, 8, more did not come", 3);
}

TEST_F(RendezvousTest, ANameThatLeadsNowhere) {
  for (const int rank : {0, 1}) {
    Launch lost = launch(rank, 2, free_port());
    lost.address = "no-such-machine.invalid";
    const Clock::time_point begin = Clock::now();
    const auto error = try_one(lost, std::chrono::minutes(10));
    EXPECT_LT(Clock::now() - begin, seconds(30));
    for (const char* words : {"MASTER_ADDR", "\"no-such-machine.invalid\"", "--alone"})
      expect_error<DataError>(error, words, 3);
  }
}

TEST_F(RendezvousTest, AStopEndsTheWait) {
  for (const int rank : {0, 1}) {
    const Clock::time_point asked = Clock::now() + milliseconds(300);
    const auto error =
        try_one(launch(rank, 2, free_port()), std::chrono::minutes(10), [&] { return Clock::now() > asked; });
    EXPECT_LT(Clock::now() - asked, at_once);
    expect_error<Interrupted>(error, "interrupted while it waited for the other processes", 130);
  }
  // While a name server is asked.
  Launch lost = launch(1, 2, free_port());
  lost.address = "no-such-machine.invalid";
  expect_error<Interrupted>(try_one(lost, std::chrono::minutes(10), [] { return true; }), "interrupted", 130);
}

/// Waits until so many have come to where a run meets, and returns when. Sees it as the last of them would,
/// and does not come itself.
Clock::time_point when_they_have_come(int present, int count, std::uint16_t port) {
  const Patience patience(std::chrono::minutes(1), [] {});
  Notices notices(connect(launch(count - 1, count, port), patience));
  while (notices.present().value_or(0) < present && !patience.over()) patience.sleep(milliseconds(20));
  return Clock::now();
}

TEST_F(RendezvousTest, AStopOfOneEndsAllThatCame) {
  for (const int stopped : {0, 1}) {
    const std::uint16_t port = free_port();
    // Who is not there yet when process 0 is stopped would look for it until its own time is up.
    std::atomic<bool> ask = false;
    Clock::time_point asked;
    std::thread watch([&] {
      asked = when_they_have_come(2, 3, port);
      ask = true;
    });
    std::vector<Start> starts;
    for (int rank = 0; rank < 2; ++rank) {
      starts.push_back({launch(rank, 3, port), [&, rank] { return rank == stopped && ask; }});
    }
    const auto errors = try_starts(
        starts, [](Processes&) {}, std::chrono::minutes(2));
    watch.join();
    EXPECT_LT(Clock::now() - asked, at_once);
    expect_error<Interrupted>(errors[static_cast<std::size_t>(stopped)], "interrupted while it waited", 130);
    expect_error<Interrupted>(errors[static_cast<std::size_t>(1 - stopped)],
                              "ended together with process " + std::to_string(stopped), 130);
  }
}

TEST_F(RendezvousTest, AnotherRunAtTheSamePort) {
  const std::uint16_t port = free_port();
  std::atomic<bool> tried = false;
  std::thread first([&] {
    const auto errors = try_starts(
        {{launch(0, 2, port, "SLURM job 42, step 0")}, {launch(1, 2, port, "SLURM job 42, step 0")}},
        [&](Processes& processes) {
          if (processes.writes()) {
            const Clock::time_point begin = Clock::now();
            // Both of the second run, and one that comes without its process 0.
            const auto others = try_starts(
                {{launch(0, 2, port, "SLURM job 667, step 0")},
                 {launch(1, 2, port, "SLURM job 667, step 0")},
                 {launch(1, 3, port)}},
                [](Processes&) {}, std::chrono::minutes(10));
            EXPECT_LT(Clock::now() - begin, 2 * at_once);
            expect_error<DataError>(others[0], "another program that listens there", 3);
            expect_error<DataError>(others[1], "another run (2 processes of SLURM job 42, step 0)", 3);
            expect_error<DataError>(others[2], "one of 3 processes", 3);
            for (const auto& error : others) expect_error<DataError>(error, "MASTER_PORT", 3);
            tried = true;
          }
          processes.meet();
          add_up(processes);
        });
    for (const std::exception_ptr& error : errors) EXPECT_FALSE(error);
  });
  first.join();
  EXPECT_TRUE(tried);
}

TEST_F(RendezvousTest, TwoOfOneNumber) {
  const auto errors = try_as_processes(2, [](Processes& processes) { processes.meet(); });
  for (const std::exception_ptr& error : errors) EXPECT_FALSE(error);
  const std::uint16_t port = free_port();
  std::thread first([&] {
    try_starts({{launch(0, 2, port)}, {launch(1, 2, port)}}, [&](Processes& processes) {
      if (processes.writes())
        expect_error<DataError>(try_one(launch(1, 2, port), std::chrono::minutes(10)),
                                "another process 1 of 2 came before", 3);
      processes.meet();
    });
  });
  first.join();
}

TEST_F(RendezvousTest, SomebodyWhoDoesNotAnswer) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener, 8), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const std::uint16_t port = ntohs(address.sin_port);
  expect_error<DataError>(try_one(launch(1, 2, port), seconds(2)), "somebody there who does not answer", 3);
  expect_error<DataError>(try_one(launch(0, 2, port), std::chrono::minutes(10)),
                          "another program that listens there", 3);
  const Clock::time_point asked = Clock::now() + milliseconds(300);
  const auto stopped =
      try_one(launch(1, 2, port), std::chrono::minutes(10), [&] { return Clock::now() > asked; });
  EXPECT_LT(Clock::now() - asked, at_once);
  expect_error<Interrupted>(stopped, "interrupted while it waited", 130);
  ::close(listener);
}

TEST_F(RendezvousTest, ALaunchersStoreServesManyAttempts) {
  c10d::TCPStoreOptions options;
  options.port = free_port();
  options.isServer = true;
  options.waitWorkers = false;
  const auto store = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  // The attempt, and how many processes are left; the last one calls the program twice.
  const std::vector<std::pair<std::string, int>> starts = {{"0", 3}, {"1", 2}, {"2", 2}, {"2", 2}};
  for (const auto& [attempt, count] : starts) {
    std::vector<Start> ranks;
    for (int rank = 0; rank < count; ++rank) {
      Launch one = launch(rank, count, options.port, "torchrun's run none");
      one.launcher_serves = true;
      one.attempt = attempt;
      ranks.push_back({one});
    }
    const auto errors = try_starts(ranks, [](Processes& processes) {
      add_up(processes);
      processes.fail("the attempt ends", 3);
    });
    for (const std::exception_ptr& error : errors) EXPECT_FALSE(error);
  }
}

TEST_F(RendezvousTest, NoticesOfAStoreThatHasGone) {
  c10d::TCPStoreOptions options;
  options.port = free_port();
  options.isServer = true;
  options.waitWorkers = false;
  auto server = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  options.isServer = false;
  Notices notices(c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options));
  notices.come(1);
  EXPECT_EQ(notices.present(), 1);
  EXPECT_TRUE(notices.came(1));
  EXPECT_FALSE(notices.came(0));
  EXPECT_FALSE(notices.failure());
  EXPECT_FALSE(notices.asked_to_stop());
  notices.ask_to_stop();
  EXPECT_TRUE(notices.asked_to_stop());
  notices.fail({.rank = 1, .exit_code = 4, .sentence = "two\nlines"});
  notices.fail({.rank = 0, .exit_code = 3, .sentence = "later"});
  const auto failure = notices.failure();
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->rank, 1);
  EXPECT_EQ(failure->exit_code, 4);
  EXPECT_EQ(failure->sentence, "two\nlines");
  server.reset();
  EXPECT_FALSE(notices.failure());
  EXPECT_FALSE(notices.present());
  EXPECT_FALSE(notices.asked_to_stop());
  notices.leave(/*keeps_store=*/true, seconds(5));
}

}  // namespace
}  // namespace vpd::testing
