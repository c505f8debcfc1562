// Times a clustering of made-up events with planted groups. Prints one JSON object.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "vpd/base/philox.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/base/version.hpp"
#include "vpd/interpretation/clustering.hpp"
#include "vpd/machine/memory.hpp"

namespace {

using namespace vpd;
using Clock = std::chrono::steady_clock;

struct Options {
  std::int64_t columns = 10000, positions = 65536, members = 4;
  double events = 200.0;  ///< a position
  double alpha = 1.0;
  bool greedy = false;
};

/// Where a planted group is there each of its members has an event with this chance.
constexpr double takes_part = 0.8;

/// Numbers in [0, 1), one after the other.
class Draws {
 public:
  double operator()() { return static_cast<double>(mix_bits(number_++) >> 11) * 0x1p-53; }

 private:
  std::uint64_t number_ = 0;
};

std::int64_t groups_of(const Options& options) { return options.columns / options.members; }

/// Group g has columns g, g + groups, …, and is there as often as words of a language are: at a part of the
/// positions in proportion to 1 / (g + 20).
BitColumns planted_events(const Options& options) {
  const std::int64_t groups = groups_of(options);
  double all = 0.0;
  for (std::int64_t g = 0; g < groups; ++g) all += 1.0 / static_cast<double>(g + 20);
  BitColumns events(options.positions);
  for (std::int64_t c = 0; c < groups * options.members; ++c) events.add_column();
  Draws draw;
  for (std::int64_t g = 0; g < groups; ++g) {
    const double there = std::min(0.9, options.events / (static_cast<double>(options.members) * takes_part) /
                                           (all * static_cast<double>(g + 20)));
    for (std::int64_t n = 0; n < options.positions; ++n) {
      if (draw() >= there) continue;
      for (std::int64_t m = 0; m < options.members; ++m)
        if (draw() < takes_part) events.set(g + m * groups, n);
    }
    for (std::int64_t m = 0; m < options.members; ++m)  // every column has one
      events.set(g + m * groups, static_cast<std::int64_t>(draw() * static_cast<double>(options.positions)));
  }
  return events;
}

/// Planted groups whose members are all in one group that was found.
std::int64_t kept_together(const Options& options, const std::vector<std::int32_t>& found) {
  std::int64_t together = 0;
  const auto group_of = [&](std::int64_t column) { return found[static_cast<std::size_t>(column)]; };
  for (std::int64_t g = 0; g < groups_of(options); ++g) {
    bool same = true;
    for (std::int64_t m = 1; m < options.members; ++m)
      same = same && group_of(g + m * groups_of(options)) == group_of(g);
    together += same;
  }
  return together;
}

void measure(const Options& options) {
  const BitColumns events = planted_events(options);
  const Clock::time_point start = Clock::now();
  const std::clock_t cpu_start = std::clock();
  const Merges merges = cluster(events, {.alpha = options.alpha, .greedy = options.greedy});
  const double cpu = static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
  const double seconds = seconds_since(start);
  const nlohmann::ordered_json document = {
      {"what", "clustering of made-up events with planted groups, on one thread"},
      {"version", git_revision()},
      {"subcomponents", events.columns()},
      {"positions", events.positions()},
      {"events_a_position", static_cast<double>(events.events()) / static_cast<double>(events.positions())},
      {"alpha", options.alpha},
      {"greedy", options.greedy},
      {"seconds", seconds},
      {"cpu_seconds", cpu},
      {"predicted_bytes", clustering_bytes(events.positions(), events.columns(), events.events()) +
                              events.columns() * events.positions() / 8},
      {"peak_bytes", peak_resident_bytes()},
      {"groups", merges.groups_after(merges.best())},
      {"planted", groups_of(options)},
      {"planted_kept_together", kept_together(options, merges.groups_at(merges.best()))}};
  std::puts(document.dump(1).c_str());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times a clustering of made-up events", "cluster");
  Options options;
  app.add_option("--columns", options.columns, "Subcomponents")
      ->check(CLI::Range(8, 1000000))
      ->capture_default_str();
  app.add_option("--positions", options.positions, "Positions")
      ->check(CLI::Range(64, 1000000000))
      ->capture_default_str();
  app.add_option("--members", options.members, "Members of a planted group")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--events", options.events, "Events at a position, about")->capture_default_str();
  app.add_option("--alpha", options.alpha, "Bits for each member of a group")->capture_default_str();
  app.add_flag("--greedy", options.greedy, "Always the cheapest merge");
  CLI11_PARSE(app, argc, argv);
  try {
    measure(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cluster: %s\n", error.what());
    return 1;
  }
  return 0;
}
