// Bytes are written against src/interpretation: harvest_state.hpp, what harvest_files.cpp copies to save and
// to load a state, and what harvest_tables.cpp makes of it.

#include "vpd/cost/harvest.hpp"

#include <algorithm>
#include <cmath>

#include "operations.hpp"

namespace vpd {
namespace {

/// A slot of CountMap, which is two thirds full.
constexpr std::int64_t map_entry = 24;
/// A vector that grew is three quarters full, and a tensor of the same numbers is made of it.
std::int64_t copied(std::int64_t bytes) { return bytes * 4 / 3 + bytes; }

/// Different (token, sign, half of the rows) that a subcomponent meets: of each token both halves.
std::int64_t keys(const HarvestShape& shape, double tokens_a_firing, std::int64_t V) {
  const double alive = static_cast<double>(std::max<std::int64_t>(1, shape.alive));
  const double seen = static_cast<double>(shape.positions) * shape.l0 * tokens_a_firing / alive;
  return 2 * shape.alive * static_cast<std::int64_t>(std::min(std::pow(seen, 0.6), static_cast<double>(V)));
}

}  // namespace

std::int64_t HarvestCost::memory_bytes() const {
  return weight_bytes + table_bytes + std::max(batch_bytes, writing_bytes);
}
std::int64_t HarvestCost::merge_memory_bytes() const {
  return weight_bytes + table_bytes + std::max(merging_bytes, writing_bytes);
}

HarvestCost predict_harvest(const StepShape& w, const HarvestShape& shape) {
  const std::int64_t N = shape.rows * w.T, columns = w.sites.total_C(), alive = shape.alive;
  const bool says_tokens = w.target.features == 0;
  const std::int64_t V = says_tokens ? w.target.output_width : w.target.features;
  HarvestCost cost;
  double operations = clean_forward(w, N) + w.importance_cost(N).forward;
  std::int64_t read = 0, read_weights = 0;  // entries a position that the clean pass keeps; of V
  for (const Site& site : w.sites) {
    read += site.embedding ? 1 : site.d_in;
    read_weights += site.d_in * site.C;
    if (!site.embedding)
      operations +=
          2.0 * static_cast<double>(N) * static_cast<double>(site.d_in) * static_cast<double>(site.C);
  }
  cost.operations = operations / static_cast<double>(N);
  cost.weight_bytes =
      4 * (w.target.parameters + w.components.count() + w.ci_parameters.count() + read_weights);

  const bool all_tokens = says_tokens && shape.output_tokens == 0;
  const std::int64_t said = !says_tokens ? 0 : all_tokens ? 2 * V : V + 3 * shape.output_tokens;
  // z, both importances and activations; inputs of the sites; logits, and the probabilities of all tokens.
  // A firing is listed by position and by column, and lists that grow have room to spare.
  cost.batch_bytes = 4 * (N * (4 * columns + read + said) + w.importance_cost(N).temporaries) +
                     static_cast<std::int64_t>(80.0 * shape.l0 * static_cast<double>(N));

  const std::int64_t input = keys(shape, 1.0, V),
                     output = all_tokens || !says_tokens
                                  ? 0
                                  : keys(shape, static_cast<double>(shape.output_tokens), V);
  const std::int64_t dense = all_tokens ? alive * V : 0, mass = 8 * 4 * dense;  // two signs and two halves
  const std::int64_t pairs = alive * columns / 2, together = pairs / 4;  // a quarter of them fires together
  const std::int64_t kept = alive * (2 * shape.examples + shape.strongest), width = 2 * shape.window + 1;
  const std::int64_t example = 12 * width + 40;
  const std::int64_t plain = 1000 * columns;  // counts, sums, histograms of a column
  cost.table_bytes =
      plain + 4 * pairs + map_entry * (input + output) + mass + kept * (example + 160) + 16 * V;

  const std::int64_t lists = 8 * together + 16 * (input + output) + kept * example;
  const std::int64_t state = plain + lists + mass;
  // TokenTable has 36 bytes of a token of a column; masses of all tokens are three of float32.
  const std::int64_t tables = copied(18 * (input + output)) + 12 * dense + copied(kept * example) +
                              copied(8 * std::min(2 * together, 100 * alive));
  cost.writing_bytes = std::max(copied(lists) + mass, tables);
  cost.merging_bytes = cost.table_bytes + copied(lists) + mass;
  // Of each state the one before is kept, until the next is complete.
  cost.disk_bytes = plain + 20 * (input / 2) + 16 * (output / 2) + 12 * dense + 8 * 100 * alive +
                    kept * (8 * width + 21) + 240 * columns + 3 * state;
  return cost;
}

}  // namespace vpd
