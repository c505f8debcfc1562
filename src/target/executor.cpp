#include "vpd/target/executor.hpp"

#include "vpd/base/error.hpp"

namespace vpd {

at::Tensor Executor::linear(const Matrix& matrix, const at::Tensor& x) {
  return vpd::linear(x, matrix.weight, matrix.bias);
}

at::Tensor Executor::embedding(const Matrix& matrix, const at::Tensor& tokens) {
  return vpd::embedding(tokens, matrix.table());
}

at::Tensor Executor::attention(const AttentionCall& call) {
  return vpd::attention(call.q, call.k, call.v, call.B, call.heads, call.key_heads, call.causal);
}

at::Tensor Executor::norm(const NormCall& call, const at::Tensor& x) {
  if (call.bias) return layer_norm(x, call.weight->value, call.bias->value, call.eps, call.output);
  return rms_norm(x, *call.weight, call.eps, call.output);
}

at::Tensor Executor::activation(Activation kind, const at::Tensor& x) {
  VPD_CHECK(kind != Activation::silu, UsageError, "activation(): silu has two inputs: call gated()");
  return kind == Activation::relu ? vpd::relu(x) : vpd::gelu(x, kind == Activation::gelu_tanh);
}

at::Tensor Executor::gated(const at::Tensor& gate, const at::Tensor& up) { return vpd::swiglu(gate, up); }

AddedNorm Executor::add_norm(const NormCall& call, const at::Tensor& x, const at::Tensor& added) {
  if (!call.bias) return add_rms_norm(x, added, *call.weight, call.eps, call.output);
  const at::Tensor sum = x + added;
  return {sum, norm(call, sum)};
}

}  // namespace vpd
