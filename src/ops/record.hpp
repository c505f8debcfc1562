#pragma once

// How a hand-written backward pass becomes a node of LibTorch's graph.

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

namespace vpd {

/// A node whose backward pass is `function(gradients, wanted, out)`: it gets dL/doutput of each output,
/// contiguous, undefined where nothing arrives, and, per input, whether its gradient is wanted, and leaves
/// one gradient per input in `out` (undefined where not wanted). It runs once, and not where nothing arrives.
template <class Function>
class RecordedNode final : public torch::autograd::Node {
 public:
  explicit RecordedNode(Function function, const char* name) : function_(std::move(function)), name_(name) {}

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    TORCH_CHECK(function_.has_value(), name_, " was differentiated twice");
    torch::autograd::variable_list out(num_outputs());
    bool any = false;
    for (at::Tensor& gradient : gradients) {
      if (gradient.defined()) any = true, gradient = gradient.contiguous();
    }
    if (any) {
      auto wanted = [this](std::size_t input) { return task_should_compute_output(input); };
      (*function_)(gradients, wanted, out);
    }
    function_.reset();  // what the forward pass saved goes at once
    return out;
  }
  void release_variables() override { function_.reset(); }
  std::string name() const override { return name_; }

 private:
  std::optional<Function> function_;
  const char* name_;
};

/// Makes `outputs` the results of a node over `inputs`. `needed` says whether the node has work of its own
/// (gradients of parameters) beside the inputs'. Records nothing where gradients are off or nobody wants
/// them.
template <class Function>
void record_all(torch::autograd::variable_list outputs, const char* name,
                const torch::autograd::variable_list& inputs, bool needed, Function function) {
  if (!at::GradMode::is_enabled()) return;
  for (const at::Tensor& input : inputs) needed = needed || input.requires_grad();
  if (!needed) return;
  std::shared_ptr<RecordedNode<Function>> node(new RecordedNode<Function>(std::move(function), name),
                                               torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(inputs));
  torch::autograd::set_history(outputs, node);
}

/// The same of one result, for a `function(gradient, wanted, out)`.
template <class Function>
at::Tensor record(at::Tensor out, const char* name, const torch::autograd::variable_list& inputs, bool needed,
                  Function function) {
  record_all({out}, name, inputs, needed,
             [function = std::move(function)](const torch::autograd::variable_list& gradients,
                                              const auto& wanted, torch::autograd::variable_list& results) {
               function(gradients[0], wanted, results);
             });
  return out;
}

}  // namespace vpd
