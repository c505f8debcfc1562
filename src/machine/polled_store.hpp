#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/exception.h>

namespace vpd {

/// A store in which a wait for a key does not keep the connection busy, as LibTorch's own does until the key
/// comes: process groups wait, and the process hears of what else happens through the same connection. (One
/// for each would cost the server, which looks up the name of every address that connects and answers nobody
/// until a name server has answered it.)
class PolledStore final : public c10d::PrefixStore {
 public:
  using c10d::PrefixStore::PrefixStore;

  void wait(const std::vector<std::string>& keys) override { wait(keys, getTimeout()); }

  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) override {
    using Clock = std::chrono::steady_clock;
    using Milliseconds = std::chrono::milliseconds;
    const Clock::time_point end = Clock::now() + timeout;
    constexpr Milliseconds first{1}, longest{20};
    for (Milliseconds pause = first; !check(keys); pause = std::min(2 * pause, longest)) {
      if (Clock::now() >= end) {
        C10D_THROW_ERROR(DistStoreError, "nobody gave the key ", keys.empty() ? "" : keys.front(), " in ",
                         timeout.count(), " ms");
      }
      std::this_thread::sleep_for(pause);
    }
  }

  std::vector<std::uint8_t> get(const std::string& key) override {
    wait({key});
    return PrefixStore::get(key);
  }

  std::vector<std::vector<std::uint8_t>> multiGet(const std::vector<std::string>& keys) override {
    wait(keys);
    return PrefixStore::multiGet(keys);
  }
};

}  // namespace vpd
