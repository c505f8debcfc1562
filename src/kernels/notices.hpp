#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace vpd {

/// What the processes of a run tell each other apart from tensors, in a store that process 0 or the launcher
/// keeps. No call waits for another process; a store that went with the process that kept it, or does not
/// answer, has no news.
class Notices {
 public:
  struct Failure {
    int rank = 0;
    int exit_code = 0;
    std::string sentence;
  };

  explicit Notices(c10::intrusive_ptr<c10d::Store> store) : store_(std::move(store)) {}

  /// That a process is there, and how many are; nothing where the store has gone.
  void come(int rank);
  std::optional<std::int64_t> present();
  bool came(int rank);

  /// That a process ends. The first to say so is the one that the others hear of.
  void fail(const Failure& failure);
  std::optional<Failure> failure();

  /// That a process was asked to stop, and would rather save first.
  void ask_to_stop();
  bool asked_to_stop();

  /// After the last exchange. Who keeps the store waits, for `farewell` at most, until the others, too, have
  /// come here and so read what happened.
  void leave(bool keeps_store, std::chrono::milliseconds farewell);

 private:
  template <class Question>
  auto ask(Question question);

  c10::intrusive_ptr<c10d::Store> store_;
  bool silent_ = false;
};

/// Ends as that process does: throws ProcessError, or Interrupted.
[[noreturn]] void follow(const Notices::Failure& failure);

}  // namespace vpd
