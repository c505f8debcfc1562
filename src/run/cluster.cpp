#include "vpd/run/cluster.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <set>

#include <ATen/ATen.h>

#include "cost/operations.hpp"
#include "planned_pass.hpp"
#include "token_rows.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/limits.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/base/text.hpp"
#include "vpd/decomposition/columns.hpp"
#include "vpd/interpretation/event_sample.hpp"
#include "vpd/interpretation/harvest.hpp"
#include "vpd/interpretation/labels.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"
#include "vpd/machine/memory.hpp"
#include "vpd/run/run_choice.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

constexpr std::int64_t default_positions = 65536, default_per_row = 16;

void check_options(const ClusterOptions& options) {
  check_rows_choice(options);
  VPD_CHECK(options.threshold >= 0.0 && options.threshold < 1.0, UsageError,
            "--threshold: expected a number of at least 0 and below 1, found {:g}", options.threshold);
  VPD_CHECK(!options.alphas.empty(), UsageError, "--alpha: expected a number, found none");
  for (const double alpha : options.alphas) {
    VPD_CHECK(alpha >= 0.0 && std::isfinite(alpha), UsageError,
              "--alpha: expected a number of at least 0, found {:g}", alpha);
    VPD_CHECK(std::count(options.alphas.begin(), options.alphas.end(), alpha) == 1, UsageError,
              "--alpha: expected each number once, found {:g} twice", alpha);
  }
  VPD_CHECK(options.settings.greedy || options.settings.gamma > 0.0, UsageError,
            "--gamma: expected a number above 0, found {:g}", options.settings.gamma);
  VPD_CHECK(options.seeds >= 1 && (options.seeds == 1 || !options.settings.greedy), UsageError,
            "--seeds: expected {}, found {}",
            options.settings.greedy ? "1 with --greedy, which draws nothing" : "at least 1", options.seeds);
}

/// The rows that are read, and how many positions of each.
struct SampledRows {
  std::int64_t rows = 0, per_row = 0;
};

SampledRows rows_for(const ClusterOptions& options, const Dataset& data, const DataConfig& of_run,
                     std::vector<std::string>& warnings) {
  require_one_length(data, of_run);
  const std::int64_t T = data.length(), wanted = options.positions.value_or(default_positions);
  const auto rows_of = [wanted](std::int64_t per_row) { return (wanted + per_row - 1) / per_row; };
  const std::int64_t there = data.rows().value_or(rows_of(1));
  VPD_CHECK(there > 0, DataError, "{}: expected rows to look at, found none", data.describe());
  const std::int64_t needed = std::max(default_per_row, (wanted + there - 1) / there);
  const std::int64_t per_row = std::min(options.per_row.value_or(needed), T);
  const SampledRows sampled{.rows = std::min(there, rows_of(per_row)), .per_row = per_row};
  if (options.positions && sampled.rows < rows_of(per_row))
    warnings.push_back(fmt::format("--positions {}: {} of a row are only {}, and all are taken", wanted,
                                   per_row, sampled.rows * per_row));
  return sampled;
}

/// As many clusterings side by side as there are threads, and as memory allows. Throws UsageError where it
/// allows none.
int clusterings_at_once(std::int64_t number, std::int64_t bytes_each, const Events& events, int threads) {
  const MemoryLimit limit = usable_memory(at::Device(at::kCPU));
  const std::int64_t left = limit.bytes - resident_bytes();
  VPD_CHECK(
      bytes_each <= left, UsageError,
      "clustering {} subcomponents at {} positions takes {} besides the {} held already, more than the {} "
      "{}: choose fewer sites with --within, or fewer --positions",
      events.bits.columns(), events.bits.positions(), human_bytes(static_cast<double>(bytes_each)),
      human_bytes(static_cast<double>(resident_bytes())), human_bytes(static_cast<double>(limit.bytes)),
      limit.giver);
  return static_cast<int>(std::min({number, left / bytes_each, static_cast<std::int64_t>(threads)}));
}

class ClusterJob {
 public:
  ClusterJob(const ClusterOptions& options, const Observer& observer)
      : options_(options),
        observer_(observer),
        run_(options.run, open_options(options), observer),
        owned_(options.split == "train" ? run_.open_train() : nullptr),
        chosen_(chosen_sites(sites(), options.within, "--within")) {
    result_.warnings = run_.warnings;
    sampled_ = rows_for(options, data(), run_.config.data, result_.warnings);
  }

  ClusterResult run() {
    const Clock::time_point start = Clock::now();
    const Events events = gather();
    result_.step = run_.checkpoint.step;
    result_.positions = events.bits.positions();
    result_.rows = sampled_.rows;
    result_.per_row = sampled_.per_row;
    result_.subcomponents = events.subcomponents;
    result_.events = events.bits.events();
    VPD_CHECK(events.bits.columns() >= 2, DataError,
              "{}: expected two subcomponents or more with an importance above {:g} at one of {} positions, "
              "found {}; lower --threshold, or choose more sites",
              run_.directory.path().string(), options_.threshold, result_.positions, events.bits.columns());
    merge(events);
    result_.directory = results_path(run_.directory, result_.step) / "clusters";
    result_.seconds = seconds_since(start);
    publish();
    return std::move(result_);
  }

 private:
  const Sites& sites() const { return run_.decomposition.sites; }
  const Dataset& data() const { return owned_ ? *owned_ : *run_.eval; }

  Events gather() {
    const std::int64_t at_once =
        std::min(sampled_.rows, suitable_harvest_rows(sites().total_C(), data().length(),
                                                      run_.decomposition.target->vocabulary_size()));
    run_.compute_with(at_once);
    const BatchReader reader(run_.decomposition, data(), *run_.lanes,
                             {.rows = at_once, .limit = sampled_.rows, .stop = observer_.stop});
    EventSample sample(
        sites(), chosen_, sampled_.rows, data().length(),
        {.threshold = options_.threshold, .per_row = sampled_.per_row, .seed = options_.settings.seed});
    for (std::size_t i = 0; i < sites().size(); ++i) result_.chosen += chosen_[i] ? sites()[i].C : 0;
    for (std::int64_t k = 0; reader.rows_of(k) > 0; ++k) {
      end_if_asked(observer_.stop, "the clustering");
      observer_.announce(fmt::format("gathering events: row {} of {}", k * at_once, sampled_.rows));
      sample.add(reader.read(k));
    }
    return sample.take();
  }

  /// Clusterings of every alpha and seed: all seeds of the first alpha, then those of the next.
  void merge(const Events& events) {
    const std::int64_t seeds = options_.seeds;
    const std::int64_t number = seeds * static_cast<std::int64_t>(options_.alphas.size());
    const std::int64_t bytes = clustering_bytes(result_.positions, events.bits.columns(), result_.events);
    const int threads = options_.threads > 0 ? options_.threads : usable_cores().count;
    const int at_once = clusterings_at_once(number, bytes, events, threads);
    result_.memory_bytes = at_once * bytes + events.bits.columns() * (result_.positions / 8);
    const std::string what =
        fmt::format("clustering {} subcomponents at {} positions, {}", events.bits.columns(),
                    result_.positions, human_bytes(static_cast<double>(result_.memory_bytes)));
    observer_.announce(what);
    std::vector<Merges> all(static_cast<std::size_t>(number));
    std::atomic<std::int64_t> next{0}, merged{0};
    const std::int64_t merges = number * (events.bits.columns() - 1);
    Lanes lanes(at_once);
    lanes.run([&](int lane) {
      const auto tell = [&](std::int64_t) {
        const std::int64_t done = ++merged;
        if (lane == 0 && done % 64 == 0)
          observer_.announce(fmt::format("{}: {} %", what, 100 * done / merges));
      };
      for (std::int64_t i = next++; i < number; i = next++) {
        ClusterSettings settings = options_.settings;
        settings.alpha = options_.alphas[static_cast<std::size_t>(i / seeds)];
        settings.seed += static_cast<std::uint64_t>(i % seeds);
        all[static_cast<std::size_t>(i)] = cluster(events.bits, settings, observer_.stop, tell);
      }
    });
    for (std::size_t a = 0; a < options_.alphas.size(); ++a)
      describe(events, options_.alphas[a], std::move(all[a * static_cast<std::size_t>(seeds)]), a == 0);
    for (std::int64_t seed = 1; seed < seeds; ++seed) compare(all[static_cast<std::size_t>(seed)]);
  }

  void describe(const Events& events, double alpha, Merges&& merges, bool first) {
    AlphaResult one{.alpha = alpha, .merges = std::move(merges)};
    const std::int64_t best = one.merges.best();
    one.groups = one.merges.groups_at(best);
    one.group_count = one.merges.groups_after(best);
    const Labels labels(labels_path(run_.directory, result_.step));
    for (ClusterFigures& figures : cluster_figures(events.bits, one.groups)) {
      const bool loose = figures.cohesion < least_cohesion;
      ++(loose ? one.loose : one.clusters);
      if (first)
        (loose ? result_.loose : result_.clusters).push_back(named(events, labels, std::move(figures)));
    }
    for (auto* list : {&result_.clusters, &result_.loose}) {
      std::stable_sort(list->begin(), list->end(), [](const NamedCluster& a, const NamedCluster& b) {
        return a.figures.members.size() > b.figures.members.size();
      });
    }
    result_.alphas.push_back(std::move(one));
  }

  NamedCluster named(const Events& events, const Labels& labels, ClusterFigures&& figures) {
    const auto column_of = [&](std::int32_t member) {
      return events.subcomponents[static_cast<std::size_t>(member)];
    };
    NamedCluster cluster{.figures = std::move(figures)};
    cluster.column = column_of(cluster.figures.group);
    std::set<std::string> of_members;
    for (const std::int32_t member : cluster.figures.members) {
      const SubcomponentId id = subcomponent_at(column_of(member), sites());
      cluster.keys.push_back(to_text(id, sites()));
      if (cluster.sites.empty() || cluster.sites.back() != sites()[id.site].name)
        cluster.sites.push_back(sites()[id.site].name);
      if (const std::string label = labels.label_of(cluster.keys.back()); !label.empty())
        of_members.insert(label);
    }
    cluster.label = join_words({of_members.begin(), of_members.end()}, "; ");
    return cluster;
  }

  /// Beside another seed's groups of the first alpha.
  void compare(const Merges& other) {
    const std::vector<std::int32_t> groups = other.groups_at(other.best());
    result_.adjusted_rand.push_back(adjusted_rand(result_.alphas.front().groups, groups));
    const double share = 1.0 / static_cast<double>(options_.seeds - 1);
    for (auto* list : {&result_.clusters, &result_.loose})
      for (NamedCluster& cluster : *list)
        cluster.stability =
            cluster.stability.value_or(0.0) + share * best_matches({cluster.figures}, groups).front();
  }

  void publish() {
    observer_.announce("writing the clusters");
    const Json weights = weight_hashes(run_.checkpoint.path, observer_);
    Json about = about_result(options_.command_line, result_.step, weights, result_.warnings);
    about["tokens"] = hashes_of_rows(run_, options_.split, observer_);
    about["settings"] = {{"threshold", options_.threshold},
                         {"alpha", options_.alphas},
                         {"gamma", options_.settings.greedy ? Json() : Json(options_.settings.gamma)},
                         {"greedy", options_.settings.greedy},
                         {"require_coactivation", options_.settings.together},
                         {"seed", options_.settings.seed},
                         {"seeds", options_.seeds},
                         {"within", options_.within},
                         {"split", options_.split},
                         {"positions", result_.positions},
                         {"rows", result_.rows},
                         {"per_row", result_.per_row}};
    publish_result(result_.directory, [&](const fs::path& to) {
      save_safetensors(to / "merges.safetensors", merge_tensors());
      save_safetensors(to / "groups.safetensors", group_tensors());
      write_atomically(to / "clusters.json", cluster_json(result_));
      write_about(to, about);
    });
  }

  /// What the tensors of an alpha begin with: nothing for the first.
  std::string prefix(std::size_t a) const {
    return a == 0 ? "" : fmt::format("alpha_{:g}/", result_.alphas[a].alpha);
  }
  /// The Σ C columns that columns of the events stand for.
  at::Tensor subcomponents(const std::vector<std::int32_t>& columns) const {
    std::vector<std::int32_t> named;
    for (const std::int32_t c : columns) named.push_back(result_.subcomponents[static_cast<std::size_t>(c)]);
    return at::tensor(named, at::kInt);
  }

  NamedTensors merge_tensors() const {
    NamedTensors tensors;
    for (std::size_t a = 0; a < result_.alphas.size(); ++a) {
      const Merges& merges = result_.alphas[a].merges;
      tensors.emplace_back(prefix(a) + "left", subcomponents(merges.left));
      tensors.emplace_back(prefix(a) + "right", subcomponents(merges.right));
      tensors.emplace_back(prefix(a) + "delta", at::tensor(merges.delta, at::kDouble));
      tensors.emplace_back(prefix(a) + "total", at::tensor(merges.total, at::kDouble));
    }
    return tensors;
  }

  NamedTensors group_tensors() const {
    NamedTensors tensors = {{"subcomponent", at::tensor(result_.subcomponents, at::kInt)}};
    for (std::size_t a = 0; a < result_.alphas.size(); ++a)
      tensors.emplace_back(prefix(a) + "group", subcomponents(result_.alphas[a].groups));
    return tensors;
  }

  const ClusterOptions& options_;
  const Observer& observer_;
  OpenedRun run_;
  std::unique_ptr<Dataset> owned_;
  std::vector<bool> chosen_;  // by site
  SampledRows sampled_;
  ClusterResult result_;
};

}  // namespace

ClusterResult cluster_run(const ClusterOptions& options, const Observer& observer) {
  check_options(options);
  return ClusterJob(options, observer).run();
}

ClusterForecast forecast_cluster(const ClusterOptions& options, const Observer& observer) {
  check_options(options);
  ClusterForecast forecast;
  const PlannedPass planned(options, forecast.warnings);
  const StepShape& shape = planned.step_shape();
  const SampledRows sampled = rows_for(options, planned.data(), planned.config().data, forecast.warnings);
  const std::vector<bool> chosen = chosen_sites(shape.sites, options.within, "--within");
  for (std::size_t i = 0; i < shape.sites.size(); ++i)
    forecast.subcomponents += chosen[i] ? shape.sites[i].C : 0;
  forecast.rows = sampled.rows;
  forecast.per_row = sampled.per_row;
  forecast.positions = sampled.rows * sampled.per_row;
  forecast.T = shape.T;
  const std::int64_t N = sampled.rows * shape.T;
  forecast.operations = clean_forward(shape, N) + shape.importance_cost(N).forward;
  forecast.alive = (forecast.subcomponents + 1) / 2;
  forecast.l0 = static_cast<double>(std::min<std::int64_t>(200, forecast.alive));
  const auto events = static_cast<std::int64_t>(forecast.l0 * static_cast<double>(forecast.positions));
  forecast.memory_bytes = clustering_bytes(forecast.positions, forecast.alive, events) +
                          forecast.alive * (forecast.positions / 8);
  forecast.at_once = std::min<std::int64_t>(planned.threads(),
                                            options.seeds * static_cast<std::int64_t>(options.alphas.size()));
  // left, right, delta and total of each merge, a group of each subcomponent; its key, twice at most.
  forecast.disk_bytes = forecast.alive * (28 * static_cast<std::int64_t>(options.alphas.size()) + 60);
  forecast.device = describe_device(planned.numerics().device);
  forecast.seconds = planned.seconds(forecast.operations, sampled.rows, observer);
  return forecast;
}

}  // namespace vpd
