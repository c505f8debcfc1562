#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"

namespace vpd {

struct SelftestOptions {
  std::uint64_t seed = 0;
  std::optional<std::filesystem::path>
      out{};                             ///< keeps the target and the run there; nothing: they are removed
  std::vector<std::string> overrides{};  ///< "training.steps=100", of the decomposition
  std::optional<std::string> device{};   ///< in place of the configurations'
  int threads = 0;                       ///< of the CPU; 0: as many as it may use
};

/// One measured figure, and where it has to lie.
struct SelftestFigure {
  std::string name;
  double value = 0.0;
  double lowest = 0.0, highest = 0.0;

  bool passed() const { return value >= lowest && value <= highest; }
};

struct SelftestReport {
  std::uint64_t seed = 0;
  std::vector<SelftestFigure> figures;
  double pretrain_seconds = 0.0, decompose_seconds = 0.0;

  bool recovered() const;
};

/// Whether this installation recovers a truth that is known: trains the toy model of superposition with 5
/// features in 2 dimensions, decomposes it and compares the result with its features (method, section 8),
/// with the configurations of configs/toys/tms_5-2*.yaml, through the same jobs as the program's. Throws what
/// those throw; a truth that was not recovered is no exception.
SelftestReport selftest(const SelftestOptions& options, const Observer& observer);

/// The report for people, and as a JSON object.
std::string selftest_text(const SelftestReport& report);
std::string selftest_json(const SelftestReport& report);

}  // namespace vpd
