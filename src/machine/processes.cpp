#include "vpd/machine/processes.hpp"

#include <cstdlib>
#include <optional>

#include <ATen/ATen.h>
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include "await_end.hpp"
#include "first_line.hpp"
#include "notices.hpp"
#include "patience.hpp"
#include "process_groups.hpp"
#include "rendezvous.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"

namespace vpd {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;
using StartedWork = c10::intrusive_ptr<c10d::Work>;

constexpr Milliseconds no_limit = std::chrono::hours(24 * 365);
/// How long process 0 keeps the store for those who want to read why it ends; before all were there they
/// look often.
constexpr Milliseconds farewell = std::chrono::seconds(5), short_farewell = std::chrono::milliseconds(800);

/// LibTorch's warnings and errors about connections, stack traces among them: what they say is in the
/// exceptions that follow. Whoever sets TORCH_CPP_LOG_LEVEL sees them all the same.
void log_connections(bool wanted) {
  static const int before = FLAGS_caffe2_log_level;
  if (std::getenv("TORCH_CPP_LOG_LEVEL")) return;
  FLAGS_caffe2_log_level = wanted ? before : c10::GLOG_FATAL;
}

double seconds(Milliseconds time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

struct Processes::Groups {
  Milliseconds timeout{};
  bool serves = false;
  std::optional<Notices> notices;         ///< once there is a store
  c10::intrusive_ptr<c10d::Store> store;  ///< of the process groups
  c10::intrusive_ptr<c10d::Backend> cpu, gpu;
  Clock::time_point next_news{};
  bool told = false;        ///< process 0, that this one was asked to stop
  bool others_ask = false;  ///< the same as process 0 knows it
  bool lost = false;        ///< an exchange failed
  bool abandoned = false;   ///< an exchange is under way for which nobody waits

  ~Groups() { drop_cpu(); }

  c10d::Backend& of(const at::Tensor& tensor) const {
    VPD_CHECK(tensor.is_cpu() || gpu, UsageError,
              "processes: expected use_device() before the first tensor on {}", tensor.device().str());
    return tensor.is_cpu() ? *cpu : *gpu;
  }

  /// `look` may throw.
  void await(const StartedWork& work, const std::function<void()>& look) {
    abandoned = true;
    await_end(*work, look);
    abandoned = false;
    work->wait();  // throws what went wrong
  }

  /// Gloo's group waits in its destructor for what is under way, which may be for ever: then it is left to
  /// the end of the process.
  void drop_cpu() {
    if (abandoned) static_cast<void>(cpu.release());
    cpu.reset();
  }
};

Processes::Processes() = default;

Processes::Processes(const Launch& launch, Milliseconds timeout, StopAsked stop)
    : rank_(launch.rank), count_(launch.count), stop_(std::move(stop)) {
  if (alone()) return;
  need_gloo(count_);
  groups_ = std::make_unique<Groups>();
  groups_->timeout = timeout;
  groups_->serves = rank_ == 0 && !launch.launcher_serves;
  log_connections(false);
  const auto named = [&](const std::string& sentence) {
    return fmt::format("process {} of {}: {}", rank_, count_, sentence);
  };
  try {
    find_others(launch);
  } catch (const Interrupted& interrupted) {
    fail(interrupted);
    throw Interrupted(named(interrupted.what()));
  } catch (const ProcessError& error) {
    fail(error.what(), error.exit_code());
    throw ProcessError(named(error.what()), error.exit_code());
  } catch (const Error& error) {
    fail(error.what(), error.exit_code());
    throw DataError(named(error.what()));
  } catch (const std::exception& error) {
    const DataError told(fmt::format("expected all processes to meet at {}:{}, found: {}", launch.address,
                                     launch.port, first_line(error)));
    fail(told.what(), told.exit_code());
    throw DataError(named(told.what()));
  }
}

void Processes::find_others(const Launch& launch) {
  const Patience patience(groups_->timeout, [this] { look(); });
  groups_->store = connect(launch, patience);
  groups_->notices.emplace(groups_->store);
  groups_->store->setTimeout(groups_->timeout);
  wait_for_all(launch, *groups_->notices, patience);
  std::string why = "no answer in " + human_duration(seconds(groups_->timeout));
  try {
    const auto store = c10::make_intrusive<c10d::PrefixStore>("cpu", groups_->store);
    const Patience connecting(groups_->timeout, [this] { look(); });
    const auto cpu = connecting.aside([store, rank = rank_, count = count_, timeout = groups_->timeout] {
      return make_gloo_group(store, rank, count, timeout);
    });
    if (cpu) groups_->cpu = *cpu;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    why = first_line(error);
  }
  if (!groups_->cpu) {
    not_met(launch, fmt::format("that they came but cannot connect with each other ({}); set "
                                "GLOO_SOCKET_IFNAME to the network interface that joins their machines, or "
                                "open the ports between them",
                                why));
  }
  // None goes on, and perhaps ends, before all are connected.
  std::vector<at::Tensor> tensors = {at::zeros({1}, at::kByte)};
  try {
    groups_->await(groups_->cpu->allreduce(tensors), [this] { look(); });
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    lost(first_line(error));
  }
}

Processes::~Processes() {
  try {
    if (groups_ && groups_->gpu) groups_->gpu->shutdown();
  } catch (const std::exception&) {
    // The run is over.
  }
}

Processes& Processes::none() {
  static Processes one;  // without state
  return one;
}

void Processes::use_device(const at::Device& device) {
  if (alone() || device.is_cpu()) return;
  meet();                 // NCCL would wait for one that has failed, and hear of nothing meanwhile
  log_connections(true);  // NCCL's watchdog throws nothing that could be caught
  const auto store = c10::make_intrusive<c10d::PrefixStore>("gpu", groups_->store);
  groups_->gpu = make_nccl_group(store, rank_, count_, groups_->timeout, device);
  // Connects, which would otherwise happen, and fail, in the middle of the first step.
  sum(at::zeros({1}, at::TensorOptions().device(device).dtype(at::kFloat)));
}

/// What a process does several times a second while it waits.
void Processes::look() {
  if (stop_ && stop_()) {
    if (!together_) {
      throw Interrupted(groups_->cpu ? "interrupted before training began"
                                     : "interrupted while it waited for the other processes");
    }
    if (!groups_->told) groups_->told = groups_->notices->ask_to_stop();
  }
  if (may_hear()) hear();
}

/// News take a request to the store.
bool Processes::may_hear() {
  constexpr Milliseconds pause{200}, pause_per_process{1};
  const Clock::time_point now = Clock::now();
  if (!groups_->notices || now < groups_->next_news) return false;
  groups_->next_news = now + std::max(pause, count_ * pause_per_process);
  return true;
}

void Processes::hear() {
  const auto failure = groups_->notices->failure();
  if (!failure) return;
  groups_->lost = true;
  follow(*failure);
}

bool Processes::asked_to_stop() {
  if (stop_ && stop_()) return true;
  if (alone()) return false;
  if (may_hear()) {
    hear();
    groups_->others_ask = groups_->notices->asked_to_stop();
  }
  return groups_->others_ask;
}

void Processes::lost(const std::string& why) const {
  groups_->lost = true;
  if (const auto failure = groups_->notices->failure(/*urgent=*/true)) follow(*failure);
  // Whoever told this process to stop told that one, too.
  if (!together_ && stop_ && stop_()) throw Interrupted("interrupted before training began");
  constexpr int exit_code = 3;
  // Gloo's words for the exchange that waited too long, and for the others that were under way with it.
  if (why.find("imed out") != std::string::npos || why.find("timeout") != std::string::npos) {
    throw ProcessError(
        fmt::format(
            "expected every process to come to the same exchange within {}, found that one did not ({}); it "
            "hangs, or needs a longer --process-timeout",
            human_duration(seconds(groups_->timeout)), why),
        exit_code);
  }
  throw ProcessError(
      fmt::format("another process of the run ended without a word, killed or crashed ({}); go on "
                  "from the last checkpoint with --resume",
                  why),
      exit_code);
}

// What a sum needs to wait for, and whom to ask when it fails.
struct Processes::Sum::Work {
  StartedWork started;
  const Processes* processes = nullptr;
};

Processes::Sum& Processes::Sum::operator=(Sum&& other) noexcept {
  Sum old;
  old.work_ = std::move(work_);
  work_ = std::move(other.work_);
  return *this;
}

Processes::Sum::~Sum() {
  try {
    wait();
  } catch (const std::exception&) {
    // Its owner did not want to know; the next exchange fails as well.
  }
}

void Processes::Sum::wait() {
  if (!work_) return;
  const std::shared_ptr<Work> work = std::move(work_);
  try {
    work->started->wait();
  } catch (const std::exception& error) {
    work->processes->lost(first_line(error));
  }
}

Processes::Sum Processes::begin_sum(const at::Tensor& tensor) {
  Sum sum;
  if (alone() || tensor.numel() == 0) return sum;
  std::vector<at::Tensor> tensors = {tensor};
  try {
    sum.work_ = std::make_shared<Sum::Work>(groups_->of(tensor).allreduce(tensors), this);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    lost(first_line(error));
  }
  return sum;
}

void Processes::sum(const at::Tensor& tensor) { begin_sum(tensor).wait(); }

void Processes::broadcast(const at::Tensor& tensor) {
  if (alone()) return;
  std::vector<at::Tensor> tensors = {tensor};
  try {
    groups_->of(tensor).broadcast(tensors)->wait();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    lost(first_line(error));
  }
}

std::string Processes::broadcast(const std::string& text) {
  if (alone()) return text;
  meet();  // process 0 may take its time to find the words
  const at::Tensor length = at::full({1}, static_cast<std::int64_t>(text.size()), at::kLong);
  broadcast(length);
  const at::Tensor bytes = at::empty({length.item<std::int64_t>()}, at::kByte);
  if (bytes.numel() == 0) return {};
  if (writes()) std::copy(text.begin(), text.end(), bytes.mutable_data_ptr<std::uint8_t>());
  broadcast(bytes);
  const std::uint8_t* begin = bytes.const_data_ptr<std::uint8_t>();
  return {begin, begin + bytes.numel()};
}

at::Tensor Processes::gather_rows(const at::Tensor& rows) {
  if (alone()) return rows;
  constexpr int tag = 1;
  const at::Tensor mine = rows.to(at::kCPU).contiguous();
  std::vector<at::Tensor> part = {mine};
  try {
    if (!writes()) {
      groups_->cpu->send(part, 0, tag)->wait();
      return {};
    }
    std::vector<std::int64_t> shape = mine.sizes().vec();
    const std::int64_t R = shape[0];
    shape[0] *= count_;
    const at::Tensor all = at::empty(shape, mine.options());
    all.narrow(0, 0, R).copy_(mine);
    for (int process = 1; process < count_; ++process) {
      part = {all.narrow(0, process * R, R)};
      groups_->cpu->recv(part, process, tag)->wait();
    }
    return all;
  } catch (const std::exception& error) {
    lost(first_line(error));
  }
}

void Processes::slow_sum(const at::Tensor& tensor) {
  std::vector<at::Tensor> tensors = {tensor};
  c10d::AllreduceOptions options;
  options.timeout = no_limit;
  try {
    groups_->await(groups_->cpu->allreduce(tensors, options), [this] { look(); });
    if (!together_) hear();  // of one that was interrupted after it had come to this exchange
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    lost(first_line(error));
  }
}

void Processes::meet() {
  if (!alone()) slow_sum(at::zeros({1}, at::kByte));
}

bool Processes::by_first(const std::function<bool()>& work) {
  const bool done = writes() && work();
  if (alone()) return done;
  const at::Tensor outcome = at::full({1}, done ? 1 : 0, at::kByte);
  slow_sum(outcome);
  return outcome.item<std::uint8_t>() != 0;
}

void Processes::fail(const std::string& sentence, int exit_code) noexcept {
  if (!groups_ || !groups_->notices) return;
  const bool met = static_cast<bool>(groups_->cpu);
  try {
    groups_->notices->fail({.rank = rank_, .exit_code = exit_code, .sentence = sentence});
    // Without its connections nobody goes on waiting for this process.
    if (groups_->gpu) groups_->gpu->abort();
  } catch (const std::exception&) {
    // Nobody is left to be told.
  }
  try {
    groups_->gpu.reset();
    groups_->drop_cpu();
    groups_->notices->leave(groups_->serves, met ? farewell : short_farewell);
  } catch (const std::exception&) {
    // Nobody is left to be told.
  }
}

void Processes::fail(const Interrupted& interrupted) noexcept {
  if (!groups_ || (together_ && !groups_->lost)) return;
  fail(interrupted.what(), interrupted.exit_code());
}

SumInParts::SumInParts(Processes& processes, const at::Tensor& flat, std::int64_t least_part)
    : processes_(&processes), flat_(flat), least_part_(least_part), open_(flat.numel()) {}

void SumInParts::send(std::int64_t begin) {
  if (begin < open_) parts_.push_back(processes_->begin_sum(flat_.narrow(0, begin, open_ - begin)));
  open_ = begin;
}

void SumInParts::final_from(std::int64_t begin) {
  if (open_ - begin >= least_part_) send(begin);
}

void SumInParts::finish() {
  send(0);
  for (Processes::Sum& part : parts_) part.wait();
  parts_.clear();
}

}  // namespace vpd
