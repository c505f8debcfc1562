// Answers of a language model, or of a person, about subcomponents.

#include <map>
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/host.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/interpretation/labels.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"
#include "vpd/run/labels.hpp"
#include "vpd/run/run_choice.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string text_in(const Json& line, const char* name, const std::string& where) {
  if (!line.contains(name) || line[name].is_null()) return {};
  VPD_CHECK(line[name].is_string(), DataError, "{}: expected text under \"{}\", found {}", where, name,
            line[name].type_name());
  return line[name].get<std::string>();
}

/// Numbers from 1 to `most`.
std::set<std::int64_t> numbers(const Json& answer, std::int64_t most, const std::string& where) {
  std::set<std::int64_t> chosen;
  const Json list = answer.is_number_integer() ? Json::array({answer}) : answer;
  VPD_CHECK(list.is_array(), DataError, "{}: expected numbers under \"answer\", found {}", where,
            answer.type_name());
  for (const Json& number : list) {
    VPD_CHECK(number.is_number_integer() && number >= 1 && number <= most, DataError,
              "{}: expected numbers of windows, 1 to {}, under \"answer\", found {}", where, most,
              json_text(number));
    chosen.insert(number.get<std::int64_t>());
  }
  return chosen;
}

/// A question of a test: how many windows it has, and which are right.
struct TestKey {
  std::string task, key;
  std::int64_t windows = 0;
  std::set<std::int64_t> right;
};

std::map<std::string, TestKey> read_keys(const fs::path& path) {
  const Json json = Json::parse(read_text(path), nullptr, /*allow_exceptions=*/false);
  VPD_CHECK(json.is_object(), DataError, "{}: expected the keys.json of an export, found something else",
            path.string());
  std::map<std::string, TestKey> keys;
  for (const auto& [id, entry] : json.items()) {
    const bool whole = entry.is_object() && entry.contains("task") && entry["task"].is_string() &&
                       entry.contains("key") && entry["key"].is_string() && entry.contains("windows") &&
                       entry["windows"].is_number_integer() && entry.contains("answer") &&
                       entry["answer"].is_array();
    VPD_CHECK(whole, DataError,
              "{}: expected task, key, windows and answer under {}, as an export leaves them, found others; "
              "export again",
              path.string(), quote_foreign(id));
    TestKey key{.task = entry["task"], .key = entry["key"], .windows = entry["windows"]};
    key.right =
        numbers(entry["answer"], key.windows, fmt::format("{}: {}", path.string(), quote_foreign(id)));
    keys.emplace(id, std::move(key));
  }
  return keys;
}

/// Of an intruder the whole question is one judgement, of the other tests each window.
void judge(const TestKey& key, const std::set<std::int64_t>& chosen, TaskScore& score) {
  if (key.task == "intruder") {
    ++score.answered;
    ++score.positives;
    score.right += chosen == key.right;
    score.found += chosen == key.right;
    return;
  }
  for (std::int64_t i = 1; i <= key.windows; ++i) {
    const bool wanted = key.right.contains(i), said = chosen.contains(i);
    ++score.answered;
    score.right += wanted == said;
    ++(wanted ? score.positives : score.negatives);
    score.found += wanted && said;
    score.rejected += !wanted && !said;
  }
}

Json score_json(const TaskScore& score) {
  return {{"judgements", score.answered},
          {"accuracy", score.accuracy()},
          {"balanced_accuracy", score.balanced_accuracy()}};
}

}  // namespace

double TaskScore::accuracy() const {
  return answered > 0 ? static_cast<double>(right) / static_cast<double>(answered) : 0.0;
}
double TaskScore::balanced_accuracy() const {
  const auto part = [](std::int64_t a, std::int64_t b) {
    return b > 0 ? static_cast<double>(a) / static_cast<double>(b) : 1.0;
  };
  return negatives > 0 ? (part(found, positives) + part(rejected, negatives)) / 2.0 : accuracy();
}

LabelImportResult import_labels(const LabelImport& options) {
  const OpenedEvidence opened(options.run, options.checkpoint);
  Labels labels(labels_path(opened.directory, opened.checkpoint.step));
  const std::map<std::string, Label> before = labels.all();
  bool dropped = options.merge;
  std::map<std::string, TestKey> keys;
  if (options.keys) {
    keys = read_keys(*options.keys);
  }
  LabelImportResult result;
  std::set<std::string> seen;
  std::map<std::string, std::set<std::int64_t>> answered;  // by question: the last answer
  std::istringstream lines(read_text(options.answers));
  std::int64_t number = 0;
  for (std::string text; std::getline(lines, text);) {
    ++number;
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}: line {}", options.answers.string(), number);
    const Json line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    VPD_CHECK(line.is_object(), DataError, "{}: expected a JSON object in UTF-8, found something else",
              where);
    const std::string id = text_in(line, line.contains("id") ? "id" : "key", where);
    VPD_CHECK(!id.empty(), DataError, "{}: expected \"id\" or \"key\", found neither", where);
    result.duplicates += !seen.insert(id).second;
    if (line.contains("answer")) {
      VPD_CHECK(options.keys, DataError,
                "{}: expected a label, found the answer of a test; give --keys the export's keys.json",
                where);
      VPD_CHECK(keys.contains(id), DataError, "{}: expected the id of a question in {}, found {}", where,
                options.keys->string(), quote_foreign(id));
      answered[id] = numbers(line["answer"], keys.at(id).windows, where);
      continue;
    }
    const std::string name = line.contains("key") ? text_in(line, "key", where) : id;
    SubcomponentId subcomponent;
    try {
      subcomponent = opened.subcomponent(name);
    } catch (const UsageError& error) {
      throw DataError(fmt::format("{}: {}", where, error.what()));
    }
    const std::string confidence = text_in(line, "confidence", where);
    VPD_CHECK(confidence.empty() || confidence == "low" || confidence == "medium" || confidence == "high",
              DataError, "{}: expected low, medium or high under \"confidence\", found {}", where,
              quote_foreign(confidence));
    if (!dropped) labels.keep_only("hand");
    dropped = true;
    const std::string key = to_text(subcomponent, opened.evidence.sites());
    if (const auto mine = before.find(key);
        mine != before.end() && mine->second.source == "hand" && options.source != "hand") {
      ++result.kept_by_hand;
      continue;
    }
    labels.set(key,
               {.label = text_in(line, "label", where),
                .input_label = text_in(line, "input_label", where),
                .output_label = text_in(line, "output_label", where),
                .confidence = confidence,
                .source = options.source,
                .time = utc_now()},
               where);
  }
  VPD_CHECK(!seen.empty(), DataError, "{}: expected answers, one a line, found none",
            options.answers.string());
  for (const auto& [id, chosen] : answered) {
    const TestKey& key = keys.at(id);
    judge(key, chosen, result.scores[key.task]);
    judge(key, chosen, result.of_key[key.task][key.key]);
  }
  result.labels = static_cast<std::int64_t>(labels.all().size());
  const bool new_labels = seen.size() > answered.size();
  for (const auto& [key, label] : before) result.dropped += labels.all().contains(key) ? 0 : 1;
  if (new_labels) labels.save();
  if (!result.scores.empty()) {
    // Scores of other tests stay.
    const fs::path place = results_path(opened.directory, opened.checkpoint.step) / "label_scores.json";
    std::error_code error;
    Json scores = fs::exists(place, error)
                      ? Json::parse(read_text(place), nullptr, /*allow_exceptions=*/false)
                      : Json::object();
    if (!scores.is_object()) scores = Json::object();
    for (const auto& [task, score] : result.scores) {
      scores[task] = score_json(score);
      scores[task]["source"] = options.source;
      for (const auto& [key, of_key] : result.of_key[task])
        scores[task]["subcomponents"][key] = score_json(of_key);
    }
    write_atomically(place, json_text(scores, 1) + "\n");
  }
  return result;
}

void set_label(const fs::path& run, std::optional<std::int64_t> checkpoint, const std::string& key,
               const std::string& label) {
  const OpenedEvidence opened(run, checkpoint);
  const SubcomponentId id = opened.subcomponent(key);
  Labels labels(labels_path(opened.directory, opened.checkpoint.step));
  labels.set(to_text(id, opened.evidence.sites()), {.label = label, .source = "hand", .time = utc_now()},
             "the label");
  labels.save();
}

std::string labels_text(const LabelImportResult& result) {
  const auto many = [](std::size_t count, const char* what) {
    return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
  };
  std::string text = many(static_cast<std::size_t>(result.labels), "label") + " in the run";
  if (result.dropped > 0)
    text += fmt::format("; {} earlier ones are gone (--merge keeps them)", result.dropped);
  text += "\n";
  if (result.duplicates > 0)
    text += fmt::format("{} answered more than once: the last counts\n", result.duplicates);
  for (const auto& [task, score] : result.scores) {
    text +=
        fmt::format("{:<10} accuracy {:.3f}, balanced {:.3f}, of {} about {}\n", task, score.accuracy(),
                    score.balanced_accuracy(), many(static_cast<std::size_t>(score.answered), "judgement"),
                    many(result.of_key.at(task).size(), "subcomponent"));
  }
  return text;
}

std::string labels_json(const LabelImportResult& result) {
  Json document = {{"labels", result.labels},
                   {"dropped", result.dropped},
                   {"kept_by_hand", result.kept_by_hand},
                   {"duplicates", result.duplicates}};
  Json scores = Json::object();
  for (const auto& [task, score] : result.scores) scores[task] = score_json(score);
  document["scores"] = scores;
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
