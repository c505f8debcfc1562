#include "vpd/run/status.hpp"

#include <array>
#include <utility>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "vpd/base/error.hpp"
#include "vpd/base/host.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/metrics_series.hpp"
#include "vpd/io/run_directory.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::array<std::pair<RunState, const char*>, 5> state_names = {
    {{RunState::running, "running"},
     {RunState::done, "done"},
     {RunState::interrupted, "interrupted"},
     {RunState::diverged, "diverged"},
     {RunState::failed, "failed"}}};

Json as_json(const RunStatus& status) {
  return {{"state", name_of(status.state)},
          {"step", status.step},
          {"steps", status.steps},
          {"exit_code", status.exit_code ? Json(*status.exit_code) : Json()},
          {"sentence", status.sentence}};
}

}  // namespace

std::string name_of(RunState state) {
  for (const auto& [known, name] : state_names)
    if (known == state) return name;
  return "";
}

void write_status(const fs::path& run, const RunStatus& status) {
  Json json = as_json(status);
  const auto job = batch_job();
  json["host"] = host_name();
  json["job"] = job ? Json(*job) : Json();
  json["process"] = ::getpid();
  write_atomically(run / "status.json", json_text(json, 1) + "\n");
}

std::optional<RunStatus> read_status(const fs::path& run) {
  const fs::path path = run / "status.json";
  if (!fs::exists(path)) return std::nullopt;
  const Json json = Json::parse(read_text(path), nullptr, /*allow_exceptions=*/false);
  RunStatus status;
  bool known = json.is_object();
  try {
    const std::string state = known ? json.at("state").get<std::string>() : "";
    known = false;
    for (const auto& [value, name] : state_names)
      if (state == name) status.state = value, known = true;
    if (known) {
      status.step = json.at("step").get<std::int64_t>();
      status.steps = json.at("steps").get<std::int64_t>();
      if (json.at("exit_code").is_number_integer()) status.exit_code = json.at("exit_code").get<int>();
      status.sentence = json.at("sentence").get<std::string>();
    }
  } catch (const Json::exception&) {
    known = false;
  }
  VPD_CHECK(known, DataError,
            "{}: expected a run's state, step, steps, exit_code and sentence, found something else",
            path.string());
  return status;
}

void note_stopped_at_once(const fs::path& run, int exit_code) noexcept {
  try {
    RunStatus status = read_status(run).value_or(RunStatus{});
    status.state = RunState::interrupted;
    status.exit_code = exit_code;
    status.sentence = "stopped at once: what was done since the last checkpoint is not saved";
    write_status(run, status);
  } catch (const std::exception&) {
    // The program ends this moment all the same.
  }
}

std::string run_json(const fs::path& run) {
  Json json = {{"run", run.string()}};
  json.update(as_json(read_status(run).value_or(RunStatus{})));
  json["metrics"] = Json::object();
  const fs::path metrics_path = RunDirectory::open(run).metrics_path();
  if (fs::exists(metrics_path)) {
    const MetricsSeries metrics = read_metrics(metrics_path);
    for (const std::string& name : metrics.names("")) json["metrics"][name] = metrics.of(name).back().value;
  }
  return json_text(json, 1) + "\n";
}

}  // namespace vpd
