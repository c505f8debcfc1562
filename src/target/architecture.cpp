#include "vpd/target/architecture.hpp"

#include <utility>

namespace vpd {

void Architecture::add_stage(std::vector<MatrixShape> shapes, std::int64_t kept,
                             std::optional<AttentionShape> attention) {
  stages.push_back({.first = matrices.size(), .count = shapes.size(), .kept = kept, .attention = attention});
  for (MatrixShape& shape : shapes) matrices.push_back(std::move(shape));
}

}  // namespace vpd
