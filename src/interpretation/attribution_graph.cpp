#include "vpd/interpretation/attribution_graph.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include <ATen/ATen.h>

#include "given_masks.hpp"
#include "vpd/passes/clean_pass.hpp"

namespace vpd {
namespace {

using Kind = GraphNode::Kind;

class GraphMaker {
 public:
  GraphMaker(const Decomposition& d, const at::Tensor& input, const std::vector<OutputTarget>& targets,
             const at::Tensor& importance, const at::Tensor& before, const EdgeSettings& settings)
      : d_(d),
        input_(input),
        gates_(importance.to(at::kDouble).cpu().contiguous()),
        before_(before.to(at::kDouble).cpu().contiguous()),
        settings_(settings) {
    graph_.rule = settings.rule;
    graph_.features = input.is_floating_point();
    if (!graph_.features)
      graph_.tokens = {input.const_data_ptr<std::int64_t>(),
                       input.const_data_ptr<std::int64_t>() + input.numel()};
    graph_.targets = targets;
    for (const OutputTarget& target : targets) last_ = std::max(last_, target.at);
  }

  AttributionGraph make(Lanes& lanes, const StopAsked& stop) {
    add_sources();
    add_logits();
    add_handoffs();
    std::vector<EdgeTarget> targets;
    std::vector<std::size_t> node_of;
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const GraphNode& node = graph_.nodes[i];
      if (node.kind != Kind::subcomponent && node.kind != Kind::logit) continue;
      targets.push_back({node.kind == Kind::logit, node.which, node.at});
      node_of.push_back(i);
    }
    incoming_edges(
        d_, input_, targets, settings_.rule, lanes,
        [&](std::size_t i, const IncomingEdges& edges) { add_edges(node_of[i], edges); }, stop);
    graph_.scores = graph_scores(graph_.nodes, graph_.edges);
    keep_largest_edges();
    prune_for_display(graph_.nodes, graph_.edges, settings_.node_share, settings_.edge_share);
    return std::move(graph_);
  }

 private:
  std::int64_t T() const { return positions_of(input_); }

  std::size_t add(GraphNode node) {
    graph_.nodes.push_back(node);
    return graph_.nodes.size() - 1;
  }

  void add_sources() {
    const bool has_embedding = std::any_of(d_.target->matrices().begin(), d_.target->matrices().end(),
                                           [](const Matrix& matrix) { return matrix.embedding; });
    inputs_.assign(static_cast<std::size_t>(input_.size(0)), -1);
    for (std::int64_t t = 0; has_embedding && t <= last_; ++t) {
      const auto i = static_cast<std::size_t>(t);
      inputs_[i] =
          static_cast<std::int64_t>(add({.kind = Kind::embedding, .which = graph_.tokens[i], .at = t}));
    }
    for (std::int64_t j = 0; graph_.features && j < input_.size(0); ++j)
      if (input_[j].item<double>() != 0.0)
        inputs_[static_cast<std::size_t>(j)] =
            static_cast<std::int64_t>(add({.kind = Kind::embedding, .which = j}));
    subcomponents_ = at::full({T(), d_.sites.total_C()}, -1, at::kLong);
    for (std::size_t i = 0; i < d_.sites.size(); ++i) {
      for (std::int64_t t = 0; t <= last_; ++t) {
        deltas_[{t, i}] = add({.kind = Kind::delta, .which = static_cast<std::int64_t>(i), .at = t});
        for (std::int64_t c = d_.sites[i].offset; c < d_.sites[i].offset + d_.sites[i].C; ++c) {
          const double gate = gates_.const_data_ptr<double>()[t * gates_.size(1) + c];
          if (gate <= 0.0) continue;
          const std::size_t node =
              add({.kind = Kind::subcomponent,
                   .which = c,
                   .at = t,
                   .importance = gate,
                   .importance_before = before_.const_data_ptr<double>()[t * before_.size(1) + c]});
          subcomponents_[t][c] = static_cast<std::int64_t>(node);
        }
      }
    }
  }

  /// How much each output is there: its probability, or, of features, its part of all magnitudes.
  at::Tensor outputs(Executor& executor) const {
    const at::Tensor y =
        d_.target->forward(input_.unsqueeze(0).to(d_.numerics.device), executor).to(at::kDouble).cpu();
    return graph_.features ? y.abs() / y.abs().sum(1, /*keepdim=*/true).clamp_min(1e-300) : y.softmax(1);
  }

  /// The targets, and what else is said at their positions under the importances as masks.
  void add_logits() {
    const at::NoGradGuard no_grad;
    const at::Tensor gates = gates_.to(d_.numerics.options());
    const ColumnMasks masks{gates,
                            at::zeros({T(), static_cast<std::int64_t>(d_.sites.size())}, gates.options())};
    GivenMasks executor(d_, masks);
    const at::Tensor p = outputs(executor);
    std::map<std::int64_t, std::vector<std::int64_t>> wanted;
    for (const OutputTarget& target : graph_.targets) {
      std::vector<std::int64_t>& tokens = wanted[target.at];
      if (target.token && std::find(tokens.begin(), tokens.end(), *target.token) == tokens.end())
        tokens.push_back(*target.token);
    }
    for (auto& [t, tokens] : wanted) {
      const auto [values, order] = p[t].sort(/*stable=*/true, 0, /*descending=*/true);
      for (std::int64_t k = 0; k < order.size(0) && tokens.size() < settings_.logits; ++k) {
        const auto token = order[k].item<std::int64_t>();
        if (values[k].item<double>() <= settings_.shown_probability && !tokens.empty()) break;
        if (std::find(tokens.begin(), tokens.end(), token) == tokens.end()) tokens.push_back(token);
      }
      for (const std::int64_t token : tokens)
        add({.kind = Kind::logit, .which = token, .at = t, .importance = p[t][token].item<double>()});
    }
  }

  void add_handoffs() {
    if (graph_.features) return;
    const at::NoGradGuard no_grad;
    PlainExecutor plain;
    const at::Tensor p = outputs(plain);
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const GraphNode& node = graph_.nodes[i];
      if (node.kind != Kind::logit || node.at >= last_) continue;
      const auto next = static_cast<std::size_t>(node.at + 1);
      if (graph_.tokens[next] == node.which && inputs_[next] >= 0)
        graph_.handoffs.push_back({static_cast<std::int32_t>(i), static_cast<std::int32_t>(inputs_[next]),
                                   std::log(p[node.at][node.which].item<double>())});
    }
  }

  void add_edges(std::size_t target, const IncomingEdges& edges) {
    GraphNode& node = graph_.nodes[target];
    node.F = edges.F;
    const at::Tensor edge = edges.edge.cpu().contiguous(), delta = edges.delta.cpu().contiguous(),
                     bias = edges.bias.cpu(), input = edges.input.cpu().contiguous();
    const at::Tensor kept = edge * gates_;
    node.balance = {kept.sum().item<double>(),
                    (edge - kept).sum().item<double>(),
                    delta.sum().item<double>(),
                    bias.sum().item<double>(),
                    input.sum().item<double>(),
                    edges.constant,
                    0.0};
    node.balance[6] = node.F - std::accumulate(node.balance.begin(), node.balance.begin() + 6, 0.0);
    const auto join = [&](std::int64_t source, double weight) {
      if (weight != 0.0)
        graph_.edges.push_back(
            {static_cast<std::int32_t>(source), static_cast<std::int32_t>(target), weight});
    };
    const auto* weight = kept.const_data_ptr<double>();
    const auto* number = subcomponents_.const_data_ptr<std::int64_t>();
    for (std::int64_t k = 0; k < kept.numel(); ++k)
      if (number[k] >= 0) join(number[k], weight[k]);
    for (const auto& [place, source] : deltas_)
      join(static_cast<std::int64_t>(source),
           delta.const_data_ptr<double>()[place.first * delta.size(1) +
                                          static_cast<std::int64_t>(place.second)]);
    for (std::size_t k = 0; k < inputs_.size(); ++k)
      if (inputs_[k] >= 0) join(inputs_[k], input.const_data_ptr<double>()[k]);
  }

  void keep_largest_edges() {
    std::vector<double> into(graph_.nodes.size());
    for (const GraphEdge& edge : graph_.edges)
      into[static_cast<std::size_t>(edge.target)] += std::abs(edge.weight);
    const auto share = [&](const GraphEdge& edge) {
      return std::abs(edge.weight) / into[static_cast<std::size_t>(edge.target)];
    };
    // In an order that does not hang on which lane was first.
    std::sort(graph_.edges.begin(), graph_.edges.end(), [](const GraphEdge& a, const GraphEdge& b) {
      return std::pair(a.target, a.source) < std::pair(b.target, b.source);
    });
    if (graph_.edges.size() <= settings_.most_edges) return;
    std::vector<double> shares;
    for (const GraphEdge& edge : graph_.edges) shares.push_back(share(edge));
    std::nth_element(shares.begin(), shares.begin() + static_cast<std::ptrdiff_t>(settings_.most_edges),
                     shares.end(), std::greater<>());
    const double least = shares[settings_.most_edges];
    std::erase_if(graph_.edges, [&](const GraphEdge& edge) { return share(edge) <= least; });
  }

  const Decomposition& d_;
  at::Tensor input_, gates_, before_;
  const EdgeSettings& settings_;
  AttributionGraph graph_;
  std::int64_t last_ = 0;
  std::vector<std::int64_t> inputs_;  // node of each token or feature, or -1
  at::Tensor subcomponents_;          // node of [T, Σ C], or -1
  std::map<std::pair<std::int64_t, std::size_t>, std::size_t> deltas_;  // node of (position, site)
};

}  // namespace

AttributionGraph attribute_graph(const Decomposition& d, const at::Tensor& input,
                                 const std::vector<OutputTarget>& targets, const at::Tensor& importance,
                                 const at::Tensor& before, const EdgeSettings& settings, Lanes& lanes,
                                 const StopAsked& stop) {
  return GraphMaker(d, input.cpu().contiguous(), targets, importance, before, settings).make(lanes, stop);
}

}  // namespace vpd
