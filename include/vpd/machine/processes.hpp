#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/base/error.hpp"
#include "vpd/base/launch.hpp"
#include "vpd/base/stop.hpp"

namespace vpd {

/// The processes that train one decomposition together, each on its own rows of the batch (method, section 6,
/// "Several processes"). LibTorch's process groups carry what they exchange: Gloo for tensors on the CPU,
/// NCCL for those on GPUs. All processes make the same calls in the same order. One process alone exchanges
/// nothing: every call returns at once.
///
/// Whatever fails because another process failed, ended or does not answer throws ProcessError, which says
/// what that process said last; Interrupted, where that one was interrupted.
///
/// Before training a process that is asked to stop ends at once with Interrupted, and so do the others, which
/// hear of it. Once stop_together() was called there is something to save: then all stop where they agree to
/// (StopVote, by_first()).
class Processes {
 public:
  /// One process alone.
  Processes();
  /// Finds the others, for `timeout` at most; a sum or a broadcast waits as long for its slowest process.
  /// Throws DataError where they do not all come, Interrupted where `stop` or that of another process says
  /// so, UsageError where this build has no process groups.
  Processes(const Launch& launch, std::chrono::milliseconds timeout, StopAsked stop = {});
  ~Processes();
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  /// For whoever may work with others but has none.
  static Processes& none();

  int rank() const { return rank_; }
  int count() const { return count_; }
  bool alone() const { return count_ == 1; }
  /// Process 0 writes files and talks to people.
  bool writes() const { return rank_ == 0; }

  /// Before the first exchange of tensors on a GPU, from the thread that computes there.
  void use_device(const at::Device& device);

  /// A sum under way. wait() returns when the tensor holds it: on a GPU, when what is queued from then on
  /// finds it there. Who lets go of one waits, too, so that no process leaves another alone with an exchange.
  class Sum {
   public:
    Sum() = default;
    Sum(Sum&&) noexcept = default;
    Sum& operator=(Sum&& other) noexcept;
    ~Sum();
    void wait();

   private:
    friend class Processes;
    struct Work;
    std::shared_ptr<Work> work_;
  };

  /// Begins to replace `tensor` (contiguous, of the same shape and type everywhere) by its sum over
  /// processes. All get the same bits.
  [[nodiscard]] Sum begin_sum(const at::Tensor& tensor);
  void sum(const at::Tensor& tensor);

  /// Process 0's values, to all.
  void broadcast(const at::Tensor& tensor);
  std::string broadcast(const std::string& text);

  /// Process 0 gets everybody's `rows` [R, ...] below each other, [R · count, ...], on the CPU; the others
  /// get nothing (undefined). Alone: `rows` itself.
  at::Tensor gather_rows(const at::Tensor& rows);

  /// Waits for all, however long the slowest takes: for work that process 0 does while the others wait.
  void meet();

  /// Process 0 does `work` while the others wait, however long it takes; the others give none. Returns what
  /// `work` did, in all of them.
  bool by_first(const std::function<bool()>& work = {});

  /// For process 0 to ask often during work that the others wait for: whether any process was asked to stop.
  /// Those of the others are looked up a few times a second. Throws where another process has ended.
  bool asked_to_stop();

  void stop_together() { together_ = true; }

  /// Tells the others that this process ends with an error, so that they end, too, and can say why. Nothing
  /// is exchanged after that.
  void fail(const std::string& sentence, int exit_code) noexcept;
  /// The same of one that was interrupted, unless they agreed on that.
  void fail(const Interrupted& interrupted) noexcept;

 private:
  struct Groups;

  void find_others(const Launch& launch);
  void slow_sum(const at::Tensor& tensor);
  void look();
  bool may_hear();
  void hear();
  [[noreturn]] void lost(const std::string& why) const;

  int rank_ = 0, count_ = 1;
  StopAsked stop_;
  bool together_ = false;
  std::unique_ptr<Groups> groups_;
};

/// The sum over processes of a flat gradient that becomes final from its end towards its beginning, as a
/// backward pass leaves it: parts are on their way while the pass goes on.
class SumInParts {
 public:
  SumInParts() = default;
  /// Parts have at least `least_part` elements, the first and last ones apart.
  SumInParts(Processes& processes, const at::Tensor& flat, std::int64_t least_part);

  /// From element `begin` on everything is final.
  void final_from(std::int64_t begin);
  /// Everything is; waits for all parts.
  void finish();

 private:
  void send(std::int64_t begin);

  Processes* processes_ = nullptr;
  at::Tensor flat_;
  std::int64_t least_part_ = 0;
  std::int64_t open_ = 0;  ///< elements before this one are not on their way yet
  std::vector<Processes::Sum> parts_;
};

}  // namespace vpd
