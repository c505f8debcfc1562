#include "vpd/kernels/processes.hpp"

#include <cstdlib>
#include <optional>
#include <thread>

#include <ATen/ATen.h>
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "process_groups.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"

namespace vpd {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;
using StartedWork = c10::intrusive_ptr<c10d::Work>;

constexpr Milliseconds no_limit = std::chrono::hours(24 * 365);
constexpr Milliseconds farewell = std::chrono::seconds(5);
// Keys of the store.
constexpr const char *failure_key = "failure", *ended_key = "ended";

/// LibTorch's messages go on for pages.
std::string first_line(const std::exception& error) {
  const auto* torch = dynamic_cast<const c10::Error*>(&error);
  const std::string text = torch ? torch->what_without_backtrace() : error.what();
  return text.substr(0, text.find('\n'));
}

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
  c10::intrusive_ptr<c10d::Store> store;  ///< what processes tell each other apart from tensors
  c10::intrusive_ptr<c10d::Backend> cpu, gpu;

  c10d::Backend& of(const at::Tensor& tensor) const {
    VPD_CHECK(tensor.is_cpu() || gpu, UsageError,
              "processes: expected use_device() before the first tensor on {}", tensor.device().str());
    return tensor.is_cpu() ? *cpu : *gpu;
  }
};

Processes::Processes() = default;

Processes::Processes(const Launch& launch, Milliseconds timeout) : rank_(launch.rank), count_(launch.count) {
  if (alone()) return;
  groups_ = std::make_unique<Groups>();
  groups_->timeout = timeout;
  log_connections(false);
  groups_->serves = rank_ == 0 && !launch.launcher_serves;
  try {
    c10d::TCPStoreOptions options;
    options.port = launch.port;
    options.isServer = groups_->serves;
    options.waitWorkers = false;
    options.timeout = timeout;
    const auto tcp = c10::make_intrusive<c10d::TCPStore>(launch.address, options);
    // A launcher's store outlives its attempts, and has keys of its own.
    groups_->store = c10::make_intrusive<c10d::PrefixStore>("vpd/" + launch.attempt, tcp);
    const auto store = c10::make_intrusive<c10d::PrefixStore>("cpu", groups_->store);
    groups_->cpu = make_gloo_group(store, rank_, count_, timeout);
    // None goes on, and perhaps ends, before all are connected.
    sum(at::zeros({1}, at::kByte));
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw DataError(
        fmt::format("process {} of {}: expected all processes to meet at {}:{} within {}, found: {}; start "
                    "{} of them through "
                    "torchrun or srun, or, for one process alone, unset RANK and SLURM_PROCID",
                    rank_, count_, launch.address, launch.port, human_duration(seconds(timeout)),
                    first_line(error), count_));
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
  log_connections(true);  // NCCL's watchdog throws nothing that could be caught
  const auto store = c10::make_intrusive<c10d::PrefixStore>("gpu", groups_->store);
  groups_->gpu = make_nccl_group(store, rank_, count_, groups_->timeout, device);
  // Connects, which would otherwise happen, and fail, in the middle of the first step.
  sum(at::zeros({1}, at::TensorOptions().device(device).dtype(at::kFloat)));
}

void Processes::lost(const std::string& why) const {
  std::optional<std::string> news;
  try {
    if (groups_->store->check({failure_key})) news = groups_->store->get_to_str(failure_key);
  } catch (const std::exception&) {
    // The store went with the process that kept it.
  }
  if (news) {  // "<rank>\n<exit code>\n<sentence>"
    const auto first = news->find('\n'), second = news->find('\n', first + 1);
    throw ProcessError(fmt::format("process {} failed: {}", news->substr(0, first), news->substr(second + 1)),
                       std::stoi(news->substr(first + 1, second - first - 1)));
  }
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

void Processes::meet() {
  if (alone()) return;
  std::vector<at::Tensor> tensors = {at::zeros({1}, at::kByte)};
  c10d::AllreduceOptions options;
  options.timeout = no_limit;
  try {
    groups_->cpu->allreduce(tensors, options)->wait();
  } catch (const std::exception& error) {
    lost(first_line(error));
  }
}

void Processes::fail(const std::string& sentence, int exit_code) noexcept {
  if (!groups_ || !groups_->cpu) return;
  try {
    // The first to fail is the one that the others hear of.
    groups_->store->compareSet(failure_key, std::string(),
                               fmt::format("{}\n{}\n{}", rank_, exit_code, sentence));
  } catch (const std::exception&) {
    // The store went with the process that kept it.
  }
  try {
    // Without its connections nobody goes on waiting for this process.
    if (groups_->gpu) groups_->gpu->abort();
    groups_->gpu.reset();
    groups_->cpu.reset();
    std::int64_t ended = groups_->store->add(ended_key, 1);
    const Clock::time_point end = Clock::now() + farewell;
    while (groups_->serves && ended < count_ && Clock::now() < end) {  // they want to read what happened
      std::this_thread::sleep_for(Milliseconds(20));
      ended = groups_->store->add(ended_key, 0);
    }
  } catch (const std::exception&) {
    // Nobody is left to be told.
  }
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
