// What edges claim, beside what happens where their sources are taken out.

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "edge_target.hpp"
#include "held_executor.hpp"
#include "vpd/passes/clean_pass.hpp"

namespace vpd {
namespace {

/// F of each edge's target, in a copy of the prompt of its own, with the edge's source taken out or not.
std::vector<double> values(const Decomposition& d, const at::Tensor& input, const CleanPass& clean,
                           const std::vector<EdgeToCheck>& edges, bool taken_out) {
  const auto R = static_cast<std::int64_t>(edges.size());
  const std::int64_t T = clean.T();
  std::vector<at::Tensor> writes;
  for (const at::Tensor& y : clean.outputs) writes.push_back(y.repeat({R, 1}));
  for (std::int64_t r = 0; taken_out && r < R; ++r) {
    const EdgeToCheck& edge = edges[static_cast<std::size_t>(r)];
    const auto [i, c] = subcomponent_at(edge.column, d.sites);
    const at::Tensor V = d.components.V(i).select(1, c), read = clean.inputs[i][edge.at];
    const at::Tensor h =
        d.sites[i].embedding ? V[read.item<std::int64_t>()] : read.to(V.scalar_type()).dot(V);
    writes[i][r * T + edge.at].sub_(h * d.components.U(i)[c]);
  }
  HeldExecutor held(d, std::move(writes));
  const at::Tensor output = d.target->forward(input.unsqueeze(0).repeat({R, 1}), held);
  std::vector<double> all;
  for (std::int64_t r = 0; r < R; ++r)
    all.push_back(
        value_of(d, edges[static_cast<std::size_t>(r)].target, input, held.reads, output, r).item<double>());
  return all;
}

}  // namespace

std::vector<double> direct_effects(const Decomposition& d, const at::Tensor& input,
                                   const std::vector<EdgeToCheck>& edges, Lanes& lanes,
                                   const StopAsked& stop) {
  const at::Tensor prompt = input.to(d.numerics.device);
  const CleanPass clean = [&] {
    const at::NoGradGuard no_grad;
    return clean_pass(d, prompt.unsqueeze(0), /*keep_outputs=*/true);
  }();
  std::vector<double> effects(edges.size());
  in_chunks(edges.size(), lanes, stop, [&](std::size_t first, std::size_t end) {
    const at::NoGradGuard no_grad;  // of this thread
    const std::vector<EdgeToCheck> some(edges.begin() + static_cast<std::ptrdiff_t>(first),
                                        edges.begin() + static_cast<std::ptrdiff_t>(end));
    const std::vector<double> whole = values(d, prompt, clean, some, false),
                              less = values(d, prompt, clean, some, true);
    for (std::size_t i = 0; i < some.size(); ++i) effects[first + i] = whole[i] - less[i];
  });
  return effects;
}

namespace {

/// Pearson's; 0 where one of them is constant.
double correlation_of(const std::vector<CheckedEdge>& edges) {
  const auto n = static_cast<double>(edges.size());
  double x = 0.0, y = 0.0, xx = 0.0, yy = 0.0, xy = 0.0;
  for (const CheckedEdge& one : edges) {
    x += one.claimed / n;
    y += one.effect / n;
  }
  for (const CheckedEdge& one : edges) {
    xx += (one.claimed - x) * (one.claimed - x);
    yy += (one.effect - y) * (one.effect - y);
    xy += (one.claimed - x) * (one.effect - y);
  }
  return xx > 0.0 && yy > 0.0 ? xy / std::sqrt(xx * yy) : 0.0;
}

}  // namespace

EdgeCheck check_edges(const Decomposition& d, const at::Tensor& input, const AttributionGraph& graph,
                      std::size_t most, Lanes& lanes, const StopAsked& stop) {
  std::vector<double> into(graph.nodes.size());
  std::vector<std::size_t> order;
  for (std::size_t e = 0; e < graph.edges.size(); ++e) {
    const GraphEdge& edge = graph.edges[e];
    into[static_cast<std::size_t>(edge.target)] += std::abs(edge.weight);
    if (graph.nodes[static_cast<std::size_t>(edge.source)].kind == GraphNode::Kind::subcomponent)
      order.push_back(e);
  }
  const auto share = [&](std::size_t e) {
    return std::abs(graph.edges[e].weight) / into[static_cast<std::size_t>(graph.edges[e].target)];
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return share(a) > share(b); });
  order.resize(std::min(order.size(), most));
  std::vector<EdgeToCheck> asked;
  for (const std::size_t e : order) {
    const GraphNode &source = graph.nodes[static_cast<std::size_t>(graph.edges[e].source)],
                    &target = graph.nodes[static_cast<std::size_t>(graph.edges[e].target)];
    asked.push_back(
        {{target.kind == GraphNode::Kind::logit, target.which, target.at}, source.which, source.at});
  }
  const std::vector<double> effects = direct_effects(d, input, asked, lanes, stop);
  EdgeCheck check;
  for (std::size_t k = 0; k < order.size(); ++k) {
    const GraphEdge& edge = graph.edges[order[k]];
    const double gate = graph.nodes[static_cast<std::size_t>(edge.source)].importance;
    check.edges.push_back({edge.source, edge.target, edge.weight / gate, effects[k]});
  }
  check.correlation = correlation_of(check.edges);
  for (std::size_t k = 0; k < check.edges.size(); ++k)
    if (std::abs(check.edges[k].ratio() - 1.0) > std::abs(check.edges[check.worst].ratio() - 1.0))
      check.worst = k;
  return check;
}

}  // namespace vpd
