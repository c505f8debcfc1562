#include <mutex>

#include <torch/csrc/autograd/autograd.h>

#include "cut_executor.hpp"
#include "edge_target.hpp"
#include "frozen_executor.hpp"
#include "vpd/passes/clean_pass.hpp"

namespace vpd {
namespace {

/// What sources are made of, of the clean pass: inner activations and what Δ and biases give.
struct Sources {
  at::Tensor h;                   // float64 [T, Σ C]
  std::vector<at::Tensor> delta;  // per site [T, d_out]
};

Sources sources_of(const Decomposition& d, const at::Tensor& input) {
  const at::NoGradGuard no_grad;
  const CleanPass clean = clean_pass(d, input.unsqueeze(0));
  Sources sources{
      .h = at::empty({clean.N(), d.sites.total_C()}, at::dtype(at::kDouble).device(input.device())),
      .delta = {}};
  for (std::size_t i = 0; i < d.sites.size(); ++i) {
    const at::Tensor V = d.components.V(i).to(at::kDouble), U = d.components.U(i).to(at::kDouble);
    const at::Tensor W = d.matrix(i).weight.value.to(at::kDouble);
    const at::Tensor h =
        d.sites[i].embedding ? at::embedding(V, clean.inputs[i]) : clean.inputs[i].to(at::kDouble).matmul(V);
    const at::Tensor whole = d.sites[i].embedding ? at::embedding(W.t(), clean.inputs[i])
                                                  : clean.inputs[i].to(at::kDouble).matmul(W.t());
    d.sites.columns(sources.h, i).copy_(h);
    sources.delta.push_back(whole - h.matmul(U));
  }
  return sources;
}

/// Several targets at once, each in a copy of the prompt of its own.
class Copies {
 public:
  Copies(const Decomposition& d, const at::Tensor& input, EdgeRule rule, const Sources& sources)
      : d_(d), input_(input), rule_(rule), sources_(sources), T_(positions_of(input)) {}

  std::vector<IncomingEdges> into(const std::vector<EdgeTarget>& targets) const {
    const at::AutoGradMode record(true);
    const auto R = static_cast<std::int64_t>(targets.size());
    const at::Tensor copies = input_.unsqueeze(0).repeat({R, 1});
    if (copies.is_floating_point()) copies.requires_grad_(true);
    FrozenExecutor frozen;
    CutExecutor cut(d_, rule_ == EdgeRule::complete ? &frozen : nullptr);
    const at::Tensor output = d_.target->forward(copies, cut);
    std::vector<IncomingEdges> edges(targets.size());
    at::Tensor total;
    for (std::int64_t r = 0; r < R; ++r) {
      const at::Tensor F = value_of(d_, targets[static_cast<std::size_t>(r)], input_, cut.reads, output, r);
      edges[static_cast<std::size_t>(r)].F = F.item<double>();
      total = total.defined() ? total + F : F;
    }
    std::vector<at::Tensor> asked;
    for (const at::Tensor& y : cut.writes) asked.push_back(y);
    if (cut.embedded.defined()) asked.push_back(cut.embedded);
    if (copies.is_floating_point()) asked.push_back(copies);
    for (const auto& [y, constant] : cut.constants) asked.push_back(y);
    // What runs behind all targets is no part of the graph that leads to them.
    std::vector<at::Tensor> gradients(asked.size());
    if (total.requires_grad())
      gradients = torch::autograd::grad({total}, asked, {}, /*retain_graph=*/false, /*create_graph=*/false,
                                        /*allow_unused=*/true);
    const at::NoGradGuard no_grad;
    for (std::size_t r = 0; r < edges.size(); ++r) {
      collect(cut, gradients, static_cast<std::int64_t>(r), edges[r]);
      const EdgeTarget& target = targets[r];
      if (!target.logit && d_.sites[subcomponent_at(target.which, d_.sites).site].embedding)
        edges[r].input[target.at] = edges[r].F;
    }
    return edges;
  }

 private:
  at::Tensor rows(const at::Tensor& gradient, std::int64_t r) const {
    return gradient.narrow(0, r * T_, T_).to(at::kDouble);
  }

  void collect(const CutExecutor& cut, const std::vector<at::Tensor>& gradients, std::int64_t r,
               IncomingEdges& edges) const {
    const auto L = static_cast<std::int64_t>(d_.sites.size());
    const at::TensorOptions options = sources_.h.options();
    edges.edge = at::zeros({T_, d_.sites.total_C()}, options);
    edges.delta = at::zeros({T_, L}, options);
    edges.bias = at::zeros({T_, L}, options);
    edges.input = at::zeros({input_.size(0)}, options);
    std::size_t next = 0;
    for (std::size_t i = 0; i < d_.sites.size(); ++i) {
      const at::Tensor& gradient = gradients[next++];
      if (!gradient.defined()) continue;
      const at::Tensor G = rows(gradient, r);
      const auto site = static_cast<std::int64_t>(i);
      d_.sites.columns(edges.edge, i)
          .copy_(G.matmul(d_.components.U(i).to(at::kDouble).t()) * d_.sites.columns(sources_.h, i));
      edges.delta.select(1, site).copy_((G * sources_.delta[i]).sum(1));
      const at::Tensor& bias = d_.matrix(i).bias.value;
      if (bias.defined()) edges.bias.select(1, site).copy_((G * bias.to(at::kDouble)).sum(1));
    }
    if (cut.embedded.defined()) {
      if (const at::Tensor& gradient = gradients[next++]; gradient.defined())
        edges.input.copy_((rows(gradient, r) * rows(cut.embedded.detach(), r)).sum(1));
    }
    if (input_.is_floating_point()) {
      if (const at::Tensor& gradient = gradients[next++]; gradient.defined())
        edges.input.copy_(gradient[r].to(at::kDouble) * input_.to(at::kDouble));
    }
    for (const auto& [y, constant] : cut.constants) {
      const at::Tensor& gradient = gradients[next++];
      if (gradient.defined())
        edges.constant += (rows(gradient, r) * constant.to(at::kDouble)).sum().item<double>();
    }
  }

  const Decomposition& d_;
  const at::Tensor& input_;
  EdgeRule rule_;
  const Sources& sources_;
  std::int64_t T_;
};

}  // namespace

std::string name_of(EdgeRule rule) { return rule == EdgeRule::published ? "published" : "complete"; }

void incoming_edges(const Decomposition& d, const at::Tensor& input, const std::vector<EdgeTarget>& targets,
                    EdgeRule rule, Lanes& lanes,
                    const std::function<void(std::size_t, const IncomingEdges&)>& visit,
                    const StopAsked& stop) {
  at::Tensor prompt = input.to(d.numerics.device);
  if (prompt.is_floating_point()) prompt = prompt.to(d.numerics.wide);
  const Sources sources = sources_of(d, prompt);
  const Copies copies(d, prompt, rule, sources);
  std::mutex one_at_a_time;
  in_chunks(targets.size(), lanes, stop, [&](std::size_t first, std::size_t end) {
    const std::vector<IncomingEdges> some = copies.into({targets.begin() + static_cast<std::ptrdiff_t>(first),
                                                         targets.begin() + static_cast<std::ptrdiff_t>(end)});
    const std::lock_guard lock(one_at_a_time);
    for (std::size_t i = 0; i < some.size(); ++i) visit(first + i, some[i]);
  });
}

}  // namespace vpd
