#include "vpd/cost/harvest.hpp"

#include <algorithm>

#include "operations.hpp"

namespace vpd {

HarvestCost predict_harvest(const StepShape& w, const HarvestShape& shape) {
  const std::int64_t N = shape.rows * w.T, columns = w.sites.total_C();
  const std::int64_t V = w.target.output_width, seen = std::min(shape.positions, std::int64_t{1} << 40);
  HarvestCost cost;
  double operations = clean_forward(w, N) + w.importance_cost(N).forward;
  for (const Site& site : w.sites) {
    if (!site.embedding)
      operations +=
          2.0 * static_cast<double>(N) * static_cast<double>(site.d_in) * static_cast<double>(site.C);
  }
  cost.operations = operations / static_cast<double>(N);

  std::int64_t read = 0;  // entries a position that the clean pass keeps
  for (const Site& site : w.sites) read += site.embedding ? 1 : site.d_in;
  const std::int64_t said = shape.output_tokens > 0 ? V + 3 * shape.output_tokens : 2 * V;
  // z, lower, activations and their copies on the host; inputs of the sites; the output and its softmax.
  cost.batch_bytes = 4 * N * (4 * columns + read + said) + 4 * w.importance_cost(N).temporaries;

  // A subcomponent meets a token at most once a firing.
  const double firings = static_cast<double>(seen) * shape.l0;
  const auto distinct = [&](double tokens_a_firing) {
    return static_cast<std::int64_t>(
        std::min(firings * tokens_a_firing, static_cast<double>(shape.alive) * static_cast<double>(V)));
  };
  const std::int64_t input = distinct(1.0), output = distinct(static_cast<double>(shape.output_tokens));
  const std::int64_t kept = shape.alive * (2 * shape.examples + shape.strongest);
  const std::int64_t width = 2 * shape.window + 1;
  const std::int64_t pairs = shape.alive * columns / 2;
  const std::int64_t dense = shape.output_tokens > 0 ? 0 : shape.alive * V;
  cost.table_bytes = 4 * pairs + 32 * (input + output) + 8 * 4 * dense + kept * width * 12;
  cost.disk_bytes = 20 * input + 16 * output + 12 * dense + 8 * 100 * shape.alive + kept * width * 8 +
                    2 * (8 * pairs / 4 + 16 * (input + output) + 8 * 4 * dense + kept * width * 12);
  return cost;
}

}  // namespace vpd
