// Operations of a training step, part by part. Written against src/training/step_impl.hpp and the backward
// passes of src/decomposition/masked_executor.cpp and src/ops/differentiable.cpp: each product there is a
// line here.

#include "operations.hpp"

#include <algorithm>

#include "term_passes.hpp"
#include "vpd/cost/step_shape.hpp"
#include "vpd/training/part_names.hpp"

namespace vpd {
namespace {

double product(std::int64_t rows, std::int64_t inner, std::int64_t columns) {
  return 2.0 * static_cast<double>(rows) * static_cast<double>(inner) * static_cast<double>(columns);
}

/// Scores and mixing: two products for each of N queries with the keys they see.
double attention(std::int64_t N, double keys, std::int64_t width) {
  return 4.0 * static_cast<double>(N) * keys * static_cast<double>(width);
}

/// A stage's attention; 0 where it has none.
double attention_of(const Stage& stage, std::int64_t N, std::int64_t T) {
  if (!stage.attention) return 0.0;
  const auto positions = static_cast<double>(T);
  const double keys = stage.attention->causal ? 0.5 * (positions + 1.0) : positions;
  return attention(N, keys, stage.attention->width());
}

/// Entries of the input that take part in a product: none of an embedding's, which is read row by row.
std::int64_t read_width(const MatrixShape& matrix) { return matrix.embedding ? 0 : matrix.d_in; }

/// One masked pass of `kind` over N positions in which `masked_only` alone (-1: every site) is masked.
double masked_pass(const StepShape& w, std::int64_t N, const PassKind& kind, int masked_only) {
  double operations = 0.0;
  bool tracked = false;  // whether gradients reach the input of this stage
  bool next = false;
  const double share =
      share_of_positions(kind, static_cast<std::int64_t>(w.sites.size()), N, w.numerics.device.is_cpu());
  for (std::size_t s = w.first_stage(); s < w.target.stages.size(); ++s) {
    const Stage& stage = w.target.stages[s];
    tracked = next;
    operations += attention_of(stage, N, w.T) * (kind.backward && tracked ? 3.0 : 1.0);
    for (std::size_t i = stage.first; i < stage.first + stage.count; ++i) {
      const MatrixShape& matrix = w.target.matrices[i];
      const int site = w.site_of(i);
      const bool head = w.target.has_head && i + 1 == w.target.matrices.size();
      if (kind.hidden_acts && head && site < 0) continue;  // nobody asks for logits
      const std::int64_t positions = head && site < 0 ? w.compared_of(N) : N;
      const double whole = product(positions, read_width(matrix), matrix.d_out);
      if (site < 0 || (masked_only >= 0 && site != masked_only)) {
        operations += whole;                                // x Wᵀ
        if (kind.backward && tracked) operations += whole;  // dy W
        continue;
      }
      const double rows = matrix.embedding ? 1.0 : share;
      const double through_V = rows * product(N, read_width(matrix), w.C_of(i)),
                   through_U = rows * product(N, w.C_of(i), matrix.d_out);
      operations += through_V + through_U + (kind.weight ? whole : 0.0);
      if (!kind.backward) continue;
      next = true;
      operations += through_U;                               // dy Uᵀ
      if (kind.trains) operations += through_U + through_V;  // dU, dV
      if (tracked) operations += through_V;                  // dh Vᵀ
      if (kind.weight && (tracked || (kind.sources && kind.delta))) operations += whole;
    }
  }
  return operations;
}

/// The clean forward again, back from the output, and both products of every subcomponent's attribution.
double attributions(const StepShape& w, std::int64_t N) {
  double operations = 0.0;
  bool tracked = false, next = false;
  for (std::size_t s = w.first_stage(); s < w.target.stages.size(); ++s) {
    const Stage& stage = w.target.stages[s];
    tracked = next;
    operations += attention_of(stage, N, w.T) * (tracked ? 3.0 : 1.0);
    for (std::size_t i = stage.first; i < stage.first + stage.count; ++i) {
      const MatrixShape& matrix = w.target.matrices[i];
      operations += product(N, read_width(matrix), matrix.d_out) * (tracked ? 2.0 : 1.0);
      if (w.site_of(i) < 0) continue;
      operations += product(N, read_width(matrix), w.C_of(i)) + product(N, w.C_of(i), matrix.d_out);
      next = true;
    }
  }
  return operations;
}

double passes(const StepShape& w, std::int64_t N, const PassKind& kind) {
  if (!kind.layerwise) return masked_pass(w, N, kind, -1);
  double operations = 0.0;
  for (std::size_t i = 0; i < w.sites.size(); ++i) operations += masked_pass(w, N, kind, static_cast<int>(i));
  return operations;
}

}  // namespace

double clean_forward(const StepShape& w, std::int64_t N) {
  double operations = 0.0;
  for (const Stage& stage : w.target.stages) operations += attention_of(stage, N, w.T);
  for (std::size_t i = 0; i < w.target.matrices.size(); ++i) {
    const MatrixShape& matrix = w.target.matrices[i];
    const bool head = w.target.has_head && i + 1 == w.target.matrices.size() && w.site_of(i) < 0;
    operations += product(head ? w.compared_of(N) : N, read_width(matrix), matrix.d_out);
  }
  return operations;
}

namespace {

/// Of a step's rows of one kind, whose terms alone `w` has. A term counts as much as the part of the run in
/// which it makes passes.
std::vector<OperationCount> count_stream(const StepShape& w) {
  const std::int64_t N = w.B() * w.T;
  const double clean = clean_forward(w, N);
  const CausalImportanceCost importance = w.importance_cost(N);
  std::vector<OperationCount> parts = {{step_part::clean_forward, clean},
                                       {step_part::importance_forward, importance.forward},
                                       {step_part::importance_backward, importance.backward}};
  std::int64_t repeated = 0;  // clean forwards and causal importances made again for micro-batches
  const bool micro_batches = w.micro() < w.B();
  if (micro_batches && needs_whole_batch(w.objective)) repeated = 1;
  for (const TermPlan& term : w.objective) {
    const std::int64_t steps = std::max<std::int64_t>(w.training.steps, 1);
    const double awake =
        static_cast<double>(steps_awake(term.coefficient, steps, steps)) / static_cast<double>(steps);
    if (std::holds_alternative<FaithfulnessPlan>(term.what)) {
      double products = 0.0;
      // In bfloat16 each is made of several products of parts; counted is what is wanted.
      for (const Site& site : w.sites) products += product(site.d_in, site.C, site.d_out);
      parts.push_back({term.label, awake * products * (term.coefficient.largest() != 0.0 ? 3.0 : 1.0)});
      continue;
    }
    const std::optional<TermPasses> term_passes = passes_of(term, w.delta_component);
    if (!term_passes) continue;
    if (term.masks<LargestMasks>())
      parts.push_back({step_part::attributions(term.label), attributions(w, N)});
    if (term_passes->ascents > 0) {
      parts.push_back({step_part::ascents(term.label), awake * static_cast<double>(term_passes->ascents) *
                                                           passes(w, N, term_passes->ascent)});
      if (micro_batches && term_passes->shared) repeated += term_passes->ascents;
    }
    parts.push_back(
        {term.label, awake * static_cast<double>(term_passes->samples) * passes(w, N, term_passes->loss)});
  }
  if (repeated > 0) {
    OperationCount& part = parts.emplace_back();
    part.part = "clean forward and causal importance again, micro-batches";
    part.operations = static_cast<double>(repeated) * (clean + importance.forward);
  }
  return parts;
}

}  // namespace

std::vector<OperationCount> count_operations(const StepShape& w) {
  StepShape target = w;
  target.objective = terms_of(w.objective, TermRows::target);
  std::vector<OperationCount> parts = count_stream(target);
  if (w.background_B == 0) return parts;
  for (OperationCount& part : count_stream(w.background_step())) {
    const bool of_a_term = std::any_of(w.objective.begin(), w.objective.end(), [&](const TermPlan& term) {
      return part.part.starts_with(term.label);
    });
    if (!of_a_term) part.part += ", background";
    parts.push_back(std::move(part));
  }
  return parts;
}

double total(const std::vector<OperationCount>& parts) {
  double sum = 0.0;
  for (const OperationCount& part : parts) sum += part.operations;
  return sum;
}

}  // namespace vpd
