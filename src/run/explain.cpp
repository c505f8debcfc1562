#include "vpd/run/explain.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <tuple>
#include <utility>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "edit_source.hpp"
#include "explain_measures.hpp"
#include "explain_plan.hpp"
#include "explain_question.hpp"
#include "token_rows.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/base/text.hpp"
#include "vpd/config/load.hpp"
#include "vpd/cost/step_shape.hpp"
#include "vpd/interpretation/prompt_set.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/run/check.hpp"
#include "vpd/run/decompose.hpp"
#include "vpd/run/evaluate.hpp"
#include "vpd/run/graph.hpp"
#include "vpd/run/harvest.hpp"
#include "vpd/run/report.hpp"
#include "vpd/run/unlearn.hpp"
#include "vpd/target/target.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

/// What each stage is called in the state's file, and by people.
constexpr std::array<std::pair<const char*, const char*>, 9> stages = {
    {{"background", "background rows"},
     {"settings", "settings"},
     {"decompose", "decomposing"},
     {"evaluate", "evaluating"},
     {"harvest", "collecting evidence"},
     {"graphs", "drawing graphs"},
     {"specificity", "taking subcomponents out"},
     {"removal", "trying removals"},
     {"report", "writing the report"}}};

constexpr std::int64_t removal_positions = 20'480;  // of the background, with a set of subcomponents out

/// What ln p of a continuation has to fall, in the mean over its tokens, until it is as good as gone. Who
/// removes more does more to what is to stay.
double fall_until_gone(const ExplainedPrompt& prompt) {
  constexpr double gone = 0.01;
  double fall = 0.0;
  for (const double p : prompt.probability) fall += std::max(0.0, std::log(p / gone));
  return fall / static_cast<double>(prompt.probability.size());
}

/// Columns of a graph's subcomponents, whatever their positions, the most influential first.
std::vector<std::int64_t> most_influential(const AttributionGraph& graph) {
  std::vector<const GraphNode*> nodes;
  for (const GraphNode& node : graph.nodes)
    if (node.kind == GraphNode::Kind::subcomponent) nodes.push_back(&node);
  std::stable_sort(nodes.begin(), nodes.end(),
                   [](const GraphNode* a, const GraphNode* b) { return a->influence > b->influence; });
  std::vector<std::int64_t> columns;
  for (const GraphNode* node : nodes)
    if (std::find(columns.begin(), columns.end(), node->which) == columns.end())
      columns.push_back(node->which);
  return columns;
}

class Explanation {
 public:
  Explanation(const ExplainOptions& options, const Observer& observer)
      : options_(options), observer_(observer), directory_(options.out) {
    if (!observer.status) return;
    observer_.status = [this, status = observer.status](const std::string& line) {
      status(stage_ == 0 ? line : fmt::format("[{}/{}] {}", stage_, stages.size(), line));
    };
  }

  ExplainResult run() {
    question_ = ask_question(options_, observer_, result_.warnings);
    explained_layers(options_.layers, question_.architecture);  // before anything takes long
    result_.directory = directory_, result_.config = directory_ / explain_config;
    result_.run = directory_ / "run";
    result_.prompts = question_.prompts;
    for (const auto& [name, title] : stages) result_.stages.push_back({name, title, {}});
    begin();
    stage("background", [&] { make_background(); });
    stage("settings", [&] { choose_settings(); });
    if (options_.plan_only) return std::move(result_);
    // Each of these leaves its files; what they say is read whether they run now or ran before.
    stage("decompose", [&] { decompose_target(); });
    stage("evaluate", [&] { evaluate_run({.run = result_.run, .threads = options_.threads}, observer_); });
    stage("harvest", [&] { harvest(); });
    stage("graphs", [&] { draw_graphs(); });
    stage("specificity", [&] { take_out_one_by_one(); });
    stage("removal", [&] { try_removals(); });
    read_figures();
    keep_for_the_page();
    stage("report", [&] { write_report({.run = result_.run, .tokenizer = options_.tokenizer}, observer_); });
    result_.page = result_.run / "report.html";
    return std::move(result_);
  }

 private:
  // Stages.

  /// Does `work`, unless an earlier call did.
  void stage(const std::string& name, const std::function<void()>& work) {
    const auto found = std::find_if(result_.stages.begin(), result_.stages.end(),
                                    [&](const ExplainStage& one) { return one.name == name; });
    if (state_["stages"].contains(name)) {
      found->seconds = state_["stages"][name].get<double>();
      return;
    }
    stage_ = found - result_.stages.begin() + 1;
    if (observer_.say)
      observer_.say(fmt::format("stage {} of {}: {}", stage_, result_.stages.size(), found->title));
    const Clock::time_point start = Clock::now();
    work();
    found->seconds = seconds_since(start);
    state_["stages"][name] = *found->seconds;
    save_state();
  }

  void begin() {
    const fs::path file = directory_ / explain_state;
    std::error_code error;
    const bool there = fs::exists(file, error);
    VPD_CHECK(
        options_.resume || !there, UsageError,
        "{}: expected a directory without an explanation, found one: give the same command with --resume "
        "to go on with it, or choose another --out",
        directory_.string());
    VPD_CHECK(!options_.resume || there, DataError, "{}: expected an explanation to go on with, found none",
              file.string());
    if (there) read_state(file);
    const Json asked = question_json(options_, question_);
    VPD_CHECK(!there || state_["question"] == asked, UsageError,
              "{}: expected the question that it began with, found another: --resume goes on with the same "
              "prompts, target and settings",
              file.string());
    state_["question"] = asked;
    if (!state_.contains("stages")) state_["stages"] = Json::object();
    fs::create_directories(directory_);
    write_atomically(directory_ / explain_prompts, prompt_lines(question_.rows));
    save_state();
  }

  /// What stages leave in the state, for those behind them.
  void read_state(const fs::path& file) {
    state_ = Json::parse(read_text(file), nullptr, /*allow_exceptions=*/false);
    const auto has = [](const Json& in, const char* name) { return in.is_object() && in.contains(name); };
    bool whole = has(state_, "question") && has(state_, "stages") && state_["stages"].is_object();
    for (const auto& [stage, part, key] : {std::tuple("background", "background", "length"),
                                           std::tuple("settings", "settings", "operations_per_second")})
      whole = whole && (!state_["stages"].contains(stage) || (has(state_, part) && has(state_[part], key)));
    VPD_CHECK(whole, DataError,
              "{}: expected the state of an explanation that this version began, found a damaged or another "
              "one: choose another --out",
              file.string());
  }

  void save_state() const { write_atomically(directory_ / explain_state, json_text(state_, 1) + "\n"); }

  void make_background() {
    const BackgroundRows rows = background_rows(options_, question_, directory_, observer_);
    state_["background"] = {{"rows", rows.rows}, {"excluded", rows.excluded}, {"length", rows.length}};
  }

  void choose_settings() {
    ExplainPlan plan{.target = question_.target,
                     .layers = explained_layers(options_.layers, question_.architecture),
                     .longest = question_.longest,
                     .rows = static_cast<std::int64_t>(question_.rows.size()),
                     .background = fs::absolute(directory_ / background_file),
                     .background_length = state_["background"]["length"].get<std::int64_t>(),
                     .steps = 100,
                     .seed = options_.seed,
                     .awake = true};
    if (options_.tokenizer) plan.tokenizer = fs::absolute(*options_.tokenizer);
    const auto write = [&] {
      const RunConfig config = explain_configuration(plan, question_.architecture, fs::absolute(directory_));
      write_atomically(
          directory_ / explain_config,
          "# The decomposition of an explanation (docs/explain.md); edit it, and run it by itself:\n"
          "#     vpd decompose " +
              std::string(explain_config) + " --out run\n" + to_yaml(config));
    };
    write();
    const CheckReport report = check_run({.config = directory_ / explain_config,
                                          .overrides = options_.overrides,
                                          .device = options_.device,
                                          .threads = options_.threads,
                                          .measure = true},
                                         observer_);
    VPD_CHECK(
        report.fits().value_or(true), UsageError,
        "expected a decomposition that fits into memory, found one that needs {}: choose fewer --layers",
        human_bytes(static_cast<double>(total(report.memory))));
    const double seconds = report.step_seconds().value_or(1.0);
    plan.steps = explain_steps(options_.minutes, seconds);
    plan.awake = false;
    write();
    // What hangs on the number of steps does so where --set names another, too.
    const std::int64_t steps =
        load_run_config(directory_ / explain_config, options_.overrides).training.steps;
    if (std::exchange(plan.steps, std::max<std::int64_t>(1, steps)) != steps) write();
    state_["settings"] = {{"steps", steps},
                          {"step_seconds", seconds},
                          {"operations_per_second", total(count_operations(report.step_shape)) / seconds},
                          {"layers", {plan.layers.first, plan.layers.second}}};
    if (observer_.say)
      observer_.say(fmt::format("{} sites in blocks {} to {}, {} steps of {:.2f} s: {}",
                                report.step_shape.sites.size(), plan.layers.first, plan.layers.second - 1,
                                steps, seconds, (directory_ / explain_config).string()));
  }

  void decompose_target() {
    decompose({.config = directory_ / explain_config,
               .out = result_.run,
               .continue_run = true,
               .overrides = options_.overrides,
               .device = options_.device,
               .threads = options_.threads,
               .command_line = options_.command_line},
              observer_);
  }

  void harvest() {
    const std::int64_t length = state_["background"]["length"].get<std::int64_t>();
    HarvestOptions harvest;
    harvest.run = result_.run;
    harvest.threads = options_.threads;
    harvest.overrides = tokens_in_place(directory_ / evidence_directory, length);
    harvest.command_line = options_.command_line;
    harvest_run(harvest, observer_);
  }

  void draw_graphs() {
    Json graphs = Json::array();
    for (std::size_t i = 0; i < question_.prompts.size(); ++i) {
      const ExplainedPrompt& prompt = question_.prompts[i];
      GraphOptions graph;
      graph.run = result_.run;
      graph.threads = options_.threads;
      graph.tokenizer = options_.tokenizer;
      graph.prompt_tokens = prompt.tokens;
      for (std::size_t k = 0; k + 1 < prompt.next.size(); ++k) graph.prompt_tokens.push_back(prompt.next[k]);
      for (std::size_t k = 0; k < prompt.next.size(); ++k)
        graph.targets.push_back(fmt::format("#{}@{}", prompt.next[k], prompt.tokens.size() - 1 + k));
      graph.pruning.steps = scale().graph_steps;
      graph.slug = fmt::format("prompt_{}", i + 1);
      graph.command_line = options_.command_line;
      const GraphResult drawn = graph_run(graph, observer_);
      const PruneVerdict& verdict = drawn.pruned.front().verdict;
      graphs.push_back({{"columns", most_influential(drawn.graph)},
                        {"nodes", drawn.pruned.front().nodes},
                        {"faithful", verdict.faithful},
                        {"rounded", verdict.rounded.p},
                        {"attacked", std::min(verdict.adversarial_short.p, verdict.adversarial_long.p)}});
    }
    state_["graphs"] = graphs;
  }

  /// Each of the graphs' most influential subcomponents, alone.
  void take_out_one_by_one() {
    const MeasuringScale scale = this->scale();
    std::vector<std::int64_t> columns;
    for (std::size_t k = 0; columns.size() < scale.subcomponents; ++k) {  // the first of each graph first
      bool any = false;
      for (const Json& graph : state_["graphs"]) {
        if (k >= graph["columns"].size()) continue;
        any = true;
        const auto column = graph["columns"][k].get<std::int64_t>();
        if (std::find(columns.begin(), columns.end(), column) == columns.end()) columns.push_back(column);
      }
      if (!any) break;
    }
    const QuestionPrompts rows = prompts(scale.positions);
    std::int64_t positions = 0;
    for (const AuditPrompt& row : rows.elsewhere) positions += static_cast<std::int64_t>(row.tokens.size());
    Json found = Json::array();
    for (const ExplainedSubcomponent& one : subcomponent_figures(source(), rows, columns, observer_))
      found.push_back({{"key", one.key},
                       {"kl", one.kl},
                       {"in_target", one.in_target},
                       {"in_circuit", one.in_circuit},
                       {"kl_mean", one.kl_mean},
                       {"kl_99", one.kl_99}});
    state_["specificity"] = {{"positions", positions}, {"subcomponents", found}};
  }

  MeasuringScale scale() const {
    return measuring_scale(
        options_.minutes, question_.prompts.size(), state_["settings"]["step_seconds"].get<double>(),
        state_["settings"]["operations_per_second"].get<double>(), question_.architecture.parameters,
        state_["background"]["length"].get<std::int64_t>());
  }

  void try_removals() {
    const MeasuringScale scale = this->scale();
    Json removals = Json::array();
    for (std::size_t i = 0; i < question_.prompts.size(); ++i) {
      const fs::path behaviour = directory_ / fmt::format("behaviour_{}.jsonl", i + 1),
                     against = directory_ / fmt::format("against_{}.jsonl", i + 1);
      const bool others_say_something = write_removal_prompts(i, scale.removal_rows, behaviour, against);
      UnlearnOptions removal;
      removal.run = result_.run;
      removal.threads = options_.threads;
      removal.tokenizer = options_.tokenizer;
      removal.prompts = {.behaviour = behaviour, .against = against};
      removal.settings.budget = 0.005;  // what is allowed elsewhere is a tenth of what other commands allow
      removal.settings.enough = fall_until_gone(question_.prompts[i]);
      if (others_say_something) removal.settings.stay = 0.05;  // a twentieth of what it was
      removal.settings.fit_steps = scale.fit_steps;
      removal.settings.baselines = {Baseline::mean_difference, Baseline::rank_1, Baseline::rank_4};
      removal.slug = fmt::format("prompt_{}", i + 1);
      removal.command_line = options_.command_line;
      const UnlearnRunResult found = unlearn_run(removal, observer_);
      observer_.announce("measuring the removal on the background");
      removals.push_back(
          removal_json(i, found, removal_figures(source(), prompts(removal_positions), found.unlearned.set)));
    }
    state_["removals"] = removals;
  }

  /// The prompt whose continuation goes, and what is to stay: the other prompts, and rows of the background.
  /// True where one of the other prompts has a continuation.
  bool write_removal_prompts(std::size_t which, std::int64_t rows, const fs::path& behaviour,
                             const fs::path& against) const {
    std::vector<QuestionRow> wanted, others;
    for (const QuestionRow& row : question_.rows) (row.prompt == which ? wanted : others).push_back(row);
    const TokenDataset background(directory_ / background_file,
                                  state_["background"]["length"].get<std::int64_t>(), /*shuffle=*/false, 0);
    const at::Tensor some = background.batch(0, std::min(rows, background.sequences()));
    for (std::int64_t r = 0; r < some.size(0); ++r) {
      const at::Tensor row = some[r].contiguous();
      others.push_back(
          {.tokens = {row.const_data_ptr<std::int64_t>(), row.const_data_ptr<std::int64_t>() + row.numel()}});
    }
    write_atomically(behaviour, prompt_lines(wanted));
    write_atomically(against, prompt_lines(others));
    return std::any_of(others.begin(), others.end(),
                       [](const QuestionRow& row) { return row.target.has_value(); });
  }

  EditSource source() const {
    return EditSource({.run = result_.run, .threads = options_.threads, .tokenizer = options_.tokenizer},
                      observer_);
  }

  QuestionPrompts prompts(std::int64_t positions) const {
    return question_prompts(question_.prompts, directory_ / background_file,
                            state_["background"]["length"].get<std::int64_t>(), positions,
                            scale().removal_rows);
  }

  Json removal_json(std::size_t prompt, const UnlearnRunResult& found, const RemovalFigures& figures) const {
    Json baselines = Json::array();
    for (const UnlearnCurve& curve : found.unlearned.curves)
      baselines.push_back({{"name", curve.name},
                           {"probability", curve.points.back().probability},
                           {"side", curve.points.back().side},
                           {"stayed", curve.points.back().stayed}});
    return {{"prompt", prompt},
            {"keys", found.keys},
            {"before", figures.before},
            {"after", figures.after},
            {"kl_mean", figures.kl_mean},
            {"kl_99", figures.kl_99},
            {"positions", figures.positions},
            {"redundant", std::count_if(found.unlearned.redundancy.begin(), found.unlearned.redundancy.end(),
                                        [](const RedundancyCheck& one) { return one.made_up_for(); })},
            {"curves", baselines}};
  }

  // What was found.

  void read_figures() {
    const Json& settings = state_["settings"];
    result_.steps = settings["steps"].get<std::int64_t>();
    result_.step_seconds = settings["step_seconds"].get<double>();
    result_.background_rows = state_["background"]["rows"].get<std::int64_t>();
    result_.excluded_rows = state_["background"]["excluded"].get<std::int64_t>();
    const Json evaluation = Json::parse(read_text(result_.run / "evaluation.json"))["metrics"];
    result_.rounded_kl = evaluation.value("ce_kl/kl_rounded_0", std::nan(""));
    result_.attacked_kl = evaluation.value("pgd/pgd_20", std::nan(""));
    result_.alive = static_cast<std::int64_t>(evaluation.value("alive/total", 0.0));
    for (const auto& [name, value] : evaluation.items())
      result_.sites += name.starts_with("alive/") && name != "alive/total" ? 1 : 0;
    for (std::size_t i = 0; i < result_.prompts.size(); ++i) {
      const Json& graph = state_["graphs"][i];
      result_.prompts[i].nodes = graph["nodes"].get<std::int64_t>();
      result_.prompts[i].faithful = graph["faithful"].get<bool>();
      result_.prompts[i].rounded = {graph["rounded"].get<double>()};
      result_.prompts[i].attacked = graph["attacked"].get<double>();
    }
    const Json& measured = state_["specificity"];
    result_.background_positions = measured["positions"].get<std::int64_t>();
    for (const Json& one : measured["subcomponents"])
      result_.subcomponents.push_back({.key = one["key"].get<std::string>(),
                                       .kl = one["kl"].get<std::vector<double>>(),
                                       .in_target = one["in_target"].get<std::vector<double>>(),
                                       .in_circuit = one["in_circuit"].get<std::vector<double>>(),
                                       .kl_mean = one["kl_mean"].get<double>(),
                                       .kl_99 = one["kl_99"].get<double>()});
    for (const Json& one : state_["removals"]) {
      ExplainedRemoval removal{.prompt = one["prompt"].get<std::size_t>(),
                               .keys = one["keys"].get<std::vector<std::string>>(),
                               .before = one["before"].get<std::vector<double>>(),
                               .after = one["after"].get<std::vector<double>>(),
                               .kl_mean = one["kl_mean"].get<double>(),
                               .kl_99 = one["kl_99"].get<double>(),
                               .positions = one["positions"].get<std::int64_t>(),
                               .redundant = one["redundant"].get<std::int64_t>()};
      for (const Json& curve : one["curves"])
        removal.baselines.push_back({curve["name"].get<std::string>(), curve["probability"].get<double>(),
                                     curve["side"].get<double>(),
                                     curve.contains("stayed") && curve["stayed"].is_number()
                                         ? curve["stayed"].get<double>()
                                         : std::nan("")});
      result_.removals.push_back(std::move(removal));
    }
  }

  /// The result that the page of this question is made of.
  void keep_for_the_page() const {
    const RunDirectory run = RunDirectory::open(result_.run);
    const std::int64_t step = run.latest()->step;
    publish_result(results_path(run, step) / "explain" / "question",
                   [&](const fs::path& to) { write_atomically(to / "explain.json", explain_json(result_)); });
  }

  const ExplainOptions& options_;
  Observer observer_;  // whose status lines say which stage it is
  std::ptrdiff_t stage_ = 0;
  fs::path directory_;
  Question question_;
  Json state_ = Json::object();
  ExplainResult result_;
};

}  // namespace

ExplainResult explain_run(const ExplainOptions& options, const Observer& observer) {
  return Explanation(options, observer).run();
}

}  // namespace vpd
