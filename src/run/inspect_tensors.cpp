#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <span>
#include <variant>

#include <ATen/ATen.h>
#include <spdlog/fmt/fmt.h>

#include "base/slow_work.hpp"
#include "inspect_kinds.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/config/llama_simple_mlp.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/run_directory.hpp"
#include "vpd/io/safetensors.hpp"
#include "vpd/io/safetensors_directory.hpp"
#include "vpd/target/huggingface.hpp"
#include "vpd/target/induction.hpp"
#include "vpd/target/llama_simple_mlp.hpp"
#include "vpd/target/residual_mlp.hpp"
#include "vpd/target/target_directory.hpp"
#include "vpd/target/tms.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using config::Value;

struct Summary {
  double smallest = 0.0, largest = 0.0, mean = 0.0, norm = 0.0;
  std::int64_t not_finite = 0;
};

Summary summarise(const at::Tensor& tensor) {
  Summary s;
  if (tensor.numel() == 0) return s;
  const at::Tensor x = tensor.to(at::kDouble).flatten();
  const at::Tensor finite = at::isfinite(x);
  s.not_finite = x.numel() - at::count_nonzero(finite).item<std::int64_t>();
  const at::Tensor values = s.not_finite > 0 ? x.masked_select(finite) : x;
  if (values.numel() == 0) return s;
  s.smallest = values.min().item<double>(), s.largest = values.max().item<double>();
  s.mean = values.mean().item<double>(), s.norm = values.norm().item<double>();
  return s;
}

/// The last four columns of a tensor's row. Nothing is known of values whose dtype is not.
std::string figures(const std::optional<Summary>& s) {
  if (!s) return fmt::format(" {:>11} {:>11} {:>11} {:>11}  dtype not known", "-", "-", "-", "-");
  return fmt::format(" {:>11.4g} {:>11.4g} {:>11.4g} {:>11.4g}{}", s->smallest, s->largest, s->mean, s->norm,
                     s->not_finite > 0 ? fmt::format("  {} NOT FINITE", s->not_finite) : "");
}

/// The table of all files' tensors, and its rows as data. A tensor whose values cannot be read is there with
/// what the header says of it.
void add_tensors(Findings& findings, std::span<const SafetensorsFile> files, const Observer& observer) {
  std::size_t widest = 6, widest_dtype = 5;
  std::int64_t elements = 0, bytes = 0;
  std::vector<std::pair<const SafetensorsFile*, const TensorInfo*>> tensors;
  for (const SafetensorsFile& file : files) {
    for (const TensorInfo& info : file.tensors()) {
      widest = std::max(widest, printable(info.name).size());
      widest_dtype = std::max(widest_dtype, printable(info.dtype).size());
      elements += count_elements(info.shape), bytes += info.end - info.begin;
      tensors.emplace_back(&file, &info);
    }
  }
  const StopAsked stop = announce(observer, fmt::format("reading {} tensors", tensors.size()), bytes);
  findings.text += fmt::format("{:<{}} {:>{}} {:>18} {:>11} {:>11} {:>11} {:>11}\n", "tensor", widest,
                               "dtype", widest_dtype, "shape", "smallest", "largest", "mean", "norm");
  Value::List rows;
  for (const auto& [file, info] : tensors) {
    end_if_asked(stop, "reading the tensors");
    Value::List sizes;
    for (const std::int64_t size : info->shape) sizes.push_back(Value(size));
    Value::Map row{
        {"name", Value(info->name)}, {"dtype", Value(info->dtype)}, {"shape", Value(std::move(sizes))}};
    const std::string shape = fmt::format("[{}]", fmt::join(info->shape, ", "));
    findings.text += fmt::format("{:<{}} {:>{}} {:>18}", printable(info->name), widest,
                                 printable(info->dtype), widest_dtype, shape);
    list_or_warn(findings, [&, &file = file, &info = info] {
      std::optional<Summary> s;
      if (info->scalar_type) s = summarise(file->load(info->name));
      const auto figure = [&](auto Summary::*member) { return s ? Value(*s.*member) : Value(); };
      findings.text += figures(s);
      row.insert(row.end(), {{"smallest", figure(&Summary::smallest)},
                             {"largest", figure(&Summary::largest)},
                             {"mean", figure(&Summary::mean)},
                             {"norm", figure(&Summary::norm)},
                             {"not_finite", figure(&Summary::not_finite)}});
    });
    findings.text += "\n";
    rows.push_back(Value(std::move(row)));
  }
  findings.text += fmt::format("{} tensors, {} elements, {}\n", rows.size(), elements,
                               human_bytes(static_cast<double>(bytes)));
  findings.data.map()->push_back({"tensors", Value(std::move(rows))});
  findings.data.map()->push_back({"elements", Value(elements)});
}

void add_metadata(Findings& findings, const SafetensorsFile& file) {
  Value::Map map;
  for (const auto& [key, value] : file.metadata()) {
    findings.text += fmt::format("metadata {}: {}\n", printable(key), printable(value));
    map.push_back({key, Value(value)});
  }
  findings.data.map()->push_back({"metadata", Value(std::move(map))});
}

/// The weight matrices by the names that patterns of sites are matched against.
void add_matrices(Findings& findings, const Architecture& architecture) {
  std::size_t widest = 6;
  for (const MatrixShape& matrix : architecture.matrices) widest = std::max(widest, matrix.name.size());
  findings.text += fmt::format("{:<{}} {:>7} {:>7}\n", "matrix", widest, "d_in", "d_out");
  Value::List rows;
  for (const MatrixShape& matrix : architecture.matrices) {
    findings.text += fmt::format("{:<{}} {:>7} {:>7}{}\n", matrix.name, widest, matrix.d_in, matrix.d_out,
                                 matrix.in_block ? "" : "  a site only where it is named in full");
    rows.push_back(Value(Value::Map{
        {"name", Value(matrix.name)}, {"d_in", Value(matrix.d_in)}, {"d_out", Value(matrix.d_out)}}));
  }
  findings.text += fmt::format("{} parameters\n\n", architecture.parameters);
  findings.data.map()->push_back({"matrices", Value(std::move(rows))});
  findings.data.map()->push_back({"parameters", Value(architecture.parameters)});
}

/// Rows of "<site>.V" and "<site>.U": widths, C, and how far the lengths of the rank-one terms reach.
void add_sites(Findings& findings, const SafetensorsFile& file) {
  constexpr std::string_view ending = ".V";
  std::vector<std::string> names;
  std::size_t widest = 4;
  for (const TensorInfo& info : file.tensors()) {
    if (!info.name.ends_with(ending)) continue;
    names.push_back(info.name.substr(0, info.name.size() - ending.size()));
    widest = std::max(widest, printable(names.back()).size());
  }
  std::sort(names.begin(), names.end());
  findings.text +=
      fmt::format("{:<{}} {:>7} {:>7} {:>7} {:>11} {:>11} {:>11}   |U_c| |V_c| of a subcomponent\n", "site",
                  widest, "d_in", "d_out", "C", "smallest", "median", "largest");
  Value::List rows;
  std::int64_t all = 0;
  for (const std::string& name : names) {
    const at::Tensor V = file.load(name + ".V").to(at::kDouble), U = file.load(name + ".U").to(at::kDouble);
    VPD_CHECK(V.dim() == 2 && U.dim() == 2 && V.size(1) == U.size(0), DataError,
              "{}: expected {}.V [d_in, C] and {}.U [C, d_out], found [{}] and [{}]", file.path().string(),
              name, name, fmt::join(V.sizes(), ", "), fmt::join(U.sizes(), ", "));
    const at::Tensor lengths = V.norm(2, {0}, false).mul_(U.norm(2, {1}, false));
    const std::int64_t d_in = V.size(0), C = V.size(1), d_out = U.size(1);
    const double smallest = lengths.min().item<double>(), median = lengths.median().item<double>(),
                 largest = lengths.max().item<double>();
    findings.text += fmt::format("{:<{}} {:>7} {:>7} {:>7} {:>11.4g} {:>11.4g} {:>11.4g}\n", printable(name),
                                 widest, d_in, d_out, C, smallest, median, largest);
    all += C;
    rows.push_back(Value(Value::Map{{"name", Value(name)},
                                    {"d_in", Value(d_in)},
                                    {"d_out", Value(d_out)},
                                    {"C", Value(C)},
                                    {"smallest", Value(smallest)},
                                    {"median", Value(median)},
                                    {"largest", Value(largest)}}));
  }
  findings.text += fmt::format("{} sites, {} subcomponents\n", names.size(), all);
  findings.data.map()->push_back({"sites", Value(std::move(rows))});
}

std::int64_t elements_of(const SafetensorsFile& file) {
  std::int64_t count = 0;
  for (const TensorInfo& info : file.tensors()) count += count_elements(info.shape);
  return count;
}

}  // namespace

Findings inspect_safetensors(const fs::path& path, const Observer& observer) {
  Findings findings{.kind = "safetensors", .title = "a safetensors file"};
  const SafetensorsFile file(path);
  add_tensors(findings, {&file, 1}, observer);
  add_metadata(findings, file);
  return findings;
}

namespace {

template <class Config>
Findings inspect_toy(const fs::path& directory,
                     Config (*describe)(const fs::path&, std::vector<std::string>&),
                     Architecture (*architecture)(const Config&), const Observer& observer) {
  Findings findings{.kind = "target", .title = fmt::format("a target, {}", Config::model_type)};
  const Config config = describe(directory, findings.warnings);
  const std::string json = toy_config_json(config);
  findings.text = json + "\n";
  findings.data.map()->push_back({"model_config", config::parse_json(json, "the model's configuration")});
  add_matrices(findings, architecture(config));
  const SafetensorsFile file(find_weights(directory));
  add_tensors(findings, {&file, 1}, observer);
  return findings;
}

Findings inspect_llama_simple_mlp(const fs::path& directory, const Observer& observer) {
  Findings findings{.kind = "target", .title = "a target, LlamaSimpleMLP"};
  const LlamaSimpleMlpCheckpoint checkpoint = read_llama_simple_mlp(directory, findings.warnings);
  const std::string json = model_config_json(checkpoint.config);
  findings.text = json + "\n";
  findings.data.map()->push_back({"model_config", config::parse_json(json, "the model's configuration")});
  const SafetensorsFile file(checkpoint.weights_file);
  const bool untied = checkpoint.weights.back().first == "lm_head.weight";
  findings.text +=
      fmt::format("the head is {}\n\n", untied ? "a matrix of its own" : "tied to the embedding");
  add_tensors(findings, {&file, 1}, observer);
  return findings;
}

}  // namespace

Findings inspect_target(const fs::path& directory, const Observer& observer) {
  const TargetConfig target = target_in(directory);
  if (std::holds_alternative<TmsTarget>(target))
    return inspect_toy(directory, describe_tms, tms_architecture, observer);
  if (std::holds_alternative<ResidualMlpTarget>(target))
    return inspect_toy(directory, describe_residual_mlp, residual_mlp_architecture, observer);
  if (std::holds_alternative<InductionTarget>(target))
    return inspect_toy(directory, describe_induction, induction_architecture, observer);
  return inspect_llama_simple_mlp(directory, observer);
}

Findings inspect_huggingface(const fs::path& directory, const Observer& observer) {
  Findings findings{.kind = "target"};
  const HuggingFaceConfig config = describe_huggingface(directory, findings.warnings);
  findings.title = fmt::format("a target, {} in Hugging Face's layout", family_of(config));
  const std::string json = huggingface_config_json(config);
  findings.text = json + "\n";
  findings.data.map()->push_back({"model_config", config::parse_json(json, "the model's configuration")});
  add_matrices(findings, architecture_of(config));
  const SafetensorsDirectory files(directory);
  add_tensors(findings, files.files(), observer);
  return findings;
}

namespace {

void add_state(Findings& findings, const fs::path& path) {
  if (!fs::exists(path)) return;
  Value state = config::read_file(path);
  findings.text += config::to_yaml(state) + "the files are those that state.json names\n\n";
  findings.data.map()->push_back({"state", std::move(state)});
}

void add_training_state(Findings& findings, const fs::path& path) {
  if (!fs::exists(path)) return;
  const SafetensorsFile file(path);
  std::map<std::string, std::int64_t> groups;  // by the part of the name before the first '/'
  for (const TensorInfo& info : file.tensors()) ++groups[info.name.substr(0, info.name.find('/'))];
  Value::Map map;
  for (const auto& [group, tensors] : groups) {
    findings.text += fmt::format("training state: {} tensors of {}\n", tensors, printable(group));
    map.push_back({group, Value(tensors)});
  }
  findings.data.map()->push_back({"training_state", Value(std::move(map))});
}

}  // namespace

Findings inspect_checkpoint(const fs::path& directory, const Observer& observer) {
  Findings findings{.kind = "checkpoint", .title = "a checkpoint of a decomposition"};
  const fs::path training_state = directory / "training_state.safetensors";
  std::int64_t bytes = 0;
  for (const fs::path& file :
       {directory / components_file, directory / causal_importance_file, training_state}) {
    std::error_code error;
    const std::uintmax_t size = fs::file_size(file, error);
    if (!error) bytes += static_cast<std::int64_t>(size);
  }
  announce(observer, "reading the checkpoint", bytes);
  verify_checkpoint(directory);
  list_or_warn(findings, [&] { add_state(findings, directory / "state.json"); });
  add_sites(findings, SafetensorsFile(directory / components_file));
  list_or_warn(findings, [&] {
    const std::int64_t parameters = elements_of(SafetensorsFile(directory / causal_importance_file));
    findings.text += fmt::format("causal-importance function: {} parameters\n", parameters);
    findings.data.map()->push_back({"causal_importance_parameters", Value(parameters)});
  });
  list_or_warn(findings, [&] { add_training_state(findings, training_state); });
  return findings;
}

}  // namespace vpd
