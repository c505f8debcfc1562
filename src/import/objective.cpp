// Losses and metrics of the original code's configuration, each a map with its class's name under `classname`
// (or `type`, in later versions).

#include <algorithm>
#include <map>

#include "config.hpp"
#include "vpd/base/error.hpp"

namespace vpd {
namespace {

std::string class_of(ForeignMap& map) {
  std::optional<std::string> name = map.text("classname");
  if (!name) name = map.text("type");
  if (!name) map.fail("classname", "the class of a loss or metric");
  return *name;
}

void no_counterpart(const ForeignMap& map, const std::string& name, std::vector<std::string>& warnings) {
  warnings.push_back(fmt::format("{}: {} has no counterpart here and is left out", map.place(), name));
}

// "Subset" losses route as they say, uniform_k_subset where they do not; "Layerwise" ones site by site.
RoutingConfig routing_of(ForeignMap& map, const std::string& name, std::vector<std::string>& warnings) {
  if (name.find("Layerwise") != std::string::npos) return LayerwiseRoutingConfig{};
  if (name.find("Subset") == std::string::npos) return AllRoutingConfig{};
  std::optional<ForeignMap> routing = map.map("routing");
  if (!routing) return UniformKSubsetRoutingConfig{};
  RoutingConfig result = UniformKSubsetRoutingConfig{};
  const std::string type = routing->text("type").value_or("uniform_k_subset");
  if (type == "static_probability") {
    const std::optional<double> p = routing->number("p");
    if (!p) routing->fail("p", "a probability");
    result = StaticProbabilityRoutingConfig{.probability = *p};
  } else if (type != "uniform_k_subset") {
    routing->fail("type", "uniform_k_subset or static_probability");
  }
  warn_of_unasked(*routing, warnings);
  return result;
}

FreshInit init_of(ForeignMap& map) {
  const std::string init = map.text("init").value_or("random");
  if (init == "random") return FreshInit::random;
  if (init == "ones") return FreshInit::ones;
  if (init != "zeroes") map.fail("init", "random, ones or zeroes");
  return FreshInit::zeros;
}

// The standard attack: as a loss's adversary and as a metric.
template <class Attack>
Attack fresh_attack(ForeignMap& map) {
  Attack attack;
  attack.steps = map.whole("n_steps").value_or(attack.steps);
  attack.step_size = map.number("step_size").value_or(attack.step_size);
  attack.init = init_of(map);
  const std::string scope = map.text("mask_scope").value_or("shared_across_batch");
  if (scope == "unique_per_datapoint") {
    attack.scope = FreshScope::per_datapoint;
  } else if (scope != "shared_across_batch") {
    map.fail("mask_scope", "unique_per_datapoint or shared_across_batch");
  }
  return attack;
}

// The scope's shape of sources under the names of all versions.
void set_scope(ForeignMap& map, PersistentAdversaryConfig& adversary, std::vector<std::string>& warnings) {
  std::string type;
  if (map.is_text("scope")) {
    type = *map.text("scope");
  } else if (std::optional<ForeignMap> scope = map.map("scope")) {
    type = scope->text("type").value_or("");
    adversary.sources = scope->whole("n_sources");
    if (const auto older = scope->whole("n_masks")) adversary.sources = older;
    warn_of_unasked(*scope, warnings);
  }
  if (type == "per_batch_per_position" || type == "per_batch" || type == "unique_per_batch_per_token") {
    adversary.scope = PersistentScope::per_position;
  } else if (type == "repeat_across_batch" || type == "batch_invariant") {
    adversary.scope = PersistentScope::n_sources;
    if (!adversary.sources) map.fail("scope", "the number of sources");
  } else if (type == "broadcast_across_batch") {
    adversary.scope = PersistentScope::shared_across_batch;
  } else if (type == "single_source" || type == "single_mask") {
    adversary.scope = PersistentScope::shared_across_batch;
    adversary.shared_across_positions = true;
  } else {
    map.fail("scope", "per_batch_per_position, repeat_across_batch, broadcast_across_batch or single_source");
  }
}

// `older_rate` is the key of a constant rate in older versions.
Schedule ascent_rate(ForeignMap& optimizer, const char* older_rate, std::vector<std::string>& warnings) {
  if (std::optional<ForeignMap> schedule = optimizer.map("lr_schedule")) {
    return translate_schedule(*schedule, warnings);
  }
  const std::optional<double> rate = optimizer.number(older_rate);
  if (!rate) optimizer.fail("lr_schedule", "a map");
  return Schedule::from_number(*rate);
}

PersistentAdversaryConfig persistent_adversary(ForeignMap& map, std::vector<std::string>& warnings) {
  PersistentAdversaryConfig adversary;
  set_scope(map, adversary, warnings);
  if (map.truth("use_sigmoid_parameterization").value_or(false)) {
    adversary.parametrization = SourceParametrization::sigmoid;
  }
  adversary.warmup_steps = map.whole("n_warmup_steps").value_or(0);
  std::optional<ForeignMap> optimizer = map.map("optimizer");
  if (!optimizer) map.fail("optimizer", "a map");
  const std::string type = optimizer->text("type").value_or("");
  if (type == "adam") {
    AdamAscentConfig adam{.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};  // that code's defaults
    adam.beta1 = optimizer->number("beta1").value_or(adam.beta1);
    adam.beta2 = optimizer->number("beta2").value_or(adam.beta2);
    adam.eps = optimizer->number("eps").value_or(adam.eps);
    adversary.optimizer = adam;
    adversary.learning_rate = ascent_rate(*optimizer, "lr", warnings);
  } else if (type == "sign") {
    adversary.optimizer = SignAscentConfig{};
    adversary.learning_rate = ascent_rate(*optimizer, "step_size", warnings);
  } else {
    optimizer->fail("type", "adam or sign");
  }
  warn_of_unasked(*optimizer, warnings);
  const auto different = [&](const char* key, const std::optional<double>& value, double neutral) {
    if (value && *value != neutral) {
      warnings.push_back(fmt::format("{}: {:g} has no counterpart here: training has {:g}", map.place(key),
                                     *value, neutral));
    }
  };
  different("start_frac", map.number("start_frac"), 0.0);
  different("n_samples", map.number("n_samples"), 1.0);
  return adversary;
}

// One fused loss there: coeff * (mean + beta * mean * log2(1 + sum)) is two terms here.
void add_minimality(ForeignMap& map, double coefficient, ObjectiveConfig& objective,
                    std::vector<std::string>& warnings) {
  ImportanceMinimalityTerm term;
  term.coefficient = Coefficient::from_number(coefficient);
  std::optional<double> p = map.number("pnorm");
  if (const auto older = map.number("pnorm_1"); !p) p = older;
  if (!p) map.fail("pnorm", "the exponent p");
  const double from = map.number("p_anneal_start_frac").value_or(1.0);
  const double to = map.number("p_anneal_end_frac").value_or(1.0);
  const std::optional<double> last = map.number("p_anneal_final_p");
  term.p = Annealed::from_number(*p);
  if (last && from < 1.0) {
    if (to <= from || to > 1.0) map.fail("p_anneal_end_frac", "a fraction between that of the start and 1");
    term.p = {.start = *p, .end = *last, .fraction = to};
    if (from != 0.0) {
      warnings.push_back(fmt::format(
          "{}: p goes from {:g} to {:g} between the fractions {:g} and {:g} of training there, and "
          "from its beginning to {:g} here",
          map.place(), *p, *last, from, to, to));
    }
  }
  if (const auto eps = map.number("eps"); eps && *eps > 0.0) {
    term.eps = *eps;
  } else if (eps) {
    warnings.push_back(
        fmt::format("{}: {:g} has no counterpart here: eps is {:g}", map.place("eps"), *eps, term.eps));
  }
  objective.emplace_back(term);
  if (const double beta = map.number("beta").value_or(0.0); beta != 0.0) {
    objective.emplace_back(
        FrequencyMinimalityTerm{.coefficient = Coefficient::from_number(coefficient * beta)});
  }
}

bool is_one_of(const std::string& name, std::initializer_list<const char*> names) {
  for (const char* known : names) {
    if (name == known) return true;
  }
  return false;
}

// Terms of one type tell their losses apart by names.
void name_terms(ObjectiveConfig& objective) {
  std::map<std::string, int> count;
  for (TermConfig& term : objective) {
    const std::string name = label(term);
    if (const int number = ++count[name]; number > 1) {
      std::visit([&](auto& t) { t.name = fmt::format("{}_{}", name, number); }, term);
    }
  }
}

}  // namespace

ObjectiveConfig translate_objective(ForeignMap& top, std::vector<std::string>& warnings) {
  const std::int64_t samples = top.whole("n_mask_samples").value_or(1);
  SourceDistribution sources = SourceDistribution::uniform;
  const std::string sampling = top.text("sampling").value_or("continuous");
  if (sampling == "binomial") {
    sources = SourceDistribution::binomial;
    warnings.push_back(fmt::format(
        "{}: binomial sampling also adds noise to the causal importances there, and does not here: "
        "figures differ a little",
        top.place("sampling")));
  } else if (sampling != "continuous") {
    top.fail("sampling", "continuous or binomial");
  }
  ObjectiveConfig objective;
  for (ForeignMap& map : top.maps("loss_metric_configs")) {
    const std::string name = class_of(map);
    const std::optional<double> coeff = map.number("coeff");
    if (!coeff) map.fail("coeff", "the loss's weight");
    const Coefficient coefficient = Coefficient::from_number(*coeff);
    if (name == "FaithfulnessLoss") {
      objective.emplace_back(FaithfulnessTerm{.coefficient = coefficient});
    } else if (name == "ImportanceMinimalityLoss") {
      add_minimality(map, *coeff, objective, warnings);
    } else if (is_one_of(name, {"StochasticReconLoss", "StochasticReconSubsetLoss",
                                "StochasticReconLayerwiseLoss"})) {
      objective.emplace_back(StochasticReconTerm{.coefficient = coefficient,
                                                 .samples = map.whole("n_mask_samples").value_or(samples),
                                                 .sources = sources,
                                                 .routing = routing_of(map, name, warnings)});
    } else if (is_one_of(name, {"PGDReconLoss", "PGDReconSubsetLoss", "PGDReconLayerwiseLoss"})) {
      objective.emplace_back(AdversarialReconTerm{.coefficient = coefficient,
                                                  .routing = routing_of(map, name, warnings),
                                                  .adversary = fresh_attack<FreshAdversaryConfig>(map)});
    } else if (is_one_of(name, {"PersistentPGDReconLoss", "PersistentPGDReconSubsetLoss"})) {
      objective.emplace_back(AdversarialReconTerm{.coefficient = coefficient,
                                                  .routing = routing_of(map, name, warnings),
                                                  .adversary = persistent_adversary(map, warnings)});
    } else if (is_one_of(name,
                         {"CIMaskedReconLoss", "CIMaskedReconSubsetLoss", "CIMaskedReconLayerwiseLoss"})) {
      objective.emplace_back(
          CiMaskedReconTerm{.coefficient = coefficient, .routing = routing_of(map, name, warnings)});
    } else if (name == "StochasticHiddenActsReconLoss") {
      objective.emplace_back(HiddenActsReconTerm{
          .coefficient = coefficient, .masks = RandomMasksConfig{.samples = samples, .sources = sources}});
    } else if (name == "UnmaskedReconLoss") {
      objective.emplace_back(UnmaskedReconTerm{.coefficient = coefficient});
    } else {
      no_counterpart(map, name, warnings);
      continue;
    }
    warn_of_unasked(map, warnings);
  }
  if (objective.empty()) {
    warnings.push_back(
        fmt::format("{}: no loss has a counterpart here: the objective is faithfulness with "
                    "coefficient 0",
                    top.place("loss_metric_configs")));
    objective.emplace_back(FaithfulnessTerm{});
  }
  name_terms(objective);
  return objective;
}

EvaluationConfig translate_evaluation(ForeignMap& top, const ObjectiveConfig& objective, bool delta_component,
                                      std::vector<std::string>& warnings) {
  EvaluationConfig evaluation;
  evaluation.every = top.whole("eval_freq");
  if (const auto older = top.whole("print_freq"); !evaluation.every) evaluation.every = older;
  evaluation.slow_every = top.whole("slow_eval_freq");
  evaluation.batch_size = top.whole("eval_batch_size").value_or(top.whole("batch_size").value_or(1));
  evaluation.batches = top.whole("n_eval_steps").value_or(1);

  CeKlMetric ce_kl{.rounding_thresholds = {}};
  CiL0Metric l0{.threshold = top.number("ci_alive_threshold").value_or(0.0)};
  std::optional<CiHistogramMetric> histogram;
  bool hidden_acts = false, has_l0 = false;
  std::vector<MetricConfig> attacks;
  std::map<std::string, int> names;
  for (ForeignMap& map : top.maps("eval_metric_configs")) {
    const std::string name = class_of(map);
    map.number("coeff");  // weights a sum of evaluated losses that nobody reads
    if (name == "CEandKLLosses") {
      const double threshold = map.number("rounding_threshold").value_or(0.0);
      std::vector<double>& all = ce_kl.rounding_thresholds;
      if (std::find(all.begin(), all.end(), threshold) == all.end()) all.push_back(threshold);
    } else if (name == "CI_L0") {
      has_l0 = true;
      for (auto [group, patterns] : map.text_lists("groups")) {
        if (group == "total") continue;  // which there is always here
        for (std::string& pattern : patterns) {
          if (!pattern.ends_with('*')) pattern += '*';  // the beginning of a name decides there
        }
        l0.groups[group] = patterns;
      }
    } else if (is_one_of(name, {"StochasticHiddenActsReconLoss", "CIHiddenActsReconLoss"})) {
      hidden_acts = true;
    } else if (is_one_of(name, {"CIHistograms", "ComponentActivationDensity"})) {
      histogram = CiHistogramMetric{.threshold = l0.threshold};
      map.has("n_batches_accum");  // evaluation.batches here
    } else if (is_one_of(name, {"PGDReconLoss", "PGDMultiBatchReconLoss"})) {
      PgdMetric attack = fresh_attack<PgdMetric>(map);
      attack.batches = map.whole("gradient_accumulation_steps").value_or(1);
      attack.name = fmt::format("pgd_{}", attack.steps);
      if (const int number = ++names[attack.name]; number > 1) attack.name += fmt::format("_{}", number);
      if (attack.batches > evaluation.batches) {
        warnings.push_back(fmt::format(
            "{}: {} batches attacked together want as many in an evaluation, which has {} here in place "
            "of {}",
            map.place("gradient_accumulation_steps"), attack.batches, attack.batches, evaluation.batches));
        evaluation.batches = attack.batches;
      }
      if (const auto complaint = validate_metrics({attack}, delta_component)) {
        warnings.push_back(fmt::format("{}: {} cannot be measured here and is left out: {}", map.place(),
                                       name, complaint->text));
      } else {
        attacks.emplace_back(attack);
      }
    } else {
      no_counterpart(map, name, warnings);
      continue;
    }
    warn_of_unasked(map, warnings);
  }
  if (ce_kl.rounding_thresholds.empty()) ce_kl = {};
  if (!top.has("eval_metric_configs")) {
    warnings.push_back(fmt::format("{}: names no metrics: evaluation has ce_kl and ci_l0", top.place()));
    has_l0 = true;
  }
  evaluation.metrics.emplace_back(ce_kl);
  if (has_l0) evaluation.metrics.emplace_back(l0);
  if (histogram) evaluation.metrics.emplace_back(*histogram);
  if (hidden_acts) evaluation.metrics.emplace_back(HiddenActsMetric{});
  // Every loss was evaluated there too.
  if (!objective.empty()) evaluation.metrics.emplace_back(LossesMetric{});
  evaluation.metrics.insert(evaluation.metrics.end(), attacks.begin(), attacks.end());
  return evaluation;
}

}  // namespace vpd
