// What an attention result is in files.

#include "attention_files.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <ATen/ATen.h>

#include "vpd/base/json_text.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

at::Tensor narrow_of(const at::Tensor& x) { return x.to(at::kFloat); }
at::Tensor columns_tensor(const std::vector<std::int64_t>& columns) {
  return at::tensor(columns, at::kLong).to(at::kInt);
}
at::Tensor columns_tensor(const std::vector<std::int64_t>& terms, std::int64_t count) {
  return columns_tensor({terms.begin(), terms.begin() + count});
}

void write_static(const AttentionResult& r, const fs::path& to) {
  if (!r.statics.strength.defined()) return;
  save_safetensors(to / "static.safetensors", {{"query", columns_tensor(r.query_terms, r.query_columns)},
                                               {"key", columns_tensor(r.key_terms, r.key_columns)},
                                               {"offset", columns_tensor(r.offsets)},
                                               {"strength", narrow_of(r.statics.strength)},
                                               {"mean", narrow_of(r.statics.mean)},
                                               {"sd", narrow_of(r.statics.sd)}});
}

void write_pairs(const AttentionResult& r, const fs::path& to) {
  save_safetensors(to / "pairs.safetensors", {{"query", columns_tensor(r.query_terms)},
                                              {"key", columns_tensor(r.key_terms)},
                                              {"offset", columns_tensor(r.offsets)},
                                              {"mean", narrow_of(r.mean)},
                                              {"share", narrow_of(r.share)},
                                              {"share_within", narrow_of(r.share_within)},
                                              {"both_mean", narrow_of(r.both_mean)},
                                              {"both_count", r.both_count},
                                              {"score_mean", narrow_of(r.score_mean)},
                                              {"score_sd", narrow_of(r.score_deviation)}});
}

void write_heads(const AttentionResult& r, const fs::path& to) {
  NamedTensors tensors = {{"offset", columns_tensor(r.offsets)},
                          {"offsets", narrow_of(r.looks.data)},
                          {"random_offsets", narrow_of(r.looks.random)}};
  for (const auto& [name, norms] : {std::pair("q", r.norm_q), std::pair("k", r.norm_k),
                                    std::pair("v", r.norm_v), std::pair("o", r.norm_o)}) {
    if (!norms.defined()) continue;
    tensors.emplace_back(fmt::format("norm_{}", name), narrow_of(norms));
    tensors.emplace_back(fmt::format("spread_{}", name), narrow_of(spread_of(norms)));
  }
  if (!r.ablated.empty()) {
    std::vector<at::Tensor> data, random;
    for (const HeadLooks& one : r.without) data.push_back(one.data), random.push_back(one.random);
    tensors.emplace_back("ablated", columns_tensor(r.ablated));
    tensors.emplace_back("offsets_ablated", narrow_of(at::stack(data)));
    tensors.emplace_back("random_offsets_ablated", narrow_of(at::stack(random)));
  }
  save_safetensors(to / "heads.safetensors", tensors);
}

void write_moved(const AttentionResult& r, const fs::path& to) {
  NamedTensors tensors = {{"read_cosine", narrow_of(r.moved.read_cosine)},
                          {"write_cosine", narrow_of(r.moved.write_cosine)}};
  if (r.moved.value_alignment.defined())
    tensors.emplace_back("value_alignment", narrow_of(r.moved.value_alignment));
  if (r.moved.output_alignment.defined())
    tensors.emplace_back("output_alignment", narrow_of(r.moved.output_alignment));
  save_safetensors(to / "ov.safetensors", tensors);
}

void write_prompt(const AttentionResult& r, const fs::path& to) {
  const LargestPairs& pairs = r.prompt->pairs;
  save_safetensors(to / (r.slug + ".safetensors"), {{"score", narrow_of(pairs.score)},
                                                    {"pair_query", columns_tensor(pairs.query)},
                                                    {"pair_key", columns_tensor(pairs.key)},
                                                    {"contribution", narrow_of(pairs.contribution)},
                                                    {"rest", narrow_of(pairs.rest)}});
  Json names = Json::array();
  for (std::size_t i = 0; i < pairs.query.size(); ++i)
    names.push_back({r.name_of_term(pairs.query[i], true), r.name_of_term(pairs.key[i], false)});
  const Json json = {{"tokens", r.prompt->tokens}, {"texts", r.prompt->texts}, {"pairs", names}};
  write_atomically(to / (r.slug + ".json"), json_text(json, 1) + "\n");
}

/// Prompts of an earlier result for the same weights, but the one of this command.
void keep_prompts(const AttentionResult& r, const Json& weights, const fs::path& to) {
  std::error_code error;
  const fs::path before = r.directory / "prompts";
  if (!fs::is_directory(before, error) || read_about(r.directory)["weights"] != weights) return;
  for (const fs::directory_entry& file : fs::directory_iterator(before)) {
    if (r.prompt && file.path().stem() == r.slug) continue;
    fs::create_directories(to);
    fs::copy_file(file.path(), to / file.path().filename());
  }
}

}  // namespace

std::vector<ShownPair> strongest_pairs(const AttentionResult& r, std::int64_t head) {
  const at::Tensor share = r.share_within[head].contiguous();
  const auto Q = share.size(0), K = share.size(1);
  const auto* value = share.const_data_ptr<double>();
  std::vector<std::int64_t> order(static_cast<std::size_t>(Q * K));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return std::abs(value[a]) > std::abs(value[b]); });
  order.resize(std::min(order.size(), static_cast<std::size_t>(r.most)));
  std::vector<ShownPair> pairs;
  for (const std::int64_t place : order) {
    const std::int64_t i = place / K, j = place % K;
    const at::Tensor mean = r.mean.select(1, head).select(1, i).select(1, j);
    const auto at = mean.abs().argmax().item<std::int64_t>();
    ShownPair pair{.query = r.query_terms[static_cast<std::size_t>(i)],
                   .key = r.key_terms[static_cast<std::size_t>(j)],
                   .share = value[place],
                   .share_of_all = r.share[head][i][j].item<double>(),
                   .offset = r.offsets[static_cast<std::size_t>(at)],
                   .mean = mean[at].item<double>()};
    if (i < r.query_columns && j < r.key_columns) {
      pair.both_mean = r.both_mean[head][i][j].item<double>();
      pair.both_count = r.both_count[i][j].item<std::int64_t>();
    }
    if (r.statics.strength.defined() && i < r.query_columns && j < r.key_columns) {
      const at::Tensor standard =
          (r.statics.strength.select(1, head).select(1, i).select(1, j) - r.statics.mean[head]) /
          r.statics.sd[head].clamp_min(1e-300);
      const auto strongest = standard.abs().argmax().item<std::int64_t>();
      pair.statics = {standard[strongest].item<double>(), r.offsets[static_cast<std::size_t>(strongest)]};
    }
    pairs.push_back(pair);
  }
  return pairs;
}

std::vector<std::pair<std::string, double>> shares_by_kind(const AttentionResult& r, std::int64_t head) {
  constexpr OtherTerm kinds[] = {OtherTerm::delta, OtherTerm::rest, OtherTerm::bias, OtherTerm::position};
  static constexpr const char* names[] = {"delta", "rest", "bias", "position"};
  const at::Tensor share = r.share_within[head].contiguous();
  const auto* value = share.const_data_ptr<double>();
  std::vector<double> sums(5);  // the last: two subcomponents
  for (const std::int64_t query : r.query_terms) {
    for (const std::int64_t key : r.key_terms) {
      std::size_t kind = 0;
      for (; kind < 4; ++kind) {
        const auto term = static_cast<std::int64_t>(kinds[kind]);
        if (query == term || key == term) break;
      }
      sums[kind] += *value++;
    }
  }
  std::vector<std::pair<std::string, double>> shares = {{"subcomponents", sums[4]}};
  for (std::size_t kind = 0; kind < 4; ++kind) {
    const auto term = static_cast<std::int64_t>(kinds[kind]);
    const auto has = [&](const auto& terms) {
      return std::find(terms.begin(), terms.end(), term) != terms.end();
    };
    if (has(r.query_terms) || has(r.key_terms)) shares.emplace_back(names[kind], sums[kind]);
  }
  return shares;
}

void write_attention(const AttentionResult& r, const AttentionOptions& options, const EditSource& source,
                     const Json& tokens) {
  const Json weights = weight_hashes(source.run.checkpoint.path);
  Json about = about_result(options.command_line, r.step, weights, r.warnings);
  about["tokens"] = tokens;
  about["settings"] = {{"split", options.split},
                       {"rows", r.rows},
                       {"row_length", r.T},
                       {"threshold", options.threshold},
                       {"min_importance", options.min_importance},
                       {"given", options.given},
                       {"seed", options.seed},
                       {"overrides", options.overrides}};
  about["harvest"] = source.evidence ? Json(source.evidence->evidence.about().value("time", "")) : Json();
  publish_result(r.directory, [&](const fs::path& to) {
    write_static(r, to);
    write_pairs(r, to);
    write_heads(r, to);
    write_moved(r, to);
    write_atomically(to / "heads.json", attention_json(r));
    keep_prompts(r, weights, to / "prompts");
    if (r.prompt) {
      fs::create_directories(to / "prompts");
      write_prompt(r, to / "prompts");
    }
    write_about(to, about);
  });
}

}  // namespace vpd
