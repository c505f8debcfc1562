#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "vpd/passes/batch.hpp"

namespace vpd {

/// Every firing of every subcomponent, in the layout that the package delphi reads as its cache of latents:
/// a directory a site with `0_<C-1>.safetensors`: `locations` int32 [n, 3] (row, position, subcomponent),
/// `activations` float16 [n] (the causal importance), `tokens` int32 [rows, T]; and config.json.
class SparseCache {
 public:
  SparseCache(const Sites& sites, double threshold);

  /// Batches in their order.
  void add(const Batch& batch);

  void save(const std::filesystem::path& directory) const;  ///< to go on from
  void load(const std::filesystem::path& directory);

  /// `model`: where the tokenizer is; `split`: train or eval; `data`: where the tokens came from.
  void write(const std::filesystem::path& directory, const std::string& model, const std::string& split,
             const std::string& data) const;

 private:
  struct SiteFirings {
    std::vector<std::int32_t> locations;
    std::vector<float> values;
  };

  const Sites& sites_;
  float threshold_;
  std::int64_t T_ = 0;
  std::vector<SiteFirings> firings_;
  std::vector<std::int32_t> tokens_;
};

}  // namespace vpd
