#include "slow_work.hpp"

#include <chrono>

#include <spdlog/fmt/fmt.h>

#include "vpd/base/text.hpp"

namespace vpd {
namespace {

constexpr std::chrono::seconds patience(2);

}  // namespace

StopAsked announce(const Observer& observer, const std::string& work, std::int64_t bytes) {
  using Clock = std::chrono::steady_clock;
  constexpr std::int64_t many = std::int64_t{1} << 30;  // a second from memory, and several from a disk
  const std::string line = fmt::format("{} ({})", work, human_bytes(static_cast<double>(bytes)));
  if (observer.status) observer.status(line);
  const bool at_once = bytes >= many;
  if (at_once && observer.say) observer.say(line);
  return [line, said = at_once, start = Clock::now(), say = observer.say, stop = observer.stop]() mutable {
    if (!said && Clock::now() - start > patience) {
      said = true;
      if (say) say(line);
    }
    return stop && stop();
  };
}

}  // namespace vpd
