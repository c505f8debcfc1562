#include "sparse_cache.hpp"

#include <ATen/ATen.h>

#include "table_builder.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

constexpr const char* state_file = "sparse.safetensors";

}  // namespace

SparseCache::SparseCache(const Sites& sites, double threshold)
    : sites_(sites), threshold_(static_cast<float>(threshold)), firings_(sites.size()) {}

void SparseCache::add(const Batch& batch) {
  T_ = batch.T;
  for (const LaneBatch& lane : batch.lanes) {
    const at::Tensor input = lane.clean.input.cpu().to(at::kInt).contiguous();
    tokens_.insert(tokens_.end(), input.const_data_ptr<std::int32_t>(),
                   input.const_data_ptr<std::int32_t>() + input.numel());
    const at::Tensor importance = lane.importance.lower.to(at::kFloat).cpu().contiguous();
    const auto* g = importance.const_data_ptr<float>();
    const std::int64_t first = batch.first * batch.T + lane.first_batch * batch.T;
    for (std::int64_t n = 0; n < importance.size(0); ++n, g += importance.size(1)) {
      for (std::size_t i = 0; i < sites_.size(); ++i) {
        SiteFirings& to = firings_[i];
        for (std::int64_t c = 0; c < sites_[i].C; ++c) {
          const float value = g[sites_[i].offset + c];
          if (!(value > threshold_)) continue;
          to.locations.insert(to.locations.end(), {static_cast<std::int32_t>((first + n) / batch.T),
                                                   static_cast<std::int32_t>((first + n) % batch.T),
                                                   static_cast<std::int32_t>(c)});
          to.values.push_back(value);
        }
      }
    }
  }
}

void SparseCache::save(const std::filesystem::path& directory) const {
  NamedTensors tensors = {{"tokens", tensor_of(tokens_)}};
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    tensors.emplace_back(sites_[i].name + "/locations", tensor_of(firings_[i].locations));
    tensors.emplace_back(sites_[i].name + "/values", tensor_of(firings_[i].values));
  }
  save_safetensors(directory / state_file, tensors);
}

void SparseCache::load(const std::filesystem::path& directory) {
  const SafetensorsFile file(directory / state_file);
  const std::string where = file.path().string();
  tokens_ = vector_of<std::int32_t>(file.load("tokens"), where);
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    firings_[i].locations = vector_of<std::int32_t>(file.load(sites_[i].name + "/locations"), where);
    firings_[i].values = vector_of<float>(file.load(sites_[i].name + "/values"), where);
  }
}

void SparseCache::write(const std::filesystem::path& directory, const std::string& model,
                        const std::string& split, const std::string& data) const {
  const at::Tensor tokens = tensor_of(tokens_).view({-1, T_});
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    if (firings_[i].values.empty()) continue;  // delphi takes every directory for a site with firings
    const std::filesystem::path site = directory / sites_[i].name;
    std::filesystem::create_directories(site);
    save_safetensors(site / fmt::format("0_{}.safetensors", sites_[i].C - 1),
                     {{"locations", tensor_of(firings_[i].locations).view({-1, 3})},
                      {"activations", tensor_of(firings_[i].values).to(at::kHalf)},
                      {"tokens", tokens}});
    const nlohmann::ordered_json config = {
        {"dataset_repo", data},       {"dataset_split", split}, {"dataset_name", ""},
        {"dataset_column", "text"},   {"batch_size", 1},        {"ctx_len", T_},
        {"n_tokens", tokens.numel()}, {"n_splits", 1},          {"model_name", model}};
    write_atomically(site / "config.json", json_text(config, 1) + "\n");
  }
}

}  // namespace vpd
