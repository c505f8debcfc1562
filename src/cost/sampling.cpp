#include "vpd/cost/sampling.hpp"

#include <algorithm>

namespace vpd {

double operations_of_token(const Architecture& target, std::int64_t seen) {
  double operations = 0.0;
  for (const MatrixShape& matrix : target.matrices) {
    if (!matrix.embedding)
      operations += 2.0 * static_cast<double>(matrix.d_in) * static_cast<double>(matrix.d_out);
  }
  for (const Stage& stage : target.stages) {
    if (stage.attention)
      operations += 4.0 * static_cast<double>(seen) * static_cast<double>(stage.attention->width());
  }
  return operations;
}

SamplingCost predict_sampling(const Architecture& target, const SamplingShape& shape) {
  const std::int64_t B = std::min(shape.batch, shape.rows), known = shape.length - 1;
  SamplingCost cost;
  // Attention is linear in what is seen, so that all tokens together see `known` times the mean.
  const double first = operations_of_token(target, 1), last = operations_of_token(target, known);
  cost.operations = static_cast<double>(shape.rows) * static_cast<double>(known) * 0.5 * (first + last);
  cost.weight_bytes = 4 * target.parameters;
  for (const Stage& stage : target.stages) {
    if (stage.attention) cost.cache_bytes += 2 * 4 * B * known * stage.attention->key_width();
  }
  // float32, float64, and its softmax.
  cost.batch_bytes = (4 + 8 + 8) * B * target.output_width;
  const std::int64_t tokens = shape.rows * shape.length;
  const bool wide = target.output_width > (std::int64_t{1} << 16);
  cost.file_bytes = tokens * (wide ? 4 : 2);
  cost.tokens_bytes = 4 * tokens + (wide ? 0 : cost.file_bytes);  // kept as uint32
  return cost;
}

}  // namespace vpd
