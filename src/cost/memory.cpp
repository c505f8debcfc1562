// What a training step and an evaluation hold, buffer by buffer, at each of the moments that can be the
// largest. Written against src/training/step_impl.hpp, src/evaluation and what each operation keeps for its
// backward pass (src/ops/differentiable.cpp, src/decomposition/masked_executor.cpp).

#include <algorithm>

#include <ATen/ATen.h>

#include "term_passes.hpp"
#include "vpd/adversary/persistent.hpp"
#include "vpd/cost/step_shape.hpp"
#include "vpd/evaluation/evaluate.hpp"
#include "vpd/ops/differentiable.hpp"
#include "vpd/ops/head_kl.hpp"
#include "vpd/passes/sources.hpp"
#include "vpd/training/step.hpp"

namespace vpd {
namespace {

using Parts = std::vector<MemoryPart>;

Parts largest_of(const std::vector<Parts>& moments) {
  return *std::max_element(moments.begin(), moments.end(),
                           [](const Parts& a, const Parts& b) { return total(a) < total(b); });
}

class Memory {
 public:
  /// Of work on `rows` rows of T positions at once.
  Memory(const StepShape& w, std::int64_t rows, std::int64_t T, ComparedPositions compared)
      : w_(w),
        T_(T),
        N_(rows * T),
        P_(compared == ComparedPositions::last ? rows : N_),
        compute_(static_cast<std::int64_t>(c10::elementSize(w.numerics.compute))),
        wide_(static_cast<std::int64_t>(c10::elementSize(w.numerics.wide))) {}

  /// Beside what is there all along.
  Parts training() const {
    std::vector<Parts> moments = {importance_backward(), faithfulness()};
    for (const TermPlan& term : w_.objective) {
      const std::optional<TermPasses> passes = passes_of(term, w_.delta_component);
      if (!passes) continue;
      moments.push_back(masked_pass(kept_of_the_batch(), passes->loss));
      if (passes->ascents > 0) moments.push_back(masked_pass(kept_of_the_batch(), passes->ascent));
      if (!term.masks<LargestMasks>()) continue;
      moments.push_back(attributions());
      moments.push_back(largest_attributions());
    }
    if (w_.training.faithfulness_warmup.steps > 0) moments.push_back(faithfulness_warm_up());
    return largest_of(moments);
  }

  /// Beside what is there all along. Of metrics of toy models, which are small, nothing is counted.
  Parts evaluation() const {
    bool outputs = false;
    std::vector<std::pair<PassKind, FreshScope>> attacks;
    std::vector<Parts> beside_the_batch = {
        {{"evaluation: temporaries of the causal-importance function", importance_temporaries()}}};
    for (const MetricConfig& metric : w_.evaluation.metrics) {
      if (!is_fast(metric) && !w_.evaluation.slow_every) continue;
      if (std::holds_alternative<CeKlMetric>(metric)) beside_the_batch.push_back(cross_entropies());
      if (const auto* pgd = std::get_if<PgdMetric>(&metric))
        attacks.push_back({{.trains = false, .sources = true, .weight = w_.delta_component}, pgd->scope});
      if (std::holds_alternative<HiddenActsMetric>(metric)) {
        outputs = true;
        beside_the_batch.push_back({{"evaluation: outputs of sites under masks, and temporaries",
                                     2 * site_outputs() + temporaries()}});
      }
      if (!std::holds_alternative<LossesMetric>(metric)) continue;
      outputs = outputs || compares_sites(w_.objective);
      for (const TermPlan& term : w_.objective) {
        const AdversaryConfig* adversary = term.adversary();
        if (!adversary) continue;
        attacks.emplace_back(passes_of(term, w_.delta_component)->ascent,
                             evaluation_attack(*adversary).scope);
      }
    }
    for (const auto& [kind, scope] : attacks) {
      const std::int64_t rows = scope == FreshScope::per_datapoint ? N_ : 1;
      beside_the_batch.push_back(masked_pass(
          {{"evaluation: an attack's sources and their gradients", fresh_sources(rows) * wide_}}, kind));
    }
    std::vector<Parts> moments;
    for (const Parts& others : beside_the_batch) {
      Parts& moment = moments.emplace_back(Parts{
          {"evaluation: clean pass", clean_pass(outputs)},
          {"evaluation: causal importances before and after squashing", pre_activations() + importances()}});
      moment.insert(moment.end(), others.begin(), others.end());
    }
    return largest_of(moments);
  }

  Parts kept_all_along() const {
    Parts parts;
    std::int64_t target = w_.target.parameters * wide_;
    if (two_types()) {
      for (const MatrixShape& matrix : w_.target.matrices)
        target += matrix.embedding ? 0 : matrix.d_in * matrix.d_out * compute_;
    }
    parts.push_back({"target", target});
    parts.push_back({"parameters", trained() * (wide_ + (two_types() ? compute_ : 0))});
    const std::int64_t of_a_lane = gradients_of_a_lane(w_.components, w_.ci_parameters, *w_.ci);
    parts.push_back({w_.lanes > 1 ? "gradients, one buffer for each lane that needs its own" : "gradients",
                     (trained() + (w_.lanes - 1) * of_a_lane) * wide_});
    parts.push_back({"optimizer moments", 2 * trained() * wide_});
    if (largest_masks(w_.objective)) {
      parts.push_back({"attributions of the batch", w_.B() * w_.T * w_.sites.total_C() * wide_});
    }
    std::int64_t bytes = adversaries();
    if (w_.background_B > 0) {
      const StepShape background = w_.background_step();
      bytes += Memory(background, background.B(), background.T, background.compared).adversaries();
    }
    if (bytes > 0) parts.push_back({"adversaries: sources, moments and gradients that are kept", bytes});
    return parts;
  }

 private:
  bool two_types() const { return w_.numerics.compute != w_.numerics.wide; }
  std::int64_t trained() const { return w_.components.flat().numel() + w_.ci_parameters.flat().numel(); }
  bool keeps_probabilities() const {
    return attention_keeps_probabilities(w_.numerics.device, w_.numerics.compute, T_);
  }
  /// Of one position: its probabilities with all positions, in each head.
  std::int64_t probabilities(std::int64_t heads) const { return keeps_probabilities() ? heads * T_ : 0; }
  std::int64_t importances() const { return N_ * w_.sites.total_C() * wide_; }
  std::int64_t pre_activations() const { return N_ * w_.sites.total_C() * compute_; }
  std::int64_t logits() const { return P_ * w_.target.output_width * compute_; }

  /// A frozen head's logits exist a chunk at a time, beside the gradient of what it reads.
  std::int64_t masked_logits() const {
    const Architecture& target = w_.target;
    const bool chunks =
        target.has_head && target.divergence == Divergence::kl && w_.site_of(target.matrices.size() - 1) < 0;
    // Of a mean squared error its gradient exists beside them.
    if (!chunks) return (target.divergence == Divergence::mse ? 2 : 1) * logits();
    const std::int64_t rows =
        std::min(P_, head_kl_rows(w_.numerics.device, w_.numerics.compute, target.output_width));
    return rows * target.output_width * compute_ + P_ * target.matrices.back().d_in * compute_;
  }

  /// What all sites give.
  std::int64_t site_outputs() const {
    std::int64_t width = 0;
    for (const Site& site : w_.sites) width += site.d_out;
    return N_ * width * compute_;
  }

  /// Entries of a fresh adversary's sources, their gradient, and each lane's.
  std::int64_t fresh_sources(std::int64_t rows) const {
    return rows * make_layout(w_.sites, 1, 1).columns * (2 + w_.lanes);
  }

  std::int64_t adversaries() const {
    const std::int64_t columns = make_layout(w_.sites, 1, 1).columns;
    std::int64_t bytes = 0;
    for (const TermPlan& term : w_.objective) {
      const AdversaryConfig* adversary = term.adversary();
      if (!adversary || (w_.background_B > 0 && term.rows == TermRows::background)) continue;
      if (const auto* fresh = std::get_if<FreshAdversaryConfig>(adversary))
        bytes += fresh_sources(fresh->scope == FreshScope::per_datapoint ? w_.B() * w_.T : 1) * wide_;
      std::int64_t rows = 0, copies = 0, width = wide_;
      if (const auto* persistent = std::get_if<PersistentAdversaryConfig>(adversary)) {
        const bool pooled = persistent->scope == PersistentScope::pooled;
        const bool local = pooled || persistent->scope == PersistentScope::per_position;
        const std::int64_t each = persistent->shared_across_positions || pooled ? 1 : w_.T;
        rows = (local ? w_.B() : persistent->sources.value_or(1)) * each;
        const std::int64_t held =
            1 + (std::holds_alternative<AdamAscentConfig>(persistent->optimizer) ? 2 : 0);
        std::int64_t gradients = local ? 1 : w_.lanes;
        if (climbs_in_pass(*persistent, term.reconstruction()->routing)) gradients = 0;
        copies = held + gradients;
        if (persistent->storage == SourceStorage::compact) width = 2;
        if (pooled) copies += held * persistent->sources.value();
        // The sigmoid of unbounded values, made by each lane in every pass.
        if (persistent->parametrization == SourceParametrization::sigmoid) copies += local ? 1 : w_.lanes;
      }
      bytes += rows * columns * copies * width;
    }
    return bytes;
  }

  /// Logits, what the sites read and, where a term compares it, what they gave; each input tensor once
  /// however many sites read it.
  std::int64_t clean_pass(bool outputs) const {
    std::int64_t width = 0;
    for (const Stage& stage : w_.target.stages) {
      if (C_of(stage, every_site) > 0) width += width_kept_of(stage);
    }
    // The residual stream from which masked passes begin.
    const std::int64_t stream =
        w_.first_stage() > 0 ? w_.target.matrices[w_.target.stages.front().first].d_out : 0;
    return N_ * (width * compute_ + stream * wide_) + logits() + (outputs ? site_outputs() : 0);
  }

  /// What the causal-importance function keeps for its backward pass, and the most that pass makes beside it,
  /// in all lanes.
  std::int64_t importance_graph() const {
    std::int64_t inner = 0;  // activations of embeddings, made for the function to read
    for (const Site& site : w_.sites) inner += site.embedding ? site.C : 0;
    return w_.importance_cost(N_).kept + N_ * inner * compute_;
  }
  std::int64_t importance_temporaries() const {
    const std::int64_t of_lane = (N_ + w_.lanes - 1) / w_.lanes;
    const CausalImportanceCost cost = w_.importance_cost(of_lane);
    return w_.lanes * (cost.temporaries + (w_.lanes > 1 ? cost.deferred : 0)) + pre_activations();
  }

  Parts kept_of_the_batch() const {
    const bool outputs = compares_sites(w_.objective);
    return {{"clean pass: logits and inputs of sites", clean_pass(outputs)},
            {"causal-importance function: activations", importance_graph()},
            {"causal importances and their gradient", pre_activations() + importances()}};
  }

  Parts importance_backward() const {
    Parts parts = kept_of_the_batch();
    parts.push_back({"backward pass of the causal-importance function", importance_temporaries()});
    return parts;
  }

  /// The difference from the largest weight, and its squares, in every lane; in bfloat16 three parts of V and
  /// U, and what they leave over.
  MemoryPart differences() const {
    std::int64_t largest = 0;
    for (const Site& site : w_.sites) {
      const std::int64_t parts = two_types() ? 10 * site.C * std::max(site.d_in, site.d_out) : 0;
      largest = std::max(largest, 2 * site.d_in * site.d_out * wide_ + parts);
    }
    return {"faithfulness: differences from the weights", w_.lanes * largest};
  }

  Parts faithfulness() const {
    Parts parts = kept_of_the_batch();
    parts.push_back(differences());
    return parts;
  }

  /// Before the first batch; the moments are gone after it.
  Parts faithfulness_warm_up() const {
    return {{"optimizer moments of the faithfulness warm-up", 2 * w_.components.flat().numel() * wide_},
            differences()};
  }

  /// Beside `parts`.
  Parts masked_pass(Parts parts, const PassKind& kind) const {
    if (kind.backward) parts.push_back({"masked pass: activations", activations(kind)});
    if (kind.hidden_acts) {
      parts.push_back({"masked pass: outputs of sites and their gradients", 2 * site_outputs()});
    } else {
      // Of a squared error all logits exist, and their gradient beside them.
      parts.push_back({"masked pass: logits", kind.squared_error ? 2 * logits() : masked_logits()});
    }
    parts.push_back({"masked pass: temporaries of the largest site", temporaries()});
    return parts;
  }

  /// Importances rounded or set to 0, all logits under masks, and a part of them twice in float32.
  Parts cross_entropies() const {
    constexpr std::int64_t most_at_once = std::int64_t{1} << 26;
    const std::int64_t all = N_ * w_.target.output_width, at_once = std::min(all, w_.lanes * most_at_once);
    return {{"evaluation: importances in place of a batch's own", importances()},
            {"evaluation: logits under masks, and a part of them in float32",
             logits() + temporaries() + 2 * at_once * wide_}};
  }

  /// What the target's own operations keep, its logits and their gradient, and the scores of a site.
  Parts attributions() const {
    Parts parts = kept_of_the_batch();
    parts.push_back({"attributions: activations", activations({}, /*inner=*/false)});
    parts.push_back({"attributions: logits and their gradient", 2 * logits()});
    parts.push_back({"attributions: temporaries of the largest site", temporaries()});
    return parts;
  }

  /// On a CPU LibTorch orders them beside their places, 16 bytes each; on CUDA it goes through them by
  /// digits.
  Parts largest_attributions() const {
    Parts parts = kept_of_the_batch();
    const std::int64_t all = w_.B() * w_.T * w_.sites.total_C();
    if (w_.numerics.device.is_cpu()) parts.push_back({"attributions: the largest of all", 16 * all});
    return parts;
  }

  static constexpr int every_site = -1;

  /// Of what a stage's matrices read; tokens count for nothing.
  std::int64_t width_kept_of(const Stage& stage) const {
    const MatrixShape& matrix = w_.target.matrices[stage.first];
    return matrix.embedding ? 0 : matrix.d_in;
  }

  /// Σ C of the stage's masked sites: all of them, or `masked_only`.
  std::int64_t C_of(const Stage& stage, int masked_only) const {
    std::int64_t sum = 0;
    for (std::size_t i = stage.first; i < stage.first + stage.count; ++i) {
      if (masked_only == every_site || w_.site_of(i) == masked_only) sum += w_.C_of(i);
    }
    return sum;
  }

  /// Queries, keys and values as attention saw them, what it gave, and its probabilities. LibTorch's takes
  /// keys and values repeated to the number of query heads.
  std::int64_t kept_by(const AttentionShape& attention) const {
    const std::int64_t keys = keeps_probabilities() ? attention.key_width() : attention.width();
    return 2 * attention.width() + 2 * keys + probabilities(attention.heads);
  }

  /// Entries a position that a masked pass keeps for its backward pass; `inner`: the share of positions of
  /// which x V of each site is kept too.
  std::int64_t kept_width(int masked_only, double inner) const {
    std::int64_t width = 0;
    bool tracked = false;  // whether gradients flow from here on
    for (const Stage& stage : w_.target.stages) {
      if (tracked) width += stage.kept + (stage.attention ? kept_by(*stage.attention) : 0);
      const std::int64_t C = C_of(stage, masked_only);
      if (C == 0) continue;
      const bool kept_by_attention = tracked && stage.attention;
      width += static_cast<std::int64_t>(inner * static_cast<double>(C)) +
               (kept_by_attention ? 0 : width_kept_of(stage));
      tracked = true;
    }
    return width;
  }

  /// With layerwise routing each site has a pass of its own, one after the other.
  std::int64_t activations(const PassKind& kind, bool inner = true) const {
    const auto L = static_cast<std::int64_t>(w_.sites.size());
    const double share = inner ? share_of_positions(kind, L, N_, w_.numerics.device.is_cpu()) : 0.0;
    std::int64_t width = 0;
    if (kind.layerwise) {
      for (int i = 0; i < L; ++i) width = std::max(width, kept_width(i, share));
    } else {
      width = kept_width(every_site, share);
    }
    const std::int64_t routing = 1 + (kind.drawn ? 8 : 0);  // bytes, and lists of positions
    return N_ * width * compute_ + N_ * L * (wide_ + routing);
  }

  std::int64_t temporaries() const {
    std::int64_t width = 0;
    for (const Site& site : w_.sites)
      width = std::max(width, 3 * site.C + (site.embedding ? site.d_out : site.d_in) + site.d_out);
    return N_ * width * compute_;
  }

  const StepShape& w_;
  std::int64_t T_;  // positions a row
  std::int64_t N_;  // positions held at once
  std::int64_t P_;  // of these, where outputs are compared
  std::int64_t compute_, wide_;
};

}  // namespace

std::vector<MemoryPart> predict_memory(const StepShape& step_shape) {
  StepShape target = step_shape;
  target.objective = terms_of(step_shape.objective, TermRows::target);
  Parts parts = Memory(step_shape, step_shape.micro(), step_shape.T, step_shape.compared).kept_all_along(),
        largest = Memory(target, target.micro(), target.T, target.compared).training();
  if (step_shape.background_B > 0) {
    const StepShape background = step_shape.background_step();
    largest = largest_of(
        {largest, Memory(background, background.micro(), background.T, background.compared).training()});
  }
  const EvaluationConfig& plan = step_shape.evaluation;
  if (plan.every || (plan.final && !plan.metrics.empty())) {
    Parts evaluation =
        Memory(step_shape, step_shape.evaluation.batch_size, step_shape.evaluation_T, ComparedPositions::all)
            .evaluation();
    // A captured step keeps its memory while others work.
    if (step_shape.training.cuda_graph && !step_shape.numerics.device.is_cpu())
      evaluation.push_back({"the captured step's own memory", total(largest)});
    largest = largest_of({largest, evaluation});
  }
  parts.insert(parts.end(), largest.begin(), largest.end());
  return parts;
}

std::int64_t total(const std::vector<MemoryPart>& parts) {
  std::int64_t sum = 0;
  for (const MemoryPart& part : parts) sum += part.bytes;
  return sum;
}

}  // namespace vpd
