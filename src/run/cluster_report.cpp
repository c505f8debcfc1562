// What a clustering says of itself, for people and for programs.

#include <nlohmann/json.hpp>

#include "text_line.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/run/cluster.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t shown_clusters = 20, shown_members = 3;

double mean(const std::vector<double>& values) {
  double sum = 0.0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

std::string members_text(const NamedCluster& cluster) {
  const std::size_t shown = std::min(shown_members, cluster.keys.size());
  std::string text =
      join_words({cluster.keys.begin(), cluster.keys.begin() + static_cast<std::ptrdiff_t>(shown)});
  if (shown < cluster.keys.size()) text += fmt::format(", {} more", cluster.keys.size() - shown);
  return cluster.label.empty() ? text : text + "  " + printable(cluster.label);
}

std::string clusters_text(const ClusterResult& result) {
  if (result.clusters.empty()) return "\nno cluster of two subcomponents or more holds together\n";
  std::string text =
      fmt::format("\n{:>7} {:>8} {:>7} {:>9} {:>9}\n", "members", "cohesion", "within", "count", "stability");
  for (std::size_t i = 0; i < std::min(shown_clusters, result.clusters.size()); ++i) {
    const NamedCluster& one = result.clusters[i];
    text += fmt::format("{:>7} {:>8.2f} {:>7.2f} {:>9} {:>9}  {}\n", one.figures.members.size(),
                        one.figures.cohesion, one.figures.within_density, one.figures.count,
                        one.stability ? fmt::format("{:.2f}", *one.stability) : "-", members_text(one));
  }
  if (result.clusters.size() > shown_clusters)
    text += fmt::format("{} more in clusters.json\n", result.clusters.size() - shown_clusters);
  return text +
         "\ncohesion: the chance that another member is important where one is; within: the part of the "
         "members "
         "that is\nstability: the best match with a group of another seed (Jaccard), in the mean over "
         "seeds\n";
}

Json json_of(const NamedCluster& cluster) {
  return {{"group", cluster.column},
          {"members", cluster.keys},
          {"sites", cluster.sites},
          {"count", cluster.figures.count},
          {"cohesion", cluster.figures.cohesion},
          {"within_density", cluster.figures.within_density},
          {"stability", cluster.stability ? Json(*cluster.stability) : Json()},
          {"label", cluster.label}};
}

Json json_of(const std::vector<NamedCluster>& clusters) {
  Json all = Json::array();
  for (const NamedCluster& cluster : clusters) all.push_back(json_of(cluster));
  return all;
}

}  // namespace

std::string cluster_text(const ClusterResult& result) {
  const auto positions = static_cast<double>(result.positions);
  std::string text = text_line("clusters", result.directory.string());
  text += text_line("step", std::to_string(result.step));
  text += text_line(
      "positions",
      fmt::format("{}, {} of each of {} rows; {:.1f} subcomponents are important at one", result.positions,
                  result.per_row, result.rows, static_cast<double>(result.events) / positions));
  text += text_line("grouped", fmt::format("{} of {} subcomponents, those that are ever important",
                                           result.subcomponents.size(), result.chosen));
  text += fmt::format("\n{:>7} {:>7} {:>9} {:>7} {:>8} {:>16} {:>13}\n", "alpha", "groups", "clusters",
                      "loose", "alone", "bits a position", "before");
  for (const AlphaResult& one : result.alphas) {
    const auto best = static_cast<std::size_t>(one.merges.best());
    text += fmt::format("{:>7g} {:>7} {:>9} {:>7} {:>8} {:>16.2f} {:>13.2f}\n", one.alpha, one.group_count,
                        one.clusters, one.loose, one.group_count - one.clusters - one.loose,
                        one.merges.total[best] / positions, one.merges.total.front() / positions);
  }
  text += fmt::format("\nloose: clusters of cohesion below {}, merged because their members are rare\n",
                      least_cohesion);
  if (!result.adjusted_rand.empty())
    text += fmt::format("{} seeds agree with the first by an adjusted Rand index of {:.3f} in the mean\n",
                        result.adjusted_rand.size(), mean(result.adjusted_rand));
  text += clusters_text(result);
  return text + text_line("\ntime", human_duration(result.seconds));
}

std::string cluster_json(const ClusterResult& result) {
  Json alphas = Json::array();
  for (const AlphaResult& one : result.alphas) {
    const auto best = static_cast<std::size_t>(one.merges.best());
    alphas.push_back({{"alpha", one.alpha},
                      {"groups", one.group_count},
                      {"clusters", one.clusters},
                      {"loose", one.loose},
                      {"alone", one.group_count - one.clusters - one.loose},
                      {"bits", one.merges.total[best]},
                      {"bits_before", one.merges.total.front()}});
  }
  const Json document = {{"step", result.step},
                         {"positions", result.positions},
                         {"rows", result.rows},
                         {"per_row", result.per_row},
                         {"subcomponents", result.subcomponents.size()},
                         {"events", result.events},
                         {"least_cohesion", least_cohesion},
                         {"alphas", alphas},
                         {"adjusted_rand", result.adjusted_rand},
                         {"clusters", json_of(result.clusters)},
                         {"loose", json_of(result.loose)},
                         {"memory_bytes", result.memory_bytes},
                         {"seconds", result.seconds},
                         {"warnings", result.warnings}};
  return json_text(document, 1) + "\n";
}

std::string forecast_text(const ClusterForecast& f) {
  std::string text = text_line(
      "positions", fmt::format("{}, {} of each of {} rows of {}", f.positions, f.per_row, f.rows, f.T));
  text += text_line("operations", fmt::format("{}FLOP to find the importances", human_count(f.operations)));
  text += text_line("assumed", fmt::format("{} of {} subcomponents are ever important, {:g} at a position",
                                           f.alive, f.subcomponents, f.l0));
  text += text_line("memory", fmt::format("{} for a clustering, {} at a time where there is as much",
                                          human_bytes(static_cast<double>(f.memory_bytes)), f.at_once));
  text += text_line("disk", human_bytes(static_cast<double>(f.disk_bytes)));
  text += text_line("device", f.device);
  if (f.seconds)
    text +=
        text_line("time", fmt::format("about {} for the importances, at half of the speed of matrix products",
                                      human_duration(*f.seconds)));
  return text;
}

std::string forecast_json(const ClusterForecast& f) {
  const Json document = {{"positions", f.positions},
                         {"rows", f.rows},
                         {"per_row", f.per_row},
                         {"operations", f.operations},
                         {"subcomponents", f.subcomponents},
                         {"alive", f.alive},
                         {"l0", f.l0},
                         {"memory_bytes", f.memory_bytes},
                         {"at_once", f.at_once},
                         {"disk_bytes", f.disk_bytes},
                         {"device", f.device},
                         {"seconds", f.seconds ? Json(*f.seconds) : Json()},
                         {"warnings", f.warnings}};
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
