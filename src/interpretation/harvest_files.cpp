// What a harvest keeps while it runs: a state that goes on, or is merged with others.

#include <ATen/ATen.h>

#include "harvest_state.hpp"
#include "table_builder.hpp"
#include "vpd/base/error.hpp"
#include "vpd/io/safetensors.hpp"

namespace vpd {
namespace {

constexpr const char* state_file = "state.safetensors";

std::vector<WideSum HarvestColumn::*> sums() {
  return {&HarvestColumn::importance,        &HarvestColumn::importance_square,
          &HarvestColumn::activation,        &HarvestColumn::activation_square,
          &HarvestColumn::firing_activation, &HarvestColumn::firing_activation_abs};
}
std::vector<std::int64_t HarvestColumn::*> counts() {
  return {&HarvestColumn::positive, &HarvestColumn::negative, &HarvestColumn::zero, &HarvestColumn::rows};
}

/// Sums by key of all columns, one after the other.
void put_maps(NamedTensors& tensors, const std::string& name, const std::vector<HarvestColumn>& columns,
              CountMap HarvestColumn::*map) {
  std::vector<std::int64_t> offsets = {0}, keys, values;
  for (const HarvestColumn& column : columns) {
    for (const auto& [key, value] : (column.*map).sorted()) {
      keys.push_back(static_cast<std::int64_t>(key));
      values.push_back(value);
    }
    offsets.push_back(static_cast<std::int64_t>(keys.size()));
  }
  tensors.emplace_back(name + "/offsets", tensor_of(offsets));
  tensors.emplace_back(name + "/key", tensor_of(keys));
  tensors.emplace_back(name + "/value", tensor_of(values));
}

/// Masses of all tokens, of those (column, group): the largest of all tables, and so without a copy between.
at::Tensor masses_of(const Harvest::State& s, const std::vector<std::int64_t>& which) {
  const auto V = s.output_vocabulary(), rows = static_cast<std::int64_t>(which.size());
  at::Tensor masses = at::empty({rows * V}, at::kLong);
  auto* to = masses.data_ptr<std::int64_t>();
  for (const std::int64_t one : which) {
    const auto at = static_cast<std::size_t>(one);
    const std::vector<std::int64_t>& mass = s.columns[at / firing_groups].mass[at % firing_groups];
    to = std::copy(mass.begin(), mass.end(), to);
  }
  return masses;
}

/// A column of the file, as a vector.
template <class T>
std::vector<T> take(const SafetensorsFile& file, const std::string& name) {
  return vector_of<T>(file.load(name), file.path().string() + ": " + name);
}

void take_maps(const SafetensorsFile& file, const std::string& name, std::vector<HarvestColumn>& columns,
               CountMap HarvestColumn::*map) {
  const auto offsets = take<std::int64_t>(file, name + "/offsets"),
             keys = take<std::int64_t>(file, name + "/key"),
             values = take<std::int64_t>(file, name + "/value");
  for (std::size_t c = 0; c < columns.size(); ++c) {
    for (auto i = static_cast<std::size_t>(offsets[c]); i < static_cast<std::size_t>(offsets[c + 1]); ++i)
      (columns[c].*map).add(static_cast<std::uint64_t>(keys[i]), values[i]);
  }
}

}  // namespace

void Harvest::save(const std::filesystem::path& directory) const {
  const State& s = *state_;
  NamedTensors tensors;
  tensors.emplace_back("seen", tensor_of(std::vector<std::int64_t>{s.positions, s.rows}));
  std::vector<std::int64_t> whole;
  for (const auto count : counts())
    for (const HarvestColumn& column : s.columns) whole.push_back(column.*count);
  tensors.emplace_back("counts", tensor_of(whole));
  std::vector<double> wide;
  for (const auto sum : sums())
    for (const HarvestColumn& column : s.columns) {
      wide.push_back((column.*sum).high());
      wide.push_back((column.*sum).low());
    }
  tensors.emplace_back("sums", tensor_of(wide));
  std::vector<float> range;
  for (const HarvestColumn& column : s.columns) {
    range.push_back(column.activation_min);
    range.push_back(column.activation_max);
  }
  tensors.emplace_back("range", tensor_of(range));
  tensors.emplace_back("histogram", s.histogram);
  tensors.emplace_back("position_firings", tensor_of(s.position_firings));
  tensors.emplace_back("input_marginal", tensor_of(s.input_marginal));
  tensors.emplace_back("output_marginal", tensor_of(s.output_marginal));
  put_maps(tensors, "input", s.columns, &HarvestColumn::input);
  put_maps(tensors, "output", s.columns, &HarvestColumn::output);

  std::vector<std::int64_t> mass_of, offsets = {0};
  std::vector<std::int32_t> other, together;
  ExampleTable examples;
  for (std::size_t c = 0; c < s.A(); ++c) {
    const HarvestColumn& column = s.columns[c];
    for (std::size_t group = 0; group < firing_groups; ++group) {
      if (column.mass[group].empty()) continue;
      mass_of.push_back(static_cast<std::int64_t>(c * firing_groups + group));
    }
    for (std::size_t k = 0; k < column.together.size(); ++k) {
      if (column.together[k] == 0) continue;
      other.push_back(static_cast<std::int32_t>(c + 1 + k));
      together.push_back(column.together[k]);
    }
    offsets.push_back(static_cast<std::int64_t>(other.size()));
    examples.add(column);
  }
  tensors.emplace_back("mass/of", tensor_of(mass_of));
  tensors.emplace_back("mass/value", masses_of(s, mass_of));
  tensors.emplace_back("together/offsets", tensor_of(offsets));
  tensors.emplace_back("together/other", tensor_of(other));
  tensors.emplace_back("together/count", tensor_of(together));
  examples.put(tensors, "examples/", 2 * s.settings.window + 1, at::kFloat);
  save_safetensors(directory / state_file, tensors);
}

void Harvest::load(const std::filesystem::path& directory) {
  State& s = *state_;
  const SafetensorsFile file(directory / state_file);
  const std::size_t A = s.A();
  const auto seen = take<std::int64_t>(file, "seen"), whole = take<std::int64_t>(file, "counts");
  const auto wide = take<double>(file, "sums");
  const auto range = take<float>(file, "range");
  VPD_CHECK(seen.size() == 2 && whole.size() == counts().size() * A && wide.size() == 2 * sums().size() * A,
            DataError, "{}: expected the state of a harvest of {} subcomponents, found another; remove it",
            file.path().string(), A);
  for (std::size_t c = 0; c < A; ++c) s.columns[c] = {};
  s.positions = seen[0];
  s.rows = seen[1];
  for (std::size_t k = 0; k < counts().size(); ++k)
    for (std::size_t c = 0; c < A; ++c) s.columns[c].*counts()[k] = whole[k * A + c];
  for (std::size_t k = 0; k < sums().size(); ++k)
    for (std::size_t c = 0; c < A; ++c)
      s.columns[c].*sums()[k] = WideSum::of(wide[2 * (k * A + c)], wide[2 * (k * A + c) + 1]);
  for (std::size_t c = 0; c < A; ++c) {
    s.columns[c].activation_min = range[2 * c];
    s.columns[c].activation_max = range[2 * c + 1];
  }
  s.histogram = file.load("histogram");
  s.position_firings = take<std::int64_t>(file, "position_firings");
  s.input_marginal = take<std::int64_t>(file, "input_marginal");
  s.output_marginal = take<std::int64_t>(file, "output_marginal");
  take_maps(file, "input", s.columns, &HarvestColumn::input);
  take_maps(file, "output", s.columns, &HarvestColumn::output);

  const auto mass_of = take<std::int64_t>(file, "mass/of");
  const at::Tensor mass = file.load("mass/value");
  const auto V = s.output_vocabulary();
  VPD_CHECK(mass.scalar_type() == at::kLong && mass.numel() == static_cast<std::int64_t>(mass_of.size()) * V,
            DataError, "{}: expected {} × {} masses, found others; remove it", file.path().string(),
            mass_of.size(), V);
  for (std::size_t r = 0; r < mass_of.size(); ++r) {
    const auto at = static_cast<std::size_t>(mass_of[r]);
    const auto* begin = mass.const_data_ptr<std::int64_t>() + static_cast<std::int64_t>(r) * V;
    s.columns[at / firing_groups].mass[at % firing_groups].assign(begin, begin + V);
  }
  const auto offsets = take<std::int64_t>(file, "together/offsets");
  const auto other = take<std::int32_t>(file, "together/other"),
             count = take<std::int32_t>(file, "together/count");
  for (std::size_t c = 0; c < A; ++c) {
    if (s.columns[c].firings() == 0) continue;
    s.columns[c].together.assign(A - c - 1, 0);
    for (auto i = static_cast<std::size_t>(offsets[c]); i < static_cast<std::size_t>(offsets[c + 1]); ++i)
      s.columns[c].together[static_cast<std::size_t>(other[i]) - c - 1] = count[i];
  }
  ExampleTable examples;
  examples.take(file, "examples/", A, 2 * s.settings.window + 1);
  for (std::size_t c = 0; c < A; ++c) {
    for (std::size_t e = examples.begin(c); e < examples.end(c); ++e) {
      const ExampleKind kind = examples.kind_at(e);
      s.columns[c].examples[static_cast<std::size_t>(kind)].keep(examples.example(e), s.most(kind));
    }
  }
}

}  // namespace vpd
