#include <cstdlib>

#include "process_groups.hpp"
#include "vpd/base/error.hpp"

#ifdef VPD_WITH_GLOO
// The wheel of LibTorch is built with Gloo but leaves out Gloo's headers. Those of the system may be of
// another version: no object of Gloo is made or looked into here, only LibTorch's own class, which holds
// pointers to them.
#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif

namespace vpd {

void need_gloo(int count) {
#ifdef VPD_WITH_GLOO
  static_cast<void>(count);
#else
  throw UsageError(
      fmt::format("expected one process, found {}: this build of vpd has no process groups, because Gloo's "
                  "headers were not "
                  "found; install libgloo-dev (tools/setup does) and build again",
                  count));
#endif
}

c10::intrusive_ptr<c10d::Backend> make_gloo_group(const c10::intrusive_ptr<c10d::Store>& store, int rank,
                                                  int count, std::chrono::milliseconds timeout) {
  need_gloo(count);
#ifdef VPD_WITH_GLOO
  auto options = c10d::ProcessGroupGloo::Options::create(timeout);
  // Without the name of a network interface: the one that this machine's own name leads to.
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  options->devices.push_back(interface ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
                                       : c10d::ProcessGroupGloo::createDefaultDevice());
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, count, options);
#else
  static_cast<void>(store), static_cast<void>(rank), static_cast<void>(timeout);
  return {};
#endif
}

}  // namespace vpd
