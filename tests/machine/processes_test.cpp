// Threads stand in for processes: they meet over sockets of this machine just as processes do.

#include "vpd/machine/processes.hpp"

#include <atomic>
#include <thread>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/expect_error.hpp"
#include "support/processes.hpp"
#include "vpd/base/error.hpp"

namespace vpd::testing {
namespace {

using std::chrono::milliseconds;

class ProcessesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!can_test_processes()) GTEST_SKIP() << "NOT TESTED: this build has no process groups";
  }
};

at::Tensor numbers(std::int64_t rows, std::int64_t seed, at::ScalarType type = at::kFloat) {
  return at::arange(rows * 3, at::TensorOptions().dtype(type)).view({rows, 3}).add(seed).sin();
}

TEST(ProcessesAlone, NothingIsExchanged) {
  Processes one;
  EXPECT_EQ(one.rank(), 0);
  EXPECT_EQ(one.count(), 1);
  EXPECT_TRUE(one.alone() && one.writes());
  const at::Tensor x = numbers(5, 1), before = x.clone();
  one.use_device(at::kCPU);
  one.sum(x);
  one.begin_sum(x).wait();
  one.broadcast(x);
  EXPECT_TRUE(one.gather_rows(x).is_same(x));
  EXPECT_TRUE(at::equal(x, before));
  EXPECT_EQ(one.broadcast("text"), "text");
  one.meet();
  EXPECT_TRUE(one.by_first([] { return true; }));
  EXPECT_FALSE(one.by_first([] { return false; }));
  EXPECT_FALSE(one.asked_to_stop());
  EXPECT_TRUE(Processes({}, milliseconds(1), [] { return true; }).asked_to_stop());
  one.fail("nobody hears it", 3);
}

TEST_F(ProcessesTest, SumsAreTheSameEverywhere) {
  for (const int count : {2, 3}) {
    for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
      std::vector<at::Tensor> sums(static_cast<std::size_t>(count));
      as_processes(count, [&](Processes& processes) {
        EXPECT_EQ(processes.count(), count);
        const at::Tensor x = numbers(7, processes.rank(), type);
        processes.sum(x);
        sums[static_cast<std::size_t>(processes.rank())] = x;
      });
      at::Tensor expected = at::zeros({7, 3}, at::kDouble);
      for (int rank = 0; rank < count; ++rank) expected += numbers(7, rank, type).to(at::kDouble);
      EXPECT_TRUE(at::allclose(sums[0].to(at::kDouble), expected, 1e-6, 1e-6));
      for (const at::Tensor& sum : sums) EXPECT_TRUE(at::equal(sum, sums[0]));
    }
  }
}

TEST_F(ProcessesTest, SumsOfANumberAndOfNothing) {
  as_processes(2, [](Processes& processes) {
    const at::Tensor x = at::full({}, 2.0 + processes.rank(), at::kDouble);
    processes.sum(x);
    EXPECT_EQ(x.item<double>(), 5.0);
    processes.sum(at::zeros({0}));
  });
}

TEST_F(ProcessesTest, SumsUnderWayTogether) {
  as_processes(2, [](Processes& processes) {
    std::vector<at::Tensor> tensors;
    std::vector<Processes::Sum> sums;
    for (int k = 0; k < 5; ++k) {
      tensors.push_back(at::full({1000 * (k + 1)}, k + 1.0f));
      sums.push_back(processes.begin_sum(tensors.back()));
    }
    for (int k = 4; k >= 0; --k) {
      sums[static_cast<std::size_t>(k)].wait();
      EXPECT_TRUE(
          at::equal(tensors[static_cast<std::size_t>(k)], at::full({1000 * (k + 1)}, 2.0f * (k + 1))));
    }
    sums[0].wait();  // a second time is nothing
  });
}

TEST_F(ProcessesTest, BroadcastsComeFromProcessZero) {
  const std::string long_text(100000, 'x');
  as_processes(3, [&](Processes& processes) {
    const at::Tensor x = numbers(4, processes.rank());
    processes.broadcast(x);
    EXPECT_TRUE(at::equal(x, numbers(4, 0)));
    for (const std::string& text : {std::string("a word"), std::string(), long_text}) {
      EXPECT_EQ(processes.broadcast(processes.writes() ? text : "not this"), text);
    }
  });
}

TEST_F(ProcessesTest, GathersRowsInTheOrderOfProcesses) {
  as_processes(3, [&](Processes& processes) {
    const at::Tensor all = processes.gather_rows(numbers(4, processes.rank()));
    if (processes.writes()) {
      EXPECT_TRUE(at::equal(all, at::cat({numbers(4, 0), numbers(4, 1), numbers(4, 2)})));
    } else {
      EXPECT_FALSE(all.defined());
    }
  });
}

TEST_F(ProcessesTest, AMeetingWaitsLongerThanASum) {
  std::atomic<bool> arrived = false;
  const auto errors = try_as_processes(
      2,
      [&](Processes& processes) {
        if (processes.writes()) {
          std::this_thread::sleep_for(milliseconds(5000));
          arrived = true;
        }
        processes.meet();
        EXPECT_TRUE(arrived);
      },
      milliseconds(3000));
  for (const std::exception_ptr& error : errors) EXPECT_FALSE(error);
}

TEST_F(ProcessesTest, TheOthersHearWhyAProcessFailed) {
  for (const int failing : {0, 1}) {  // process 0 keeps what they read
    const auto errors = try_as_processes(3, [&](Processes& processes) {
      processes.sum(at::zeros({1}));
      if (processes.rank() == failing) {
        processes.fail("the disk is full; empty it", 4);
        return;
      }
      try {
        processes.sum(at::zeros({1}));
      } catch (const Error& error) {
        processes.fail(error.what(), error.exit_code());
        throw;
      }
    });
    for (int rank = 0; rank < 3; ++rank) {
      if (rank == failing) continue;
      expect_error<ProcessError>(errors[static_cast<std::size_t>(rank)],
                                 "process " + std::to_string(failing) + " failed: the disk is full; empty it",
                                 4);
    }
  }
}

TEST_F(ProcessesTest, ASumThatIsLetGoIsWaitedFor) {
  as_processes(2, [](Processes& processes) {
    const at::Tensor x = at::ones({100000});
    {
      const Processes::Sum abandoned = processes.begin_sum(x);
      if (processes.rank() == 1) std::this_thread::sleep_for(milliseconds(100));
    }
    EXPECT_TRUE(at::equal(x, at::full({100000}, 2.0f)));
  });
}

TEST_F(ProcessesTest, AProcessThatEndsWithoutAWord) {
  const auto errors = try_as_processes(2, [](Processes& processes) {
    processes.sum(at::zeros({1}));
    if (processes.rank() == 1) return;
    processes.sum(at::zeros({1}));
  });
  expect_error<ProcessError>(errors[0], "ended without a word", 3);
}

TEST_F(ProcessesTest, AProcessThatHangs) {
  const auto errors = try_as_processes(
      2,
      [](Processes& processes) {
        processes.sum(at::zeros({1}));
        if (processes.rank() == 1) std::this_thread::sleep_for(milliseconds(6000));
        processes.sum(at::zeros({1}));
      },
      milliseconds(3000));  // enough to meet on a busy machine
  expect_error<ProcessError>(errors[0], "to the same exchange within 3 s", 3);
  EXPECT_TRUE(errors[1]);
}

/// Two processes, of which the one of that number is asked to stop once `ready`.
std::vector<Start> two_with_a_stop(int asked, const std::atomic<bool>& ready) {
  const std::uint16_t port = free_port();
  std::vector<Start> starts;
  for (int rank = 0; rank < 2; ++rank) {
    starts.push_back({{.rank = rank, .count = 2, .address = "127.0.0.1", .port = port},
                      [&ready, mine = rank == asked] { return mine && ready; }});
  }
  return starts;
}

// As decompose() does, which ends with the error.
void or_tell(Processes& processes, const std::function<void()>& work) {
  try {
    work();
  } catch (const Interrupted& interrupted) {
    processes.fail(interrupted);
    throw;
  } catch (const Error& error) {
    processes.fail(error.what(), error.exit_code());
    throw;
  }
}

TEST_F(ProcessesTest, AStopBeforeTrainingEndsAll) {
  for (const int asked : {0, 1}) {
    std::atomic<bool> ready = false;
    const auto errors = try_starts(two_with_a_stop(asked, ready), [&](Processes& processes) {
      or_tell(processes, [&] {
        if (processes.writes()) {
          ready = true;
          for (int i = 0; i < 1000; ++i) {  // "checking the tokens"
            if (processes.asked_to_stop()) throw Interrupted("the check was interrupted");
            std::this_thread::sleep_for(milliseconds(10));
          }
        }
        processes.broadcast("the run");
      });
    });
    const std::string first =
        asked == 0 ? "the check was interrupted"
                   : "ended together with process 1, which said: interrupted before training began";
    const std::string second = asked == 0
                                   ? "ended together with process 0, which said: the check was interrupted"
                                   : "interrupted before training began";
    expect_error<Interrupted>(errors[0], first, 130);
    expect_error<Interrupted>(errors[1], second, 130);
  }
}

TEST_F(ProcessesTest, AStopEndsTheWaitForASlowOne) {
  for (const int asked : {0, 1}) {
    std::atomic<bool> ready = false;
    const auto errors = try_starts(two_with_a_stop(asked, ready), [&](Processes& processes) {
      or_tell(processes, [&] {
        if (processes.rank() != asked) {
          ready = true;
          std::this_thread::sleep_for(milliseconds(1500));  // "loading"
        }
        processes.broadcast("the run");
      });
    });
    expect_error<Interrupted>(errors[static_cast<std::size_t>(asked)], "interrupted before training began",
                              130);
    expect_error<Interrupted>(errors[static_cast<std::size_t>(1 - asked)], "ended together with process",
                              130);
  }
}

TEST_F(ProcessesTest, WorkOfTheFirstThatAnyMayStop) {
  for (const int asked : {0, 1, 2}) {  // 2: none
    std::atomic<bool> ready = false;
    std::vector<bool> done(2);
    const auto errors = try_starts(two_with_a_stop(asked, ready), [&](Processes& processes) {
      processes.stop_together();
      EXPECT_TRUE(processes.by_first(processes.writes() ? [] { return true; } : std::function<bool()>()));
      ready = true;
      const bool end = processes.by_first([&] {
        for (int i = 0; i < 100; ++i) {
          if (processes.asked_to_stop()) return false;
          std::this_thread::sleep_for(milliseconds(10));
        }
        return true;
      });
      EXPECT_EQ(end, asked == 2);
      // They stop when they agree to, and go on exchanging until then.
      processes.meet();
      const at::Tensor x = at::ones({1});
      processes.sum(x);
      EXPECT_EQ(x.item<float>(), 2.0f);
      processes.fail(Interrupted("agreed"));
    });
    for (const std::exception_ptr& error : errors) EXPECT_FALSE(error);
  }
}

TEST_F(ProcessesTest, WorkOfTheFirstEndsWithAProcessThatFails) {
  const auto errors = try_as_processes(3, [](Processes& processes) {
    processes.stop_together();
    or_tell(processes, [&] {
      if (processes.rank() == 2) throw DataError("the disk is full");
      processes.by_first([&] {
        while (!processes.asked_to_stop()) std::this_thread::sleep_for(milliseconds(10));
        return false;
      });
    });
  });
  for (const std::size_t rank : {0, 1})
    expect_error<ProcessError>(errors[rank], "process 2 failed: the disk is full", 3);
}

TEST_F(ProcessesTest, GradientsThatBecomeFinalFromTheirEnd) {
  for (const std::int64_t least_part : {0, 40, 1000}) {
    as_processes(2, [&](Processes& processes) {
      const at::Tensor flat = numbers(50, processes.rank()).flatten();
      const at::Tensor expected = numbers(50, 0).flatten() + numbers(50, 1).flatten();
      SumInParts sum(processes, flat, least_part);
      for (const std::int64_t begin : {149, 130, 100, 100, 20}) sum.final_from(begin);
      sum.finish();
      EXPECT_TRUE(at::allclose(flat, expected));
    });
  }
}

}  // namespace
}  // namespace vpd::testing
