#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace vpd {

/// What the processes of a run tell each other apart from tensors, in a store that process 0 or the launcher
/// keeps. No call waits for another process, and none long for the store: one that has gone, or does not
/// answer now, has no news.
class Notices {
 public:
  struct Failure {
    int rank = 0;
    int exit_code = 0;
    std::string sentence;
  };

  explicit Notices(c10::intrusive_ptr<c10d::Store> store) : store_(std::move(store)) {}

  /// Whether the store went with the process that kept it.
  bool gone() const { return gone_; }

  /// That a process is there, and how many are.
  void come(int rank);
  std::optional<std::int64_t> present();
  bool came(int rank);

  /// That a process ends. The first to say so is the one that the others hear of.
  void fail(const Failure& failure);
  /// `urgent`: worth a wait of seconds.
  std::optional<Failure> failure(bool urgent = false);

  /// That a process was asked to stop, and would rather save first; whether the store has taken it.
  bool ask_to_stop();
  bool asked_to_stop();

  /// After the last exchange. Who keeps the store waits, for `farewell` at most, until the others, too, have
  /// come here and so read what happened.
  void leave(bool keeps_store, std::chrono::milliseconds farewell);

 private:
  using Milliseconds = std::chrono::milliseconds;

  template <class Question>
  auto ask(Milliseconds limit, Question question);

  c10::intrusive_ptr<c10d::Store> store_;
  /// Whether the last question has its answer by then; the connection carries one at a time.
  std::function<bool(std::chrono::steady_clock::time_point)> answered_;
  bool gone_ = false;
};

/// Ends as that process does: throws ProcessError, or Interrupted.
[[noreturn]] void follow(const Notices::Failure& failure);

}  // namespace vpd
