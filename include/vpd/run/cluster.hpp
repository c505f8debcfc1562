#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/interpretation/cluster_figures.hpp"
#include "vpd/interpretation/clustering.hpp"
#include "vpd/run/pass_choice.hpp"

namespace vpd {

struct ClusterOptions : PassChoice {
  std::optional<std::int64_t> positions{};  ///< to look at; nothing: 65,536
  std::optional<std::int64_t> per_row{};    ///< drawn of a row; nothing: 16, or more where rows are few
  double threshold = 0.01;                  ///< an event is an importance above
  std::vector<std::string> within{};        ///< shell patterns of sites; empty: all
  std::vector<double> alphas{1.0};          ///< the clusters are those of the first
  ClusterSettings settings{};               ///< alpha aside
  std::int64_t seeds = 5;                   ///< clusterings of each alpha, of which the first is shown
  std::string command_line{};
};

/// What one alpha leads to.
struct AlphaResult {
  double alpha = 1.0;
  Merges merges;
  std::vector<std::int32_t> groups;  ///< at the smallest L, by column of the events
  std::int64_t group_count = 0;      ///< k
  std::int64_t clusters = 0;         ///< of two subcomponents or more whose cohesion is `least_cohesion`
  std::int64_t loose = 0;            ///< of two or more below it
};

/// A cluster below this cohesion is listed apart: it was merged because its subcomponents are rare.
inline constexpr double least_cohesion = 0.1;

struct NamedCluster {
  ClusterFigures figures;
  std::int32_t column = 0;            ///< among the Σ C: of the subcomponent that names the group
  std::vector<std::string> keys;      ///< of the members
  std::vector<std::string> sites;     ///< where they are, each once
  std::string label;                  ///< the members' labels, where there are any
  std::optional<double> stability{};  ///< its best match with the other seeds' groups, in the mean
};

struct ClusterResult {
  std::filesystem::path directory;
  std::int64_t step = 0;
  std::int64_t positions = 0, rows = 0, per_row = 0;
  std::int64_t chosen = 0;                  ///< subcomponents of the sites that were looked at
  std::vector<std::int32_t> subcomponents;  ///< those with an event, as columns among the Σ C
  std::int64_t events = 0;
  std::vector<AlphaResult> alphas;            ///< as asked for
  std::vector<NamedCluster> clusters, loose;  ///< of the first alpha; those with many members first
  std::vector<double> adjusted_rand;          ///< of the first seed's groups with each other seed's
  std::int64_t memory_bytes = 0;              ///< of the clusterings at a time, with the events
  double seconds = 0.0;
  std::vector<std::string> warnings;
};

/// Groups a run's subcomponents by description length: RUN/interpretation/step_…/clusters. Throws
/// ConfigError, UsageError, DataError, and Interrupted.
ClusterResult cluster_run(const ClusterOptions& options, const Observer& observer = {});

/// What it would take, without doing it.
struct ClusterForecast {
  std::int64_t positions = 0, rows = 0, per_row = 0, T = 0;
  std::int64_t subcomponents = 0;  ///< of the sites that are looked at
  double operations = 0.0;         ///< of the passes over the rows
  std::int64_t alive = 0;          ///< assumed to have an event: half of them
  double l0 = 0.0;                 ///< of them at a position, assumed: 200, or all
  std::int64_t memory_bytes = 0;   ///< of a clustering, with its events
  std::int64_t at_once = 1;        ///< clusterings side by side where memory allows
  std::int64_t disk_bytes = 0;
  std::string device;
  std::optional<double> seconds;  ///< of the passes; nothing: the device is not here
  std::vector<std::string> warnings;
};
ClusterForecast forecast_cluster(const ClusterOptions& options, const Observer& observer = {});

std::string cluster_text(const ClusterResult& result);
std::string cluster_json(const ClusterResult& result);
std::string forecast_text(const ClusterForecast& forecast);
std::string forecast_json(const ClusterForecast& forecast);

}  // namespace vpd
