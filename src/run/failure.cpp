#include "vpd/run/failure.hpp"

#include <filesystem>
#include <new>
#include <system_error>

#include <c10/util/Exception.h>

#include "vpd/base/error.hpp"
#include "vpd/base/path_meaning.hpp"

namespace vpd {
namespace {

constexpr const char* memory_cure =
    "set training.micro_batch_size to a divisor of batch_size, lower evaluation.batch_size, or lower the "
    "sites' C; vpd check predicts what a configuration takes";

Failure out_of_memory(const char* which) {
  return {fmt::format("{} does not suffice: {}", which, memory_cure), 3};
}

}  // namespace

Failure describe_failure(const std::exception& error) {
  if (const auto* ours = dynamic_cast<const Error*>(&error)) return {ours->what(), ours->exit_code()};
  if (const auto* file = dynamic_cast<const std::filesystem::filesystem_error*>(&error)) {
    const auto found = obstacle(file->path1());
    return {found ? fmt::format("{}: found {}", file->path1().string(), *found) : error.what(), 3};
  }
  if (const auto* system = dynamic_cast<const std::system_error*>(&error);
      system && system->code() == std::errc::resource_unavailable_try_again) {
    return {"the system has no more threads to give: lower --threads, or raise its limit (ulimit -u)", 3};
  }
  if (dynamic_cast<const c10::OutOfMemoryError*>(&error)) return out_of_memory("the GPU's memory");
  if (dynamic_cast<const std::bad_alloc*>(&error)) return out_of_memory("the memory");
  if (const auto* torch = dynamic_cast<const c10::Error*>(&error)) {
    const std::string text = torch->what_without_backtrace();
    if (text.find("DefaultCPUAllocator") != std::string::npos) return out_of_memory("the memory");
    return {fmt::format("LibTorch failed, which is a defect of vpd: {}", text), 1};
  }
  return {fmt::format("unexpected, which is a defect of vpd: {}", error.what()), 1};
}

}  // namespace vpd
