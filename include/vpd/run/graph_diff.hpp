#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace vpd {

struct GraphDiffOptions {
  std::filesystem::path a{}, b{};  ///< directories that `vpd graph` left, or their names in `run`
  std::optional<std::filesystem::path> run{};
  std::optional<std::int64_t> checkpoint{};  ///< of `run`: its step; nothing: the latest
  bool from_end = false;                     ///< positions count from the ends of the prompts
  std::optional<std::string> rule{};         ///< of the edges that are compared; nothing: that of `a`
  std::int64_t most = 10;                    ///< nodes of each list that are shown
  std::string slug{};                        ///< of a result beside `a`'s graphs; nothing: none is kept
  std::string command_line{};
};

/// A subcomponent at a position of one of two graphs, or of both.
struct DiffNode {
  std::string key, label;
  std::optional<std::int64_t> at_a{}, at_b{};     ///< nothing: not in that graph
  double importance_a = 0.0, importance_b = 0.0;  ///< likewise 0
  double influence_a = 0.0, influence_b = 0.0;

  double influence() const { return influence_a + influence_b; }
};

struct GraphDiff {
  std::string name_a, name_b, rule;
  bool from_end = false;
  std::vector<std::string> texts_a, texts_b;     ///< of the prompts' tokens
  std::vector<DiffNode> shared, only_a, only_b;  ///< the most influential first
  std::int64_t edges_a = 0, edges_b = 0;         ///< between nodes that both have
  std::int64_t shared_edges = 0;                 ///< in both
  double correlation = 0.0;                      ///< of their weights; 0 where these are fewer than two
  std::int64_t most = 10;
  std::filesystem::path directory;  ///< of the result, where one is kept
};

/// What two graphs of the same weights share: nodes by subcomponent and position, and edges between them.
/// Throws DataError for graphs of different weights or without edges of the rule, UsageError for names that
/// are none.
GraphDiff graph_diff(const GraphDiffOptions& options);

std::string graph_diff_text(const GraphDiff& diff);
std::string graph_diff_json(const GraphDiff& diff);

}  // namespace vpd
