#include "support/emulated_cuda.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <setjmp.h>
#include <ucontext.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace vpd::emulation {
namespace {

constexpr std::size_t stack_bytes = 64 * 1024;
constexpr unsigned warp = 32;

enum class State { ready, at_block_barrier, at_warp_exchange, done };

/// swapcontext, which saves the mask of signals, too, takes two calls of the kernel a turn.
void jump(jmp_buf& from, jmp_buf& to) {
  if (_setjmp(from) == 0) _longjmp(to, 1);
}

/// Made when it is first needed; it then runs one thread of a block after the other.
struct Fiber {
  jmp_buf place;
  std::unique_ptr<char[]> stack;
  State state = State::done;
  unsigned exchanges = 0;         // so far
  std::uint64_t brought[2] = {};  // in the last two exchanges, by parity
};

/// One block at a time, its threads taking turns on one thread of the machine.
class Block {
 public:
  void run(dim3 size, std::size_t shared_bytes, const std::function<void()>& kernel) {
    count_ = size.x;
    kernel_ = &kernel;
    blockDim = size;
    // As many bytes as asked for, so that the address sanitizer sees who goes beyond, and none of them 0.
    shared_.reset(static_cast<unsigned char*>(std::aligned_alloc(16, (shared_bytes + 15) / 16 * 16)));
    std::fill_n(shared_.get(), shared_bytes, static_cast<unsigned char>(0xa5));
    while (fibers_.size() < count_) fibers_.push_back(std::make_unique<Fiber>());
    for (unsigned t = 0; t < count_; ++t) start(*fibers_[t]);
    try {
      for (bool forward = true; turn(forward); forward = !forward) release();
    } catch (...) {
      fibers_.clear();  // some are amid their kernel
      throw;
    }
  }

  void wait(State reason) {
    Fiber& self = *fibers_[current_];
    self.state = reason;
    leave(self);
  }

  std::uint64_t exchange(unsigned lanes, std::uint64_t bits, unsigned lane) {
    if (lanes != 0xffffffffu) throw std::logic_error("expected an exchange of all lanes of a warp");
    const unsigned t = current_, parity = fibers_[t]->exchanges % 2;
    fibers_[t]->brought[parity] = bits;
    wait(State::at_warp_exchange);
    ++fibers_[t]->exchanges;
    return fibers_[t / warp * warp + lane]->brought[parity];
  }

  void* shared() { return shared_.get(); }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };

  static void start(Fiber& fiber) {
    fiber.state = State::ready;
    fiber.exchanges = 0;
  }

  static void main();

  /// Lets every thread that can go on do so until it waits. Whether any is left.
  bool turn(bool forward) {
    for (unsigned i = 0; i < count_; ++i) {
      current_ = forward ? i : count_ - 1 - i;
      Fiber& fiber = *fibers_[current_];
      if (fiber.state != State::ready) continue;
      threadIdx = dim3(current_);
      enter(fiber);
      if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    }
    return std::any_of(fibers_.begin(), fibers_.begin() + count_,
                       [](const auto& fiber) { return fiber->state != State::done; });
  }

  bool all(unsigned first, unsigned end, State state, bool or_done) const {
    for (unsigned t = first; t < end; ++t) {
      if (fibers_[t]->state != state && !(or_done && fibers_[t]->state == State::done)) return false;
    }
    return true;
  }

  void release() {
    bool any = false;
    const auto ready = [&](unsigned first, unsigned end) {
      for (unsigned t = first; t < end; ++t) {
        if (fibers_[t]->state != State::done) fibers_[t]->state = State::ready;
      }
      any = true;
    };
    for (unsigned first = 0; first < count_; first += warp) {
      if (first + warp <= count_ && all(first, first + warp, State::at_warp_exchange, false)) {
        ready(first, first + warp);
      }
    }
    if (!any && all(0, count_, State::at_block_barrier, true)) ready(0, count_);
    if (!any) {
      throw std::logic_error("expected the threads of block (" + std::to_string(blockIdx.x) + ", " +
                             std::to_string(blockIdx.y) +
                             ") to wait for each other at one place, found some that left or wait elsewhere");
    }
  }

  void enter(Fiber& fiber) {
    const bool first = !fiber.stack;
    if (first) fiber.stack = std::make_unique<char[]>(stack_bytes);
#ifdef __SANITIZE_ADDRESS__
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, fiber.stack.get(), stack_bytes);
#endif
    if (first) {
      begin(fiber);
    } else {
      jump(scheduler_, fiber.place);
    }
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  }

  void begin(Fiber& fiber) {
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = fiber.stack.get();
    context.uc_stack.ss_size = stack_bytes;
    context.uc_link = nullptr;
    makecontext(&context, &Block::main, 0);
    if (_setjmp(scheduler_) == 0) setcontext(&context);
  }

  void leave(Fiber& fiber) {
#ifdef __SANITIZE_ADDRESS__
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, scheduler_stack_, scheduler_stack_bytes_);
#endif
    jump(fiber.place, scheduler_);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, &scheduler_stack_, &scheduler_stack_bytes_);
#endif
  }

  unsigned count_ = 0, current_ = 0;
  const std::function<void()>* kernel_ = nullptr;
  std::exception_ptr failure_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::unique_ptr<unsigned char, Free> shared_;
  jmp_buf scheduler_;
#ifdef __SANITIZE_ADDRESS__
  const void* scheduler_stack_ = nullptr;
  std::size_t scheduler_stack_bytes_ = 0;
#endif
};

thread_local Block the_block;

void Block::main() {
  Block& block = the_block;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &block.scheduler_stack_, &block.scheduler_stack_bytes_);
#endif
  while (true) {
    try {
      (*block.kernel_)();
    } catch (...) {
      block.failure_ = std::current_exception();
    }
    block.wait(State::done);
  }
}

std::atomic<std::int64_t> launches_so_far{0};

}  // namespace

std::int64_t launches() { return launches_so_far; }

void launch(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& kernel) {
  if (grid.x == 0 || grid.y == 0 || grid.y > 65535 || block.x == 0 || block.x > 1024 ||
      shared_bytes > 48 * 1024) {
    throw std::logic_error("expected a launch that a GPU takes");
  }
  ++launches_so_far;
  gridDim = grid;
  for (unsigned y = 0; y < grid.y; ++y) {
    for (unsigned x = 0; x < grid.x; ++x) {
      blockIdx = dim3(x, y);
      the_block.run(block, shared_bytes, kernel);
    }
  }
}

void wait_for_block() { the_block.wait(State::at_block_barrier); }

std::uint64_t exchange_in_warp(unsigned lanes, std::uint64_t bits, unsigned lane) {
  return the_block.exchange(lanes, bits, lane);
}

void* dynamic_shared_memory() { return the_block.shared(); }

}  // namespace vpd::emulation
