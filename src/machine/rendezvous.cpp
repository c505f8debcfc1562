#include "rendezvous.hpp"

#include <c10/util/Exception.h>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "address.hpp"
#include "first_line.hpp"
#include "polled_store.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"

namespace vpd {
namespace {

using Milliseconds = std::chrono::milliseconds;
using Store = c10::intrusive_ptr<c10d::Store>;

/// Whose store it is; the only key that is not under a run's own prefix.
constexpr const char* run_key = "vpd/run";
constexpr const char* one_port_each =
    "give each run that shares a machine a MASTER_PORT of its own, or --alone to one process alone";

bool serves(const Launch& launch) { return launch.rank == 0 && !launch.launcher_serves; }

/// What a store's run calls itself. A launcher's store sees attempts come and go, some of them with more
/// processes than others.
std::string run_name(const Launch& launch) {
  if (launch.launcher_serves) return launch.job;
  std::string name = fmt::format("{} processes", launch.count);
  if (!launch.job.empty()) name += " of " + launch.job;
  if (launch.attempt != "0") name += ", start " + launch.attempt;
  return name;
}

Store open_store(const Launch& launch, Milliseconds limit) {
  c10d::TCPStoreOptions options;
  options.port = launch.port;
  options.isServer = serves(launch);
  options.waitWorkers = false;
  options.timeout = std::max<Milliseconds>(limit, std::chrono::seconds(1));  // 0 is none at all
  return c10::make_intrusive<c10d::TCPStore>(launch.address, options);
}

/// Process 0 listens, and connects with itself as the others do.
Store serve(const Launch& launch, const std::vector<Address>& addresses, const Patience& patience) {
  const auto check_that_it_is_reached = [&] {
    std::string found;
    if (knock(addresses, patience.at_most(std::chrono::seconds(2)), found)) return;
    not_met(launch,
            fmt::format("that process 0 cannot reach itself there ({}): it runs on another machine than "
                        "MASTER_ADDR says, or may not listen; set MASTER_ADDR to the machine of "
                        "process 0",
                        found));
  };
  constexpr Milliseconds late = std::chrono::seconds(10);
  const Patience watching = patience.looking_too(late, check_that_it_is_reached);
  std::string why = "no answer";
  try {
    if (const auto store =
            watching.aside([launch, limit = patience.left()] { return open_store(launch, limit); }))
      return *store;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    why = first_line(error);
    if (why.find("EADDRINUSE") != std::string::npos) {
      not_met(launch,
              fmt::format("another program that listens there, perhaps another run; {}", one_port_each));
    }
  }
  check_that_it_is_reached();
  not_met(launch, fmt::format("that process 0 does not hear itself there ({}); {}", why, one_port_each));
}

Store look_for(const Launch& launch, const std::vector<Address>& addresses, const Patience& patience) {
  constexpr Milliseconds slice = std::chrono::seconds(2);  // a thread that is left to itself soon ends
  std::string why = "no answer";
  while (!patience.over()) {
    patience.look();
    try {
      if (const auto store = patience.aside([launch] { return open_store(launch, slice); })) return *store;
    } catch (const Error&) {
      throw;
    } catch (const c10::DistNetworkError&) {
      continue;  // nobody is there yet
    } catch (const std::exception& error) {
      why = first_line(error);
      break;
    }
  }
  std::string found;
  if (!knock(addresses, patience, found)) {
    not_met(
        launch,
        fmt::format("nobody there in {} ({}): {} was not started or has ended already (see what it said), "
                    "runs on another machine than MASTER_ADDR says, or a firewall is between; start it "
                    "with the others, or give --alone for one process alone",
                    human_duration(patience.waited_seconds()), found,
                    launch.launcher_serves ? "the launcher" : "process 0"));
  }
  not_met(launch, fmt::format("somebody there who does not answer as process 0 of a run does ({}); {}", why,
                              one_port_each));
}

/// The name of the run whose store this is, which process 0 gives: nothing where it does not.
std::string name_of_run(const Store& store, const Launch& launch, const Patience& patience) {
  constexpr Milliseconds pause{20};
  // Process 0 names its own store at once, though that may be busy; a launcher's is there long before it.
  constexpr int most_answers = 500;
  const std::string own = run_name(launch);
  for (int answers = 0; launch.launcher_serves || answers < most_answers; ++answers) {
    const auto name = patience.aside([store, own, first = launch.rank == 0]() -> std::string {
      if (first) return store->compareSet(run_key, std::string(), own);
      return store->check({run_key}) ? store->get_to_str(run_key) : std::string();
    });
    if (name && !name->empty()) return *name;
    if (patience.over()) break;
    patience.sleep(pause);
  }
  return {};
}

void check_run(const Store& store, const Launch& launch, const Patience& patience) {
  const std::string own = run_name(launch);
  if (own.empty()) return;
  const std::string name = name_of_run(store, launch, patience);
  if (name == own) return;
  if (name.empty() && launch.launcher_serves) {
    not_met(launch,
            fmt::format("that process 0 did not come in {} (see what it said); start it with the others",
                        human_duration(patience.waited_seconds())));
  }
  not_met(launch,
          fmt::format("the store of {}, where this process is one of {}; {}",
                      name.empty() ? "another program" : "another run (" + name + ")", own, one_port_each));
}

}  // namespace

void not_met(const Launch& launch, const std::string& found_and_cure) {
  throw DataError(fmt::format("expected all processes to meet at {}:{}, found {}", launch.address,
                              launch.port, found_and_cure));
}

Store connect(const Launch& launch, const Patience& patience) {
  const std::vector<Address> addresses = addresses_of(launch.address, launch.port, patience);
  const Store store =
      serves(launch) ? serve(launch, addresses, patience) : look_for(launch, addresses, patience);
  check_run(store, launch, patience);
  std::string prefix = fmt::format("vpd/{}/{}", launch.job, launch.attempt);
  // In a launcher's store a program that is called again finds what it said before, so each call has a place
  // of its own. Without a launcher there is one process of each number.
  const auto calls = patience.aside(
      [store, key = fmt::format("{}/calls/{}", prefix, launch.rank)] { return store->add(key, 1); });
  if (!calls) not_met(launch, "that the store there does not answer");
  if (launch.launcher_serves) prefix += fmt::format("/{}", *calls);
  if (!launch.launcher_serves && *calls > 1) {
    not_met(launch, fmt::format("that another process {} of {} came before; {}", launch.rank, launch.count,
                                one_port_each));
  }
  return c10::make_intrusive<PolledStore>(prefix, store);
}

void wait_for_all(const Launch& launch, Notices& notices, const Patience& patience) {
  const Milliseconds pause(20 + launch.count);  // one process answers all
  notices.come(launch.rank);
  for (;;) {
    if (notices.present().value_or(0) >= launch.count) return;
    if (notices.gone()) not_met(launch, "that process 0 has ended meanwhile; see what it said");
    if (patience.over()) break;
    patience.sleep(pause);
  }
  constexpr std::size_t most = 8;
  std::vector<std::string> missing;
  for (int rank = 0; rank < launch.count && missing.size() <= most; ++rank) {
    if (!notices.came(rank)) missing.push_back(std::to_string(rank));
  }
  if (missing.size() > most) missing.back() = "more";
  not_met(launch,
          fmt::format("that {} {} did not come in {}; start all {} through torchrun or srun, with the same "
                      "MASTER_ADDR and MASTER_PORT, or give --alone for one process alone",
                      missing.size() == 1 ? "process" : "processes", join_words(missing, ", "),
                      human_duration(patience.waited_seconds()), launch.count));
}

}  // namespace vpd
