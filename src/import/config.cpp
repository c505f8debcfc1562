#include "config.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

// What says nothing about the decomposition: where it was logged, what its data and its target were called
// elsewhere. Tokens and target are given to the import.
constexpr std::array untranslated_keys = {
    "wandb_project",
    "wandb_run_name",
    "wandb_run_name_prefix",
    "wandb_group",
    "wandb_tags",
    "extra_wandb_config",
    "pretrained_model_path",
    "pretrained_model_name",
    "pretrained_model_name_hf",
    "tokenizer_name",
    "slow_eval_on_first_step",
    "dist_backend",
    "out_dir",
    "init_spd_checkpoint",
    "init_pd_checkpoint",
    "n_examples_until_dead",
};

std::vector<SitePattern> translate_sites(ForeignMap& top) {
  std::vector<SitePattern> sites;
  const auto add = [&](ForeignMap& where, std::string_view key, const std::string& pattern,
                       std::optional<std::int64_t> C) {
    if (!C || *C < 1) where.fail(key, "the number of subcomponents");
    sites.push_back({pattern, *C});
  };
  for (ForeignMap& module : top.maps("module_info")) {
    const std::optional<std::string> pattern = module.text("module_pattern");
    if (!pattern) module.fail("module_pattern", "a pattern");
    add(module, "C", *pattern, module.whole("C"));
  }
  // The older form: one number for all.
  const std::optional<std::int64_t> C = top.whole("C");
  for (const std::string& pattern : top.texts("target_module_patterns")) add(top, "C", pattern, C);
  if (sites.empty()) top.fail("module_info", "the decomposed matrices");
  for (const char* key : {"identity_module_info", "identity_module_patterns"}) {
    if (top.has(key)) top.fail(key, "none, since identity matrices cannot be sites here");
  }
  return sites;
}

// Sets what says how parameters are trained.
class TrainingTranslator {
 public:
  TrainingTranslator(ForeignMap& top, std::vector<std::string>& warnings) : top_(top), warnings_(warnings) {}

  TrainingConfig translate() {
    training_.steps = required("steps", 0);
    training_.batch_size = required("batch_size", 1);
    rate_and_clipping();
    if (const auto parts = top_.whole("gradient_accumulation_steps"); parts && *parts > 1) {
      if (training_.batch_size % *parts != 0) {
        top_.fail("gradient_accumulation_steps", "a divisor of batch_size");
      }
      training_.micro_batch_size = training_.batch_size / *parts;
    }
    FaithfulnessWarmupConfig& warmup = training_.faithfulness_warmup;
    warmup.steps = top_.whole("faithfulness_warmup_steps").value_or(0);
    warmup.learning_rate = top_.number("faithfulness_warmup_lr").value_or(warmup.learning_rate);
    warmup.weight_decay = top_.number("faithfulness_warmup_weight_decay").value_or(0.0);
    return training_;
  }

 private:
  std::int64_t required(const char* key, std::int64_t least) {
    const std::optional<std::int64_t> number = top_.whole(key);
    if (!number || *number < least) top_.fail(key, fmt::format("a whole number of at least {}", least));
    return *number;
  }

  void rate_and_clipping() {
    std::optional<ForeignMap> components = top_.map("components_optimizer"),
                              importance = top_.map("ci_fn_optimizer");
    if (components || importance) {
      if (!components) top_.fail("components_optimizer", "a map beside ci_fn_optimizer");
      const TrainingConfig ours = optimizer(*components, training_.gradient_clip.components);
      training_.learning_rate = ours.learning_rate;
      training_.optimizer = ours.optimizer;
      if (!importance) return;
      const TrainingConfig theirs = optimizer(*importance, training_.gradient_clip.causal_importance);
      if (!(theirs.learning_rate == ours.learning_rate && theirs.optimizer == ours.optimizer)) {
        warnings_.push_back(
            fmt::format("{}: differs from components_optimizer, and one optimizer trains both groups here: "
                        "training has that of the components",
                        importance->place()));
      }
      return;
    }
    if (top_.is_map("lr_schedule")) {
      training_.learning_rate = translate_schedule(*top_.map("lr_schedule"), warnings_);
    } else if (const std::optional<double> rate = top_.number("lr")) {
      older_rate(*rate);
    } else {
      warnings_.push_back(
          fmt::format("{}: expected lr_schedule, found none: training.learning_rate is 0, "
                      "which changes nothing until it is set",
                      top_.place()));
    }
    const std::optional<double> before = top_.number("grad_clip_norm");
    const std::optional<double> clip = top_.number("grad_clip_norm_components");
    training_.gradient_clip.components = clip ? clip : before;
    training_.gradient_clip.causal_importance = top_.number("grad_clip_norm_ci_fns");
  }

  // lr, lr_schedule as a word, lr_warmup_pct: cosine went down to 0, everything else stayed.
  void older_rate(double rate) {
    const std::string shape = top_.text("lr_schedule").value_or("constant");
    Schedule& schedule = training_.learning_rate;
    schedule.start = rate;
    schedule.warmup_fraction = top_.number("lr_warmup_pct").value_or(0.0);
    if (shape == "cosine" || shape == "linear") {
      schedule.schedule = shape == "cosine" ? ScheduleShape::cosine : ScheduleShape::linear;
      schedule.final_fraction = shape == "cosine" ? 0.0 : 1.0;
    } else if (shape != "constant") {
      warnings_.push_back(fmt::format("{}: has no counterpart here: training.learning_rate stays at {:g}",
                                      top_.place("lr_schedule"), rate));
    }
  }

  TrainingConfig optimizer(ForeignMap& map, std::optional<double>& clip) {
    TrainingConfig result;
    if (const auto type = map.text("type"); type && *type != "AdamW") {
      warnings_.push_back(
          fmt::format("{}: {} has no counterpart here: training has AdamW", map.place("type"), *type));
    }
    std::optional<ForeignMap> schedule = map.map("lr_schedule");
    if (!schedule) map.fail("lr_schedule", "a map");
    result.learning_rate = translate_schedule(*schedule, warnings_);
    AdamWConfig adam;
    adam.weight_decay = map.number("weight_decay").value_or(0.0);
    const std::vector<double> betas = map.numbers("betas");
    if (betas.size() == 2) {
      adam.beta1 = betas[0];
      adam.beta2 = betas[1];
    } else if (!betas.empty()) {
      map.fail("betas", "two numbers");
    }
    result.optimizer = adam;
    clip = map.number("grad_clip_norm");
    warn_of_unasked(map, warnings_);
    return result;
  }

  ForeignMap& top_;
  std::vector<std::string>& warnings_;
  TrainingConfig training_;
};

void check_target(ForeignMap& top) {
  const std::string family = top.text("pretrained_model_class").value_or("LlamaSimpleMLP");
  if (!family.ends_with("LlamaSimpleMLP")) {
    top.fail("pretrained_model_class", "a LlamaSimpleMLP, the one family of targets that can be imported");
  }
  if (const auto loss = top.text("output_loss_type"); loss && *loss != "kl") {
    top.fail("output_loss_type", "kl, which a language model's outputs are compared by here");
  }
  // The model gives logits and a loss.
  if (top.is_text("output_extract")) {
    if (*top.text("output_extract") != "logits") top.fail("output_extract", "0, the model's logits");
  } else if (const auto index = top.whole("output_extract"); index && *index != 0) {
    top.fail("output_extract", "0, the model's logits");
  }
  if (const auto attribute = top.text("pretrained_model_output_attr");
      attribute && *attribute != "idx_0" && *attribute != "logits") {
    top.fail("pretrained_model_output_attr", "idx_0, the model's logits");
  }
}

void translate_data(ForeignMap& top, DataConfig& data, std::vector<std::string>& warnings) {
  TokensData tokens{.path = {}, .sequence_length = 512, .shuffle = true};
  if (std::optional<ForeignMap> task = top.map("task_config")) {
    if (const auto name = task->text("task_name"); name && *name != "lm") {
      task->fail("task_name", "lm, a language model's");
    }
    tokens.sequence_length = task->whole("max_seq_len").value_or(tokens.sequence_length);
    tokens.shuffle = task->truth("shuffle_each_epoch").value_or(true);
    std::vector<std::string> words;
    for (const auto& [key, value] : task->unasked()) words.push_back(fmt::format("{} {}", key, value));
    if (!words.empty()) {
      warnings.push_back(
          fmt::format("{}: what data the run had is not translated, and comes with --tokens: {}",
                      task->place(), join_words(words)));
    }
  }
  data.train = tokens;
  tokens.shuffle = false;
  data.eval = tokens;
}

void translate_output(ForeignMap& top, RunConfig& config) {
  OutputConfig& output = config.output;
  output.log_every = top.whole("train_log_freq").value_or(output.log_every);
  // Null saved at the end alone.
  output.checkpoint_every = top.whole("save_freq").value_or(std::max<std::int64_t>(config.training.steps, 1));
}

void warn_of_untranslated(ForeignMap& top, std::vector<std::string>& warnings) {
  std::vector<std::string> words;
  for (const auto& [key, value] : top.unasked()) {
    if (std::find(untranslated_keys.begin(), untranslated_keys.end(), key) == untranslated_keys.end())
      continue;
    words.push_back(fmt::format("{} {}", key, value));
    top.has(key);
  }
  if (!words.empty()) {
    warnings.push_back(fmt::format("{}: says nothing about the decomposition and is not translated: {}",
                                   top.place(), join_words(words)));
  }
}

config::Value read(const fs::path& file) {
  try {
    return config::read_file(file);
  } catch (const ConfigError& error) {
    throw DataError(error.what());  // it belongs to the artefact, and the user did not write it
  }
}

}  // namespace

void warn_of_unasked(const ForeignMap& map, std::vector<std::string>& warnings) {
  for (const auto& [key, value] : map.unasked()) {
    warnings.push_back(fmt::format("{}: {} has no counterpart here", map.place(key), value));
  }
}

Schedule translate_schedule(ForeignMap map, std::vector<std::string>& warnings) {
  Schedule schedule;
  const std::optional<double> start = map.number("start_val");
  if (!start) map.fail("start_val", "a number");
  schedule.start = *start;
  schedule.warmup_fraction = map.number("warmup_pct").value_or(0.0);
  const std::string shape = map.text("fn_type").value_or("constant");
  const double last = map.number("final_val_frac").value_or(1.0);
  if (shape == "cosine" || shape == "linear") {
    schedule.schedule = shape == "cosine" ? ScheduleShape::cosine : ScheduleShape::linear;
    schedule.final_fraction = last;
  } else if (shape != "constant") {
    map.fail("fn_type", "constant, cosine or linear");
  } else if (last != 1.0) {
    map.fail("final_val_frac", "1 for a constant");
  }
  warn_of_unasked(map, warnings);
  return schedule;
}

TranslatedConfig translate_config(const fs::path& file) {
  const config::Value value = read(file);
  ForeignMap top(value, "");
  if (top.has("pd")) {
    top.fail("pd", "none, since the layout of later versions, with its keys below pd, cannot be imported");
  }
  TranslatedConfig result;
  RunConfig& config = result.config;
  std::vector<std::string>& warnings = result.warnings;

  const std::int64_t seed = top.whole("seed").value_or(0);
  if (seed < 0) top.fail("seed", "a number of at least 0");
  config.seed = static_cast<std::uint64_t>(seed);
  // Autocast was on unless a configuration said otherwise.
  config.precision = top.truth("autocast_bf16").value_or(true) ? Precision::automatic : Precision::fp32;
  config.target = LlamaSimpleMlpTarget{};
  check_target(top);
  translate_data(top, config.data, warnings);
  config.sites = translate_sites(top);
  config.delta_component = top.truth("use_delta_component").value_or(true);
  if (const auto squash = top.text("sigmoid_type"); squash && *squash != "leaky_hard") {
    top.fail("sigmoid_type", "leaky_hard, the one squashing of causal importances there is here");
  }
  config.causal_importance = translate_causal_importance(top);
  config.objective = translate_objective(top, warnings);
  config.training = TrainingTranslator(top, warnings).translate();
  config.evaluation = translate_evaluation(top, config.objective, config.delta_component, warnings);
  translate_output(top, config);
  warn_of_untranslated(top, warnings);
  warn_of_unasked(top, warnings);
  return result;
}

}  // namespace vpd
