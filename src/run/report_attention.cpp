// What the report's page shows of attention: for each block its heads, pairs and prompts, as `vpd attention`
// left them.

#include <algorithm>
#include <cmath>
#include <numeric>

#include <ATen/ATen.h>

#include "json_object.hpp"
#include "report_data.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/safetensors.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::int64_t curves_named = 10, curves_grey = 120;  // of a head
constexpr std::int64_t heat_terms = 40;                       // of either side
constexpr std::int64_t prompt_pairs = 8;                      // of a head
constexpr std::int64_t prompt_numbers = 60'000;               // of all heads of a prompt

constexpr const char* again = "; run vpd attention again";

Json numbers(const at::Tensor& x, int digits = 3) {
  const at::Tensor wide = x.to(at::kDouble).contiguous();
  Json list = Json::array();
  const auto* value = wide.const_data_ptr<double>();
  for (std::int64_t i = 0; i < wide.numel(); ++i) list.push_back(rounded(value[i], digits));
  return list;
}
Json whole(const at::Tensor& x) {
  Json list = Json::array();
  for (std::int64_t i = 0; i < x.numel(); ++i) list.push_back(x[i].item<std::int64_t>());
  return list;
}

/// The places of the largest values of x [n], largest first.
std::vector<std::int64_t> largest(const at::Tensor& x, std::int64_t most) {
  const at::Tensor order = x.argsort(/*stable=*/true, 0, /*descending=*/true);
  std::vector<std::int64_t> places;
  for (std::int64_t i = 0; i < std::min(most, order.size(0)); ++i)
    places.push_back(order[i].item<std::int64_t>());
  return places;
}

/// Static interactions of a head by offset, in standard deviations: the strongest pairs, and others.
Json curves_of_head(const at::Tensor& strength, const at::Tensor& query, const at::Tensor& key) {
  const std::int64_t K = strength.size(2);
  const at::Tensor flat = strength.flatten(1);  // [offsets, Q K]
  const std::vector<std::int64_t> order = largest(flat.abs().amax({0}), curves_named + curves_grey);
  Json named = Json::array(), grey = Json::array();
  for (std::size_t i = 0; i < order.size(); ++i) {
    const Json values = numbers(flat.select(1, order[i]));
    if (static_cast<std::int64_t>(i) >= curves_named) {
      grey.push_back(values);
      continue;
    }
    named.push_back(
        {query[order[i] / K].item<std::int64_t>(), key[order[i] % K].item<std::int64_t>(), values});
  }
  return {{"named", named}, {"grey", grey}};
}

/// The shares of a head's pairs, of the terms that have the largest ones.
Json heat_of_head(const at::Tensor& share, const at::Tensor& query, const at::Tensor& key) {
  const auto chosen = [](const at::Tensor& of) {
    std::vector<std::int64_t> places = largest(of, heat_terms);
    std::sort(places.begin(), places.end());
    return at::tensor(places, at::kLong);
  };
  const at::Tensor rows = chosen(share.abs().amax({1})), columns = chosen(share.abs().amax({0}));
  return {{"query", whole(query.index_select(0, rows))},
          {"key", whole(key.index_select(0, columns))},
          {"share", numbers(share.index_select(0, rows).index_select(1, columns))}};
}

/// The part on and below the diagonal of x [T, T], row by row.
Json lower(const at::Tensor& x) {
  const std::int64_t T = x.size(0);
  const at::Tensor at = at::tril_indices(T, T);
  return numbers(x.index({at[0], at[1]}));
}

Json prompt_of(const fs::path& path) {
  Json prompt = json_object(fs::path(path).replace_extension(".json"), again);
  prompt["name"] = to_valid_utf8(path.stem().string());
  const SafetensorsFile file(path);
  const at::Tensor score = file.load("score"), given = file.load("contribution"),
                   query = file.load("pair_query"), key = file.load("pair_key");
  const std::int64_t H = score.size(0), T = score.size(1);
  const std::int64_t room = prompt_numbers / (H * T * (T + 1) / 2) - 1;
  Json heads = Json::array();
  for (std::int64_t h = 0; h < H; ++h) {
    Json pairs = Json::array();
    for (const std::int64_t p :
         largest(given.select(1, h).abs().amax({1, 2}), std::clamp<std::int64_t>(room, 1, prompt_pairs)))
      pairs.push_back({query[p].item<std::int64_t>(), key[p].item<std::int64_t>(), lower(given[p][h])});
    heads.push_back({{"score", lower(score[h])}, {"pairs", pairs}});
  }
  prompt.erase("pairs");
  prompt["heads"] = heads;
  return prompt;
}

Json block_of(const fs::path& path) {
  Json block = json_object(path / "heads.json", again);
  block["name"] = to_valid_utf8(path.filename().string());
  for (const char* unused : {"directory", "seconds", "warnings", "prompt"}) block.erase(unused);
  const SafetensorsFile pairs(path / "pairs.safetensors"), looks(path / "heads.safetensors");
  const at::Tensor share = pairs.load("share_within"), query = pairs.load("query"), key = pairs.load("key");
  const at::Tensor data = looks.load("offsets"), random = looks.load("random_offsets");
  std::optional<SafetensorsFile> still;
  if (fs::exists(path / "static.safetensors")) still.emplace(path / "static.safetensors");
  for (Json& head : block["by_head"]) {
    const auto h = head["head"].get<std::int64_t>();
    head["heat"] = heat_of_head(share[h], query, key);
    head["looks"] = numbers(data[h]);
    head["random_looks"] = numbers(random[h]);
    if (!still) continue;
    const at::Tensor strength = still->load("strength").select(1, h), sd = still->load("sd")[h];
    head["curves"] = curves_of_head((strength - still->load("mean")[h]) / sd.clamp_min(1e-30),
                                    still->load("query"), still->load("key"));
  }
  block["prompts"] = Json::array();
  std::vector<fs::path> prompts;
  std::error_code error;
  for (fs::directory_iterator i(path / "prompts", error), end; !error && i != end; i.increment(error))
    if (i->path().extension() == ".safetensors") prompts.push_back(i->path());
  std::sort(prompts.begin(), prompts.end());
  for (const fs::path& prompt : prompts) block["prompts"].push_back(prompt_of(prompt));
  return block;
}

}  // namespace

Json attention_of(const RunDirectory& run, std::int64_t step) {
  std::vector<std::pair<std::int64_t, Json>> blocks;
  std::error_code error;
  for (fs::directory_iterator i(results_path(run, step) / "attention", error), end; !error && i != end;
       i.increment(error)) {
    if (!fs::exists(i->path() / "heads.json")) continue;
    Json block = block_of(i->path());
    blocks.emplace_back(block["block"].get<std::int64_t>(), std::move(block));
  }
  std::sort(blocks.begin(), blocks.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  Json all = Json::array();
  for (auto& [number, block] : blocks) all.push_back(std::move(block));
  return all;
}

}  // namespace vpd
