#include "vpd/run/sample.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <system_error>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "decomposition/inputs.hpp"
#include "machine/scoped_thread_count.hpp"
#include "named_target.hpp"
#include "prompt_text.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/host.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/base/text.hpp"
#include "vpd/base/version.hpp"
#include "vpd/cost/sampling.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/sha256.hpp"
#include "vpd/io/token_shard.hpp"
#include "vpd/machine/memory.hpp"
#include "vpd/run/run_choice.hpp"
#include "vpd/target/key_value_cache.hpp"
#include "vpd/target/row_sampling.hpp"
#include "vpd/target/target_directory.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

fs::path about_of(const fs::path& file) { return file.string() + ".json"; }

void check_options(const SampleOptions& options) {
  VPD_CHECK(options.rows >= 1 && options.batch >= 1, UsageError,
            "--rows, --batch: expected at least 1, found {} and {}", options.rows, options.batch);
  VPD_CHECK(std::isfinite(options.choice.temperature) && options.choice.temperature >= 0.0, UsageError,
            "--temperature: expected a number of at least 0, found {}", options.choice.temperature);
  VPD_CHECK(options.choice.top_p > 0.0 && options.choice.top_p <= 1.0, UsageError,
            "--top-p: expected a number above 0 and at most 1, found {}", options.choice.top_p);
}

/// Whether the file can be written is better known before hours of work than after.
void check_out(const fs::path& out) {
  VPD_CHECK(out.extension() == ".bin", UsageError,
            "--out {}: expected a name that ends in .bin, which is how token files are told from others",
            out.string());
  std::error_code error;
  for (const fs::path& file : {out, about_of(out)})
    VPD_CHECK(!fs::exists(file, error), DataError,
              "{}: expected a place for a new file, found one that is there; choose another or remove it",
              file.string());
  const fs::path parent = fs::absolute(out, error).parent_path();
  VPD_CHECK(fs::is_directory(parent, error) && ::access(parent.c_str(), W_OK) == 0, DataError,
            "--out {}: expected a file in a directory that is there and can be written to, found no such {}",
            out.string(), parent.string());
}

class SampleJob {
 public:
  SampleJob(const SampleOptions& options, const Observer& observer)
      : options_(options),
        observer_(observer),
        threads_(options.threads),
        named_(named_target(options.target)) {
    check_options(options);
    check_out(options.out);
    architecture_ = describe_target(named_.target, ignored_);
    const InputShape input = architecture_.input();
    VPD_CHECK(input.vocabulary > 0, DataError,
              "{}: expected a language model, found a target that reads features", options.target.string());
    VPD_CHECK(options.length >= 1 && options.length <= input.longest, UsageError,
              "--length: expected 1 to {} tokens, the longest row that the target takes, found {}",
              input.longest, options.length);
    VPD_CHECK(options.rows <= kMostShardTokens / options.length, UsageError,
              "--rows: expected at most {} of {} tokens, which is all that one file can hold, found {}",
              kMostShardTokens / options.length, options.length, options.rows);
    open_tokenizer();
    beginning_ = begin_rows();
    numerics_ = resolve_numerics(options.device.value_or("auto"), Precision::fp32);
    observer.announce("reading the target");
    target_ = load_target(named_.target, numerics_, warnings_);
    VPD_CHECK(target_->predicts_next_token(), DataError,
              "{}: expected a language model, whose logits are of the token that comes next, found a target "
              "that says something else",
              options.target.string());
    sampling_ = {.length = options.length,
                 .beginning = beginning_.tokens,
                 .choice = options.choice,
                 .seed = options.seed};
    check_sampling(*target_, sampling_);
  }

  SampleResult run() {
    const HashedRole files = hash_inputs({target_role(named_.target)}, observer_).front();
    started_ = Clock::now();
    tokens_.reserve(static_cast<std::size_t>(options_.rows * options_.length));
    std::int64_t rows = 0;
    try {
      while (rows < options_.rows) rows += draw_batch(rows);
    } catch (const Interrupted&) {
      if (rows == 0)
        throw Interrupted(
            "the sampling was interrupted before the first rows were whole; nothing is written");
      write(rows, files);
      throw Interrupted(fmt::format("the sampling was interrupted: {} holds the first {} of {} rows",
                                    options_.out.string(), rows, options_.rows));
    }
    const double seconds = seconds_since(started_);
    write(rows, files);
    return {.file = options_.out,
            .about = about_of(options_.out),
            .rows = rows,
            .length = options_.length,
            .beginning = beginning_,
            .first_row = first_row(),
            .seconds = seconds,
            .warnings = warnings_};
  }

  SampleForecast forecast() {
    const SamplingCost cost = predict_sampling(
        architecture_, {.rows = options_.rows, .length = options_.length, .batch = options_.batch});
    SampleForecast forecast{.rows = options_.rows,
                            .length = options_.length,
                            .batch = std::min(options_.batch, options_.rows),
                            .beginning = beginning_,
                            .operations = cost.operations,
                            .memory_bytes = cost.memory_bytes(),
                            .cache_bytes = cost.cache_bytes,
                            .file_bytes = cost.file_bytes};
    // What the program holds before it has read a weight.
    if (numerics_.device.is_cpu()) forecast.memory_bytes += program_bytes_;
    forecast.seconds = measured_seconds(forecast.batch);
    forecast.device = describe_device(numerics_.device);
    forecast.warnings = warnings_;
    return forecast;
  }

 private:
  /// One that is there but cannot be read is in the way of a prompt alone.
  void open_tokenizer() {
    if (options_.tokenizer) {
      tokenizer_ = Tokenizer::load(*options_.tokenizer);
      return;
    }
    try {
      tokenizer_ = find_tokenizer(named_);
    } catch (const DataError& error) {
      if (!options_.prompt.empty()) throw;
      warnings_.push_back(fmt::format("tokens are shown as numbers: {}", error.what()));
    }
  }

  RowBeginning begin_rows() {
    RowBeginning beginning;
    const bool prompted = !options_.prompt.empty() || !options_.prompt_tokens.empty();
    const InputShape input = architecture_.input();
    if (options_.start_token) {
      VPD_CHECK(*options_.start_token >= 0 && *options_.start_token < input.vocabulary, UsageError,
                "--start-token: expected a token below {}, which the target knows, found {}",
                input.vocabulary, *options_.start_token);
      beginning = {.tokens = {*options_.start_token}, .origin = "--start-token", .text = {}};
    } else if (!prompted) {
      if (const auto token = start_token_of(named_.target, input.vocabulary)) {
        beginning = {.tokens = {*token}, .origin = "bos_token_id of config.json", .text = {}};
      } else {
        beginning.origin = "drawn uniformly";
        warnings_.emplace_back(
            "the target's files name no token that rows begin with: the first token of each row is drawn "
            "uniformly from the vocabulary, which is not the model's distribution; name one with "
            "--start-token, or give a prompt");
      }
    }
    if (prompted) {
      const std::vector<std::int64_t> prompt =
          prompt_of(options_.prompt, options_.prompt_tokens, tokenizer_, input);
      beginning.tokens.insert(beginning.tokens.end(), prompt.begin(), prompt.end());
      beginning.origin += beginning.origin.empty() ? "the prompt" : " and the prompt";
    }
    beginning.text = text_of(beginning.tokens);
    return beginning;
  }

  std::string text_of(std::span<const std::int64_t> tokens) const {
    std::vector<std::string> texts;
    for (const std::int64_t token : tokens) texts.push_back(token_text(token, tokenizer_));
    return join_words(texts, tokenizer_ ? "" : " ");
  }

  std::string first_row() const {
    constexpr std::size_t shown = 40;
    const std::size_t count = std::min(shown, static_cast<std::size_t>(options_.length));
    const std::vector<std::int64_t> first(tokens_.begin(),
                                          tokens_.begin() + static_cast<std::ptrdiff_t>(count));
    return text_of(first) + (static_cast<std::int64_t>(count) < options_.length ? " ..." : "");
  }

  /// Rows from `first` on, as many as are drawn at once.
  std::int64_t draw_batch(std::int64_t first) {
    const std::int64_t count = std::min(options_.batch, options_.rows - first);
    const at::Tensor rows = sample_rows(*target_, sampling_, first, count, [&](std::int64_t t) {
      end_if_asked(observer_.stop, "the sampling");
      tell(first, count, t);
    });
    const auto* data = rows.const_data_ptr<std::int64_t>();
    tokens_.insert(tokens_.end(), data, data + rows.numel());
    return count;
  }

  void tell(std::int64_t first, std::int64_t count, std::int64_t t) const {
    if (!observer_.status) return;
    const std::int64_t all = options_.rows * options_.length, done = first * options_.length + count * t;
    std::string line = fmt::format("sampling: {} of {} tokens", human_count(static_cast<double>(done)),
                                   human_count(static_cast<double>(all)));
    if (const double seconds = seconds_since(started_); seconds > 1.0 && done > 0)
      line += fmt::format(
          ", {} left", human_duration(seconds * static_cast<double>(all - done) / static_cast<double>(done)));
    observer_.status(line);
  }

  void write(std::int64_t rows, const HashedRole& files) {
    if (is_wide()) {
      write_token_shard(options_.out, std::span<const std::uint32_t>(tokens_));
    } else {
      const std::vector<std::uint16_t> narrow(tokens_.begin(), tokens_.end());
      write_token_shard(options_.out, std::span<const std::uint16_t>(narrow));
    }
    Json read = Json::array();
    for (const HashedFile& file : files.files)
      read.push_back({{"path", name_in_json(file.path)}, {"sha256", file.sha256}});
    const Json about = {{"version", version()},
                        {"git_revision", git_revision()},
                        {"command_line", options_.command_line},
                        {"time", utc_now()},
                        {"device", describe_device(numerics_.device)},
                        {"target", read},
                        {"rows", rows},
                        {"length", options_.length},
                        {"vocabulary", architecture_.output_width},
                        {"seed", options_.seed},
                        {"temperature", options_.choice.temperature},
                        {"top_p", options_.choice.top_p},
                        {"beginning", {{"tokens", beginning_.tokens}, {"origin", beginning_.origin}}},
                        {"sha256", sha256_of_file(options_.out)},
                        {"warnings", warnings_}};
    write_atomically(about_of(options_.out), json_text(about, 1) + "\n");
  }

  bool is_wide() const { return architecture_.output_width > (std::int64_t{1} << 16); }

  /// Some tokens of a batch are made; those further on see more, and take as much longer as they have more
  /// operations.
  double measured_seconds(std::int64_t batch) {
    constexpr int most = 16;
    constexpr double enough = 2.0;
    observer_.announce("timing some tokens");
    const std::int64_t steps = std::min<std::int64_t>(most, options_.length - 1);
    if (steps < 1) return 0.0;
    KeyValueCache cache(batch, steps);
    const at::Tensor tokens = at::zeros({batch, 1}, at::kLong).to(numerics_.device);
    const std::vector<DrawPlace> places(static_cast<std::size_t>(batch));
    double least = 0.0;
    const Clock::time_point began = Clock::now();
    for (std::int64_t t = 0; t < steps && (t < 3 || seconds_since(began) < enough); ++t) {
      end_if_asked(observer_.stop, "the measurement");
      const Clock::time_point start = Clock::now();
      static_cast<void>(choose_tokens(cache.next_logits(*target_, tokens), options_.choice, places));
      const double seconds = seconds_since(start);
      if (t < 2 || seconds < least) least = seconds;  // the first sets libraries up
    }
    const double each = operations_of_token(architecture_, 1);
    const SamplingCost one_row =
        predict_sampling(architecture_, {.rows = 1, .length = options_.length, .batch = 1});
    const auto batches = static_cast<double>((options_.rows + batch - 1) / batch);
    return batches * least * one_row.operations / each;
  }

  const SampleOptions& options_;
  const Observer& observer_;
  ScopedThreadCount threads_;
  std::int64_t program_bytes_ = peak_resident_bytes();
  std::vector<std::string> warnings_, ignored_;
  NamedTarget named_;
  Architecture architecture_;
  std::optional<Tokenizer> tokenizer_;
  RowBeginning beginning_;
  Numerics numerics_;
  std::unique_ptr<Target> target_;
  RowSampling sampling_;
  std::vector<std::uint32_t> tokens_;
  Clock::time_point started_;
};

}  // namespace

SampleResult sample_run(const SampleOptions& options, const Observer& observer) {
  return SampleJob(options, observer).run();
}

SampleForecast forecast_sample(const SampleOptions& options, const Observer& observer) {
  return SampleJob(options, observer).forecast();
}

}  // namespace vpd
