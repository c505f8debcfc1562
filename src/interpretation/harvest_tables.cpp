// What a harvest leaves: the tables that every command reads.

#include <algorithm>

#include <ATen/ATen.h>

#include "harvest_state.hpp"
#include "lens.hpp"
#include "table_builder.hpp"
#include "vpd/interpretation/token_statistics.hpp"

namespace vpd {
namespace {

/// A token's counts or masses in a subcomponent's firings.
struct TokenCount {
  std::int32_t token = 0;
  std::int64_t all = 0, positive = 0, negative = 0, half = 0;
};

/// By token.
std::vector<TokenCount> by_token(const std::vector<std::pair<std::uint64_t, std::int64_t>>& sorted) {
  std::vector<TokenCount> tokens;
  for (const auto& [key, value] : sorted) {
    const auto token = static_cast<std::int32_t>(key >> 3);
    const std::size_t group = key & 7;
    if (tokens.empty() || tokens.back().token != token) tokens.push_back({.token = token});
    TokenCount& count = tokens.back();
    count.all += value;
    if (sign_of(group) == FiringSign::positive) count.positive += value;
    if (sign_of(group) == FiringSign::negative) count.negative += value;
    if (half_of(group)) count.half += value;
  }
  return tokens;
}

/// Of firings of one sign against the other, and of one half of the rows against the other.
struct Divergences {
  double signs = 0.0, noise = 0.0;
};

Divergences divergences(const std::vector<TokenCount>& tokens) {
  const auto parts = [&](auto part) {
    std::vector<double> weights;
    for (const TokenCount& token : tokens) weights.push_back(static_cast<double>(part(token)));
    return weights;
  };
  return {divergence_bits(parts([](const TokenCount& t) { return t.positive; }),
                          parts([](const TokenCount& t) { return t.negative; })),
          divergence_bits(parts([](const TokenCount& t) { return t.half; }),
                          parts([](const TokenCount& t) { return t.all - t.half; }))};
}

/// Counts by token of every subcomponent that fired.
struct TokenTable {
  std::vector<std::int64_t> offsets = {0};
  std::vector<std::int32_t> token;
  std::vector<std::int64_t> all, positive, negative, half;

  void add(const std::vector<TokenCount>& tokens) {
    for (const TokenCount& count : tokens) {
      token.push_back(count.token);
      all.push_back(count.all);
      positive.push_back(count.positive);
      negative.push_back(count.negative);
      half.push_back(count.half);
    }
    offsets.push_back(static_cast<std::int64_t>(token.size()));
  }
};

at::Tensor mass_of(const std::vector<std::int64_t>& units) {
  return tensor_of(units).to(at::kDouble).mul_(mass_unit);
}

/// Masses of tables in which every token has its place: three float32 [alive, V].
struct DenseMasses {
  at::Tensor all, positive, half;

  DenseMasses(std::int64_t alive, std::int64_t V)
      : all(at::zeros({alive, V})), positive(at::zeros({alive, V})), half(at::zeros({alive, V})) {}

  void put(std::int64_t row, const std::vector<TokenCount>& tokens) const {
    const auto at_row = [&](const at::Tensor& table) {
      return table.data_ptr<float>() + row * table.size(1);
    };
    float *to_all = at_row(all), *to_positive = at_row(positive), *to_half = at_row(half);
    for (const TokenCount& count : tokens) {
      const auto mass = [](std::int64_t units) {
        return static_cast<float>(static_cast<double>(units) * mass_unit);
      };
      to_all[count.token] = mass(count.all);
      to_positive[count.token] = mass(count.positive);
      to_half[count.token] = mass(count.half);
    }
  }
};

/// Firings together, of both directions, of the most frequent partners first where there are too many.
void put_partners(const std::vector<HarvestColumn>& columns, const std::vector<std::int32_t>& alive,
                  std::int64_t most, NamedTensors& tensors) {
  std::vector<std::int64_t> offsets = {0};
  std::vector<std::int32_t> partner, count;
  std::vector<std::pair<std::int32_t, std::int32_t>> found;  // column, count
  for (const std::int32_t c : alive) {
    found.clear();
    for (const std::int32_t other : alive) {
      if (other == c) continue;
      const auto first = static_cast<std::size_t>(std::min(c, other)),
                 last = static_cast<std::size_t>(std::max(c, other));
      const std::int32_t together = columns[first].together[last - first - 1];
      if (together > 0) found.emplace_back(other, together);
    }
    if (most > 0 && static_cast<std::int64_t>(found.size()) > most) {
      std::stable_sort(found.begin(), found.end(),
                       [](const auto& a, const auto& b) { return a.second > b.second; });
      found.resize(static_cast<std::size_t>(most));
      std::sort(found.begin(), found.end());
    }
    for (const auto& [other, together] : found) {
      partner.push_back(other);
      count.push_back(together);
    }
    offsets.push_back(static_cast<std::int64_t>(partner.size()));
  }
  tensors.emplace_back("subcomponent", tensor_of(alive));
  tensors.emplace_back("offsets", tensor_of(offsets));
  tensors.emplace_back("partner", tensor_of(partner));
  tensors.emplace_back("count", tensor_of(count));
}

}  // namespace

void Harvest::write_tables(const std::filesystem::path& directory, std::int64_t partners) const {
  const State& s = *state_;
  const auto A = static_cast<std::int64_t>(s.A());
  std::vector<std::int32_t> alive;
  TokenTable input, output;
  const bool all_outputs = s.settings.output_tokens == 0;
  const DenseMasses masses(all_outputs ? this->alive() : 0, s.output_vocabulary());
  ExampleTable examples;
  const at::Tensor sign_divergence = at::zeros({2, A}), null_divergence = at::zeros({2, A});
  std::vector<std::uint8_t> polysemantic(s.A());
  std::vector<float> sign_balance(s.A());
  std::vector<float> sigma(s.A());
  for (std::size_t c = 0; c < s.A(); ++c) {
    const HarvestColumn& column = s.columns[c];
    sigma[c] = column.firing_activation.value() < 0.0 ? -1.0f : 1.0f;
    if (column.firings() == 0) continue;
    alive.push_back(static_cast<std::int32_t>(c));
    const std::vector<TokenCount> tokens = by_token(column.input.sorted()),
                                  said = by_token(column.output_mass());
    input.add(tokens);
    if (all_outputs) {
      masses.put(static_cast<std::int64_t>(alive.size()) - 1, said);
    } else {
      output.add(said);
    }
    examples.add(column);
    const double balance = static_cast<double>(std::min(column.positive, column.negative)) /
                           static_cast<double>(column.firings());
    sign_balance[c] = static_cast<float>(balance);
    bool differs = false;
    for (const bool out : {false, true}) {
      const Divergences found = divergences(out ? said : tokens);
      const std::int64_t at = (out ? A : 0) + static_cast<std::int64_t>(c);
      sign_divergence.data_ptr<float>()[at] = static_cast<float>(found.signs);
      null_divergence.data_ptr<float>()[at] = static_cast<float>(found.noise);
      differs = differs || found.signs - found.noise >= least_flagged_divergence;
    }
    polysemantic[c] =
        column.firings() >= least_flagged_firings && balance >= least_flagged_balance && differs;
  }

  const auto counted = [&](auto part) {
    std::vector<std::int64_t> values;
    for (const HarvestColumn& column : s.columns) values.push_back(part(column));
    return tensor_of(values);
  };
  const auto summed = [&](WideSum HarvestColumn::*sum) {
    std::vector<double> values;
    for (const HarvestColumn& column : s.columns) values.push_back((column.*sum).value());
    return tensor_of(values);
  };
  const auto extreme = [&](float HarvestColumn::*value) {
    std::vector<float> values;
    for (const HarvestColumn& column : s.columns) values.push_back(column.*value);
    return tensor_of(values);
  };
  save_safetensors(directory / "subcomponents.safetensors",
                   {{"firings", counted([](const HarvestColumn& c) { return c.firings(); })},
                    {"positive_firings", counted([](const HarvestColumn& c) { return c.positive; })},
                    {"negative_firings", counted([](const HarvestColumn& c) { return c.negative; })},
                    {"rows", counted([](const HarvestColumn& c) { return c.rows; })},
                    {"importance_sum", summed(&HarvestColumn::importance)},
                    {"importance_square_sum", summed(&HarvestColumn::importance_square)},
                    {"activation_sum", summed(&HarvestColumn::activation)},
                    {"activation_square_sum", summed(&HarvestColumn::activation_square)},
                    {"firing_activation_sum", summed(&HarvestColumn::firing_activation)},
                    {"firing_activation_abs_sum", summed(&HarvestColumn::firing_activation_abs)},
                    {"activation_min", extreme(&HarvestColumn::activation_min)},
                    {"activation_max", extreme(&HarvestColumn::activation_max)},
                    {"importance_histogram", s.histogram},
                    {"position_firings", tensor_of(s.position_firings).view({-1, A})},
                    {"polysemantic", tensor_of(polysemantic)},
                    {"sign_balance", tensor_of(sign_balance)},
                    {"sign_divergence", sign_divergence},
                    {"null_divergence", null_divergence}});

  const auto whole = [](const std::vector<std::int64_t>& values) { return tensor_of(values).to(at::kInt); };
  save_safetensors(directory / "input_tokens.safetensors", {{"subcomponent", tensor_of(alive)},
                                                            {"offsets", tensor_of(input.offsets)},
                                                            {"token", tensor_of(input.token)},
                                                            {"count", whole(input.all)},
                                                            {"positive", whole(input.positive)},
                                                            {"negative", whole(input.negative)},
                                                            {"half", whole(input.half)},
                                                            {"marginal", tensor_of(s.input_marginal)}});
  NamedTensors said = {{"subcomponent", tensor_of(alive)}, {"marginal", mass_of(s.output_marginal)}};
  if (all_outputs) {
    said.emplace_back("mass", masses.all);
    said.emplace_back("positive", masses.positive);
    said.emplace_back("half", masses.half);
  } else {
    said.emplace_back("offsets", tensor_of(output.offsets));
    said.emplace_back("token", tensor_of(output.token));
    said.emplace_back("mass", mass_of(output.all).to(at::kFloat));
    said.emplace_back("positive", mass_of(output.positive).to(at::kFloat));
    said.emplace_back("half", mass_of(output.half).to(at::kFloat));
  }
  save_safetensors(directory / "output_tokens.safetensors", said);

  if (partners >= 0) {
    NamedTensors together;
    put_partners(s.columns, alive, partners, together);
    save_safetensors(directory / "coactivation.safetensors", together);
  }
  const Lens lens = lens_of(*s.decomposition, tensor_of(sigma));
  save_safetensors(directory / "lens.safetensors",
                   {{"token", lens.token}, {"dot", lens.dot}, {"cosine", lens.cosine}});
  NamedTensors shown = {{"subcomponent", tensor_of(alive)}};
  examples.put(shown, "", 2 * s.settings.window + 1, at::kHalf);
  save_safetensors(directory / "examples.safetensors", shown);
}

}  // namespace vpd
