#pragma once

#include <functional>
#include <vector>

#include "vpd/target/target.hpp"

namespace vpd {

/// What a model whose norms are RMSNorm asks of its executor.
struct RmsNorms {
  double eps = 0.0;
  at::ScalarType output = at::kFloat;

  NormCall at(std::size_t block, NormPlace place, const Parameter& weight) const {
    return {.block = block, .place = place, .weight = &weight, .bias = nullptr, .eps = eps, .output = output};
  }
  /// That before block b, its member `first`, or the one behind all blocks.
  template <class Block>
  std::function<NormCall(std::size_t)> before(const std::vector<Block>& blocks, Parameter Block::*first,
                                              const Parameter& last) const {
    return [*this, &blocks, first, &last](std::size_t b) {
      return b < blocks.size() ? at(b, NormPlace::attention, blocks[b].*first) : at(b, NormPlace::last, last);
    };
  }
};

/// The residual stream of a model whose blocks read its norm, with the norm that comes next made where
/// something is added: both in one pass.
class ResidualStream {
 public:
  /// first_norm(b): the norm before block b, or behind the last one. `embed` gives the stream at the input.
  ResidualStream(Executor& executor, const PassStart& start,
                 std::function<NormCall(std::size_t block)> first_norm,
                 const std::function<at::Tensor()>& embed)
      : executor_(executor), first_norm_(std::move(first_norm)) {
    stream_.sum = start.residual.defined() ? start.residual : executor.residual(0, embed());
    stream_.norm = executor_.norm(first_norm_(start.first_block()), stream_.sum);
  }

  const at::Tensor& norm() const { return stream_.norm; }

  void add(const at::Tensor& added, const NormCall& next) {
    stream_ = executor_.add_norm(next, stream_.sum, added);
  }

  /// The last addition of block b.
  void end_block(std::size_t b, const at::Tensor& added) {
    const NormCall next = first_norm_(b + 1);
    add(added, next);
    const at::Tensor seen = executor_.residual(b + 1, stream_.sum);
    if (seen.is_same(stream_.sum)) return;
    stream_ = {seen, executor_.norm(next, seen)};
  }

 private:
  Executor& executor_;
  std::function<NormCall(std::size_t)> first_norm_;
  AddedNorm stream_;
};

}  // namespace vpd
